//! `tcpw ban`, `tcpw unban` and `tcpw bans`, with real clients, daemons and kernels' clocks.

#[path = "bans/kept.rs"]
mod kept;
#[path = "bans/many.rs"]
mod many;
#[path = "bans/scopes.rs"]
mod scopes;

use std::{
    io::Read as _,
    net::{IpAddr, SocketAddr},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tcpw_tests::{
    CLIENT_V4, CLIENT_V4_OTHER, CLIENT_V6, CLIENT_V6_OTHER, Place, Requirement, SERVER_V4, SERVER_V6,
    Sandbox, Tcpw, Testd, can_run,
    client::{Attempt, Ended, connect},
    tcpw_binary, wait_for, wait_until,
};

const SOON: Duration = Duration::from_secs(20);

/// Before a SYN is sent again.
const PATIENCE: Duration = Duration::from_millis(700);

/// Whatever the rules say of others.
const ALLOW_ALL: &str = "ALL: ALL\n";

fn ready() -> bool {
    can_run("bans", &[Requirement::Root])
}

fn attempt(sandbox: &Sandbox, client: IpAddr, port: u16) -> Result<Attempt> {
    let server = if client.is_ipv4() { SERVER_V4 } else { SERVER_V6 };
    connect(sandbox.netns_of(client), client, SocketAddr::new(server, port), PATIENCE)
}

fn is_served(sandbox: &Sandbox, client: IpAddr, port: u16) -> Result<bool> {
    Ok(attempt(sandbox, client, port)?.greeting(SOON).contains('d'))
}

#[track_caller]
fn assert_refused(sandbox: &Sandbox, client: IpAddr, port: u16) -> Result<()> {
    let attempt = attempt(sandbox, client, port)?;
    assert!(matches!(attempt.ended, Ended::TimedOut), "{client} at {port}: {attempt:?}");
    Ok(())
}

#[track_caller]
fn assert_served(sandbox: &Sandbox, client: IpAddr, port: u16) -> Result<()> {
    assert!(is_served(sandbox, client, port)?, "{client} at {port}");
    Ok(())
}

/// A command to its end: its lines and its exit code.
fn command(sandbox: &Sandbox, arguments: &[&str]) -> Result<(String, Option<i32>)> {
    let mut command = Command::new(tcpw_binary()?);
    command.args(arguments).env_remove("SSH_CONNECTION");
    run(sandbox, command)
}

fn run(sandbox: &Sandbox, command: Command) -> Result<(String, Option<i32>)> {
    let mut process = sandbox.spawn(Place::Server, command)?;
    let code = process.wait(SOON)?.code();
    let lines: Vec<String> = process.lines().into_iter().map(|line| line.text).collect();
    Ok((lines.join("\n"), code))
}

/// A command that must not fail.
fn done(sandbox: &Sandbox, arguments: &[&str]) -> Result<String> {
    let (text, code) = command(sandbox, arguments)?;
    ensure!(code == Some(0), "{arguments:?}: {code:?}: {text}");
    Ok(text)
}

fn ban(sandbox: &Sandbox, client: IpAddr) -> Result<String> {
    done(sandbox, &["ban", &client.to_string()])
}

fn unban(sandbox: &Sandbox, client: IpAddr) -> Result<String> {
    done(sandbox, &["unban", &client.to_string()])
}

fn bans(sandbox: &Sandbox) -> Result<Vec<Value>> {
    let text = done(sandbox, &["bans", "--json"])?;
    text.lines().map(|line| serde_json::from_str(line).with_context(|| line.to_owned())).collect()
}

/// The records of a client, once there are so many.
fn wait_records(sandbox: &Sandbox, client: IpAddr, count: usize) -> Result<Vec<Value>> {
    wait_for("the records are there", SOON, || {
        let text = done(sandbox, &["events", "--json", "--client", &client.to_string()])?;
        let all: Result<Vec<Value>, _> = text.lines().map(serde_json::from_str).collect();
        Ok(Some(all?).filter(|all| all.len() == count))
    })
}

/// What must never be counted, whatever was banned.
#[track_caller]
fn assert_no_fault(sandbox: &Sandbox) -> Result<()> {
    let counters = Tcpw::counters(sandbox)?;
    for name in ["disagreements", "index_disagreements", "unjudged", "broken"] {
        assert_eq!(counters.get(name), Some(&0), "{name}: {counters:?}");
    }
    Ok(())
}

#[test]
fn banned_client_is_refused_at_once_and_served_once_the_ban_ends() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = Sandbox::new("bans")?;
    sandbox.write_tables(ALLOW_ALL, "")?;
    let _alphad = Testd::start(&sandbox, "alphad", "[::]:7001")?;
    let _tcpw = Tcpw::start(&sandbox, &[])?;
    Tcpw::wait_listener(&sandbox, 7001, |_| true)?;
    assert_eq!(done(&sandbox, &["bans"])?, "no bans");
    for (client, network, other) in [
        (CLIENT_V4, "1.2.3.4/32", CLIENT_V4_OTHER),
        (CLIENT_V4_OTHER, "1.2.4.0/24", CLIENT_V4),
        (CLIENT_V6, "3ffe:ffff:100:200::/64", CLIENT_V6_OTHER),
    ] {
        let before = attempt(&sandbox, client, 7001)?;
        ensure!(before.is_connected(), "{before:?}");
        let said = done(&sandbox, &["ban", network, "--for", "1h", "--reason", "a test: \"it\""])?;
        assert_eq!(said, format!("banned {network} for 1h"));
        assert_refused(&sandbox, client, 7001)?;
        assert_served(&sandbox, other, 7001)?;
        let records = wait_records(&sandbox, client, 1)?;
        let record = &records[0];
        assert_eq!(
            [&record["fate"], &record["verdict"], &record["reason"], &record["rule"]],
            [&"refused".into(), &"refuse".into(), &"ban".into(), &Value::Null],
            "{record}"
        );
        let of_ban = &record["ban"];
        assert_eq!([&of_ban["network"], &of_ban["reason"]], [network, "a test: \"it\""], "{record}");
        let listed = bans(&sandbox)?;
        ensure!(listed.len() == 1 && listed[0]["network"] == network, "{listed:?}");
        let left = listed[0]["left_s"].as_u64().context("no time left")?;
        ensure!((3000..=3600).contains(&left), "{listed:?}");
        let why = done(&sandbox, &["why", &client.to_string()])?;
        ensure!(why.contains(&format!("ban:        {network} until ")), "{why}");
        let match_live = command(&sandbox, &["match", "--live", "alphad", &client.to_string()])?;
        ensure!(match_live.0.contains(&format!("ban of {network}")), "{match_live:?}");
        // A connection from before goes on.
        let Ended::Connected(mut stream) = before.ended else { panic!("{before:?}") };
        stream.set_read_timeout(Some(SOON))?;
        ensure!(stream.read(&mut [0; 64])? > 0, "its greeting did not come");

        assert_eq!(done(&sandbox, &["unban", network])?, "ended 1 ban");
        assert_served(&sandbox, client, 7001)?;
        assert_eq!(command(&sandbox, &["unban", network])?.1, Some(1));
    }
    assert_no_fault(&sandbox)
}

