//! `tcpw apply`, `tcpw confirm`, `tcpw rollback`: a policy that is not confirmed ends at its deadline, whatever becomes
//! of the daemon, and does not come back by itself.

use std::{
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;
use tcpw_tests::{
    CLIENT_V4, CLIENT_V4_OTHER, DENY, Requirement, SERVER_V4, Sandbox, Tcpw, Testd, can_run, client::connect,
    wait_until,
};

const PORT: u16 = 7001;
const PATIENCE: Duration = Duration::from_millis(900);
const SOON: Duration = Duration::from_secs(20);
const END: Duration = Duration::from_secs(20);
/// Only CLIENT_V4.
const FIRST: &str = "alphad: 1.2.3.\n";
/// CLIENT_V4_OTHER, too.
const SECOND: &str = "alphad: 1.2.\n";

fn ready() -> bool {
    can_run("apply", &[Requirement::Root])
}

fn is_allowed_at(sandbox: &Sandbox, client: IpAddr, port: u16) -> Result<bool> {
    Ok(connect(sandbox.client(), client, SocketAddr::new(SERVER_V4, port), PATIENCE)?.is_connected())
}

/// Whether the client is allowed that only [`SECOND`] allows.
fn is_second(sandbox: &Sandbox) -> Result<bool> {
    ensure!(is_allowed_at(sandbox, CLIENT_V4, PORT)?, "the client is refused that both policies allow");
    is_allowed_at(sandbox, CLIENT_V4_OTHER, PORT)
}

/// A tcpw command: its exit code, and what it says.
fn tcpw(sandbox: &Sandbox, arguments: &[&str]) -> Result<(i32, String)> {
    let mut command = Tcpw::spawn_command(sandbox, arguments)?;
    let code = command.wait(END)?.code().context("it was killed")?;
    let lines: Vec<String> = command.lines().into_iter().map(|line| line.text).collect();
    Ok((code, lines.join("\n")))
}

/// The same of one that succeeds.
fn done(sandbox: &Sandbox, arguments: &[&str]) -> Result<String> {
    let (code, text) = tcpw(sandbox, arguments)?;
    ensure!(code == 0, "{arguments:?}: {code}: {text}");
    Ok(text)
}

/// Edits come into force only when that is asked for.
fn not_followed(sandbox: &Sandbox) -> Result<String> {
    sandbox.write_settings("follow-files = false\n")
}

fn wait_problem(sandbox: &Sandbox, part: &str) -> Result<()> {
    let mut last = serde_json::Value::Null;
    wait_until(&format!("the status says {part:?}"), SOON, || {
        last = Tcpw::status(sandbox)?["problem"].clone();
        Ok(last.as_str().is_some_and(|problem| problem.contains(part)))
    })
    .with_context(|| format!("{last}"))
}

fn generation(sandbox: &Sandbox) -> Result<u64> {
    Tcpw::status(sandbox)?["generation"].as_u64().context("no generation")
}

#[test]
fn unconfirmed_policy_ends_at_its_deadline_though_the_daemon_was_killed() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = Sandbox::new("apply-killed")?;
    sandbox.write_tables(FIRST, DENY)?;
    let _alphad = Testd::start(&sandbox, "alphad", "0.0.0.0:7001")?;
    let settings = not_followed(&sandbox)?;
    let flags = ["--pin", "--config", settings.as_str()];
    let mut daemon = Tcpw::start(&sandbox, &flags)?;
    let first = generation(&sandbox)?;
    sandbox.write_tables(SECOND, DENY)?;
    wait_problem(&sandbox, "were edited and are not in force")?;
    ensure!(!is_second(&sandbox)?, "an edit came into force by itself");

    let begun = Instant::now();
    let said = done(&sandbox, &["apply", "--confirm", "12"])?;
    let second = generation(&sandbox)?;
    ensure!(said.starts_with(&format!("generation {second} is in force until ")), "{said}");
    ensure!(said.ends_with(&format!("without either generation {first} comes back")), "{said}");
    ensure!(is_second(&sandbox)?, "it is not in force");
    daemon.process.kill_9()?;
    ensure!(is_second(&sandbox)? || begun.elapsed() > Duration::from_secs(11), "it was over at once");
    let pinned =
        |sandbox: &Sandbox| Ok::<_, anyhow::Error>(Tcpw::status_of_pins(sandbox)?["generation"].as_u64());
    wait_until("it is over", SOON, || Ok(!is_second(&sandbox)?))?;
    ensure!(begun.elapsed() >= Duration::from_secs(12), "it was over after {:?}", begun.elapsed());
    ensure!(pinned(&sandbox)? == Some(first), "{:?}", pinned(&sandbox));

    let daemon = Tcpw::start(&sandbox, &flags)?;
    ensure!(!is_second(&sandbox)?, "the next daemon put it in force again");
    wait_problem(&sandbox, "were not confirmed")?;
    ensure!(generation(&sandbox)? > second, "a number was used twice");
    done(&sandbox, &["apply"])?;
    ensure!(is_second(&sandbox)?, "it was asked for");
    ensure!(Tcpw::status(&sandbox)?["problem"].is_null());
    drop(daemon);
    Ok(())
}

#[test]
fn daemon_that_starts_before_the_deadline_ends_what_is_not_confirmed() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = Sandbox::new("apply-early")?;
    sandbox.write_tables(FIRST, DENY)?;
    let _alphad = Testd::start(&sandbox, "alphad", "0.0.0.0:7001")?;
    let settings = not_followed(&sandbox)?;
    let flags = ["--pin", "--config", settings.as_str()];
    let mut daemon = Tcpw::start(&sandbox, &flags)?;
    sandbox.write_tables(SECOND, DENY)?;
    done(&sandbox, &["apply", "--confirm", "3600"])?;
    ensure!(is_second(&sandbox)?);
    daemon.process.kill_9()?;
    let mut daemon = Tcpw::start(&sandbox, &flags)?;
    ensure!(!is_second(&sandbox)?, "it is in force still");
    daemon.process.wait_for_line("was not confirmed: it is over", SOON)?;
    ensure!(Tcpw::status(&sandbox)?["confirm"].is_null());

    // The same without pins: nothing but the disk tells it.
    drop(daemon);
    done(&sandbox, &["detach"])?;
    let _daemon = Tcpw::start(&sandbox, &["--config", settings.as_str()])?;
    ensure!(!is_second(&sandbox)?, "a reboot put it in force");
    wait_problem(&sandbox, "were not confirmed")
}

#[test]
fn confirmed_policy_stays_and_is_that_of_the_next_start() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = Sandbox::new("apply-confirmed")?;
    sandbox.write_tables(FIRST, DENY)?;
    let _alphad = Testd::start(&sandbox, "alphad", "0.0.0.0:7001")?;
    let settings = not_followed(&sandbox)?;
    let flags = ["--config", settings.as_str()];
    let mut daemon = Tcpw::start(&sandbox, &flags)?;
    sandbox.write_tables(SECOND, DENY)?;
    let begun = Instant::now();
    done(&sandbox, &["apply", "--confirm", "5"])?;
    let (code, text) = tcpw(&sandbox, &["apply"])?;
    ensure!(code == 1 && text.contains("waits for its confirmation"), "{text}");
    done(&sandbox, &["confirm"])?;
    let (code, text) = tcpw(&sandbox, &["confirm"])?;
    ensure!(code == 1 && text.contains("no policy waits"), "{text}");
    wait_until("the deadline has passed", SOON, || Ok(begun.elapsed() > Duration::from_secs(6)))?;
    ensure!(is_second(&sandbox)?, "it ended though it was confirmed");

    // An edit that is not applied is not that of the next start.
    sandbox.write_tables(FIRST, DENY)?;
    wait_problem(&sandbox, "were edited and are not in force")?;
    daemon.process.terminate(END)?;
    let mut daemon = Tcpw::start(&sandbox, &flags)?;
    ensure!(is_second(&sandbox)?, "the files were put in force, not the confirmed policy");
    wait_problem(&sandbox, "were edited and are not in force")?;
    let mark = daemon.process.mark();
    daemon.process.signal(Signal::SIGHUP)?;
    daemon.wait_applied(mark)?;
    ensure!(!is_second(&sandbox)?, "SIGHUP applies the files");
    Ok(())
}