#[test]
fn what_the_files_refuse_stays_refused_and_is_told_by_its_rule() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = Sandbox::new("bans-files")?;
    sandbox.write_tables("alphad: 1.2.3.\n", "ALL: ALL\n")?;
    let _alphad = Testd::start(&sandbox, "alphad", "0.0.0.0:7001")?;
    let _tcpw = Tcpw::start(&sandbox, &[])?;
    Tcpw::wait_listener(&sandbox, 7001, |_| true)?;
    ban(&sandbox, CLIENT_V4_OTHER)?;
    assert_refused(&sandbox, CLIENT_V4_OTHER, 7001)?;
    let records = wait_records(&sandbox, CLIENT_V4_OTHER, 1)?;
    assert_eq!([&records[0]["reason"], &records[0]["rule"]["line"]], [&Value::from("rule"), &1.into()]);
    unban(&sandbox, CLIENT_V4_OTHER)?;
    assert_refused(&sandbox, CLIENT_V4_OTHER, 7001)?;
    assert_served(&sandbox, CLIENT_V4, 7001)?;
    assert_no_fault(&sandbox)
}

#[test]
fn banned_client_is_closed_where_refused_ones_are() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = Sandbox::new("bans-close")?;
    sandbox.write_tables(ALLOW_ALL, "")?;
    let _alphad = Testd::start(&sandbox, "alphad", "0.0.0.0:7001")?;
    let _tcpw = Tcpw::start(&sandbox, &["--on-deny", "close"])?;
    Tcpw::wait_listener(&sandbox, 7001, |row| row["on_deny"] == "close")?;
    ban(&sandbox, CLIENT_V4)?;
    let closed = attempt(&sandbox, CLIENT_V4, 7001)?;
    match closed.ended {
        Ended::Connected(mut stream) => {
            stream.set_read_timeout(Some(SOON))?;
            let read = stream.read(&mut [0; 64]);
            ensure!(matches!(read, Ok(0)) || read.is_err_and(|error| error.raw_os_error() == Some(104)));
        }
        Ended::ConnectedAndReset => {}
        Ended::Refused | Ended::TimedOut => panic!("{closed:?}"),
    }
    let records = wait_records(&sandbox, CLIENT_V4, 1)?;
    let record = &records[0];
    assert_eq!([&record["reason"], &record["source"]], ["ban", "handshake"], "{record}");
    assert_served(&sandbox, CLIENT_V4_OTHER, 7001)?;
    assert_no_fault(&sandbox)
}