#[test]
fn policy_is_rolled_back_at_once_or_at_the_deadline_and_each_attempt_judged_by_the_rules_that_decided()
-> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = Sandbox::new("apply-back")?;
    sandbox.write_tables(SECOND, DENY)?;
    let _alphad = Testd::start(&sandbox, "alphad", "0.0.0.0:7001")?;
    let settings = not_followed(&sandbox)?;
    let mut daemon = Tcpw::start(&sandbox, &["--config", settings.as_str()])?;
    let first = generation(&sandbox)?;
    sandbox.write_tables(FIRST, DENY)?;
    done(&sandbox, &["apply", "--confirm", "3600"])?;
    ensure!(!is_second(&sandbox)?, "it is not in force");
    let said = done(&sandbox, &["rollback"])?;
    ensure!(said.starts_with(&format!("generation {first} is in force again")), "{said}");
    ensure!(is_second(&sandbox)? && generation(&sandbox)? == first, "it is in force still");
    wait_problem(&sandbox, "were not confirmed")?;

    let mark = daemon.process.mark();
    done(&sandbox, &["apply", "--confirm", "5"])?;
    ensure!(!is_second(&sandbox)?, "it is not in force");
    daemon.process.wait_for_line_after(mark, &format!("generation {first} is in force again"), SOON)?;
    ensure!(is_second(&sandbox)? && generation(&sandbox)? == first, "it is in force still");
    // The slot is free again.
    done(&sandbox, &["apply"])?;
    ensure!(!is_second(&sandbox)?, "it was asked for");
    let counters = Tcpw::counters(&sandbox)?;
    ensure!(counters["disagreements"] == 0 && counters["self_checks"] > 0, "{counters:?}");
    Ok(())
}

/// Its names are in the tables of both policies: a killed daemon cannot add them any more.
#[test]
fn listener_that_appears_meanwhile_is_judged_by_its_names_when_the_policy_before_is_back() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = Sandbox::new("apply-names")?;
    sandbox.write_tables("gammad: 1.2.4.\nalphad: 1.2.\n", DENY)?;
    let _alphad = Testd::start(&sandbox, "alphad", "0.0.0.0:7001")?;
    // Both its names together are in no table before a scan has found it.
    let settings = sandbox.write_settings("follow-files = false\n[names.port]\n7002 = [\"gammad\"]\n")?;
    let mut daemon = Tcpw::start(&sandbox, &["--pin", "--config", settings.as_str()])?;
    sandbox.write_tables("gammad: 1.2.3.\nalphad: 1.2.\n", DENY)?;
    let begun = Instant::now();
    done(&sandbox, &["apply", "--confirm", "20"])?;
    let _betad = Testd::start(&sandbox, "betad", "0.0.0.0:7002")?;
    Tcpw::wait_listener(&sandbox, 7002, |_| true)?;
    let of_beta = |client| is_allowed_at(&sandbox, client, 7002);
    ensure!(of_beta(CLIENT_V4)? && !of_beta(CLIENT_V4_OTHER)?, "by the policy in force");
    daemon.process.kill_9()?;
    wait_until("it is over", Duration::from_secs(60), || of_beta(CLIENT_V4_OTHER))?;
    ensure!(begun.elapsed() >= Duration::from_secs(20), "it was over after {:?}", begun.elapsed());
    ensure!(!of_beta(CLIENT_V4)?, "by the policy before");
    Ok(())
}

#[test]
fn files_that_are_followed_are_in_force_already() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = Sandbox::new("apply-followed")?;
    sandbox.write_tables(FIRST, DENY)?;
    let _alphad = Testd::start(&sandbox, "alphad", "0.0.0.0:7001")?;
    let mut daemon = Tcpw::start(&sandbox, &[])?;
    let first = generation(&sandbox)?;
    let said = done(&sandbox, &["apply"])?;
    ensure!(said == format!("generation {first}, which is in force, has these files already"), "{said}");
    let (code, text) = tcpw(&sandbox, &["apply", "--confirm", "60"])?;
    ensure!(code == 1 && text.contains("set follow-files = false"), "{text}");
    daemon.apply(&sandbox, SECOND, DENY)?;
    ensure!(is_second(&sandbox)?);
    Ok(())
}