#[test]
fn audit_mode_says_who_would_be_banned_and_refuses_nobody() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = Sandbox::new("bans-audit")?;
    sandbox.write_tables(ALLOW_ALL, "")?;
    let _alphad = Testd::start(&sandbox, "alphad", "0.0.0.0:7001")?;
    let settings = sandbox.write_settings("mode = \"audit\"\n")?;
    let _tcpw = Tcpw::start(&sandbox, &["--config", &settings])?;
    Tcpw::wait_listener(&sandbox, 7001, |_| true)?;
    ban(&sandbox, CLIENT_V4)?;
    assert_served(&sandbox, CLIENT_V4, 7001)?;
    let records = wait_records(&sandbox, CLIENT_V4, 1)?;
    assert_eq!([&records[0]["fate"], &records[0]["reason"]], ["would-refuse", "ban"], "{records:?}");
    assert_no_fault(&sandbox)
}

#[test]
fn exempt_clients_and_those_of_sessions_are_not_banned() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = Sandbox::new("bans-spared")?;
    sandbox.write_tables(ALLOW_ALL, "")?;
    let _alphad = Testd::start(&sandbox, "alphad", "0.0.0.0:7001")?;
    let settings = sandbox.write_settings("[exempt]\naddresses = [\"1.2.4.0/24\"]\n")?;
    let _tcpw = Tcpw::start(&sandbox, &["--config", &settings])?;
    Tcpw::wait_listener(&sandbox, 7001, |_| true)?;

    let (said, code) = command(&sandbox, &["ban", &CLIENT_V4_OTHER.to_string(), "--force"])?;
    ensure!(code == Some(1) && said.contains("1.2.4.0/24 is exempt"), "{code:?}: {said}");
    // One that has more clients is for the others.
    let of_session = |arguments: &[&str]| -> Result<(String, Option<i32>)> {
        let mut command = Command::new(tcpw_binary()?);
        command.args(arguments).env("SSH_CONNECTION", format!("{CLIENT_V4} 50000 {SERVER_V4} 22"));
        run(&sandbox, command)
    };
    let (said, code) = of_session(&["ban", "1.2.0.0/16"])?;
    ensure!(code == Some(1) && said.contains("1.2.3.4 has a session"), "{code:?}: {said}");
    assert_served(&sandbox, CLIENT_V4, 7001)?;
    let (said, code) = of_session(&["ban", "1.2.0.0/16", "--force"])?;
    ensure!(code == Some(0), "{code:?}: {said}");
    assert_refused(&sandbox, CLIENT_V4, 7001)?;
    assert_served(&sandbox, CLIENT_V4_OTHER, 7001)?;
    assert_no_fault(&sandbox)
}

#[test]
fn wrong_use_is_said_in_one_line() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = Sandbox::new("bans-wrong")?;
    for (arguments, part) in [
        (&["ban"][..], "see \"tcpw --help\""),
        (&["ban", "nobody"], "write an address or a network"),
        (&["ban", "1.2.3.4/24"], "perhaps 1.2.3.0/24"),
        (&["ban", "1.2.3.4", "--for", "1y"], "a time, as 90s"),
        (&["ban", "1.2.3.4", "--daemon", "a b"], "a name without blanks"),
        (&["ban", "--from", "/nowhere"], "/nowhere: No such file"),
    ] {
        let (said, code) = command(&sandbox, arguments)?;
        ensure!(code == Some(2) && said.contains(part) && said.lines().count() == 1, "{code:?}: {said}");
    }
    let (said, code) = command(&sandbox, &["bans"])?;
    ensure!(code == Some(1) && said.contains("no daemon is running"), "{code:?}: {said}");
    Ok(())
}
