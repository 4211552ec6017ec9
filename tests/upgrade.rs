//! One version takes over from another, and nobody notices: clients connect all the while.
//!
//! The other version is a tcpw built with another layout of the maps; where the layout does not matter,
//! its pins are this version's, under another version's directory.

use std::{
    fs,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use tcpw_common::{ABI_VERSION, layout::OTHER_ABI_VERSION};
use tcpw_tests::{
    CLIENT_V4, CLIENT_V4_OTHER, DENY, Requirement, SERVER_V4, Sandbox, Tcpw, Testd, Tries, can_run,
    client::connect, other_layout_binary, tcpw_binary,
};

const ALLOW: &str = "alphad: 1.2.3.\n";
const SERVER: SocketAddr = SocketAddr::new(SERVER_V4, 7001);
/// Before a SYN is sent again.
const PATIENCE: Duration = Duration::from_millis(900);
const SOON: Duration = Duration::from_secs(20);
const END: Duration = Duration::from_secs(20);
const PINS: &str = "/sys/fs/bpf/tcpw";

fn ready() -> bool {
    can_run("upgrade", &[Requirement::Root])
}

fn is_allowed(sandbox: &Sandbox, client: IpAddr) -> Result<bool> {
    Ok(connect(sandbox.client(), client, SERVER, PATIENCE)?.is_connected())
}

fn assert_enforced(sandbox: &Sandbox) -> Result<()> {
    ensure!(is_allowed(sandbox, CLIENT_V4)?, "the allowed client is refused");
    ensure!(!is_allowed(sandbox, CLIENT_V4_OTHER)?, "the refused client is let in");
    Ok(())
}

/// A server whose daemon died and left its policy pinned.
fn orphaned(name: &str, flags: &[&str]) -> Result<(Sandbox, Testd)> {
    let sandbox = Sandbox::new(name)?;
    sandbox.write_tables(ALLOW, DENY)?;
    let alphad = Testd::start(&sandbox, "alphad", "0.0.0.0:7001")?;
    Tcpw::start(&sandbox, &[&["--pin"], flags].concat())?.process.kill_9()?;
    assert_enforced(&sandbox)?;
    Ok((sandbox, alphad))
}

fn version(number: u32) -> PathBuf {
    PathBuf::from(PINS).join(format!("v{number}"))
}

/// Makes the pins another version's.
fn make_foreign(sandbox: &Sandbox, number: u32) -> Result<()> {
    sandbox.mounts().run(|| fs::rename(version(ABI_VERSION), version(number)).context("rename the pins"))
}

/// What lies in the pin directory.
fn pinned(sandbox: &Sandbox) -> Result<Vec<String>> {
    sandbox.mounts().run(|| {
        if !fs::exists(PINS)? {
            return Ok(Vec::new());
        }
        let mut names = Vec::new();
        for entry in fs::read_dir(PINS)? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        Ok(names)
    })
}

/// Does something while an allowed and a refused client connect without a pause: how often each did.
fn under_load<T>(sandbox: &Sandbox, work: impl FnOnce() -> Result<T>) -> Result<(T, [usize; 2])> {
    let stop = AtomicBool::new(false);
    let stop = &stop;
    let tries = [Tries::default(), Tries::default()];
    let [let_in, kept_out] = &tries;
    thread::scope(|scope| {
        let allowed = scope.spawn(move || -> Result<()> {
            while !stop.load(Ordering::Relaxed) {
                let began = Instant::now();
                let mut attempt = connect(sandbox.client(), CLIENT_V4, SERVER, PATIENCE)?;
                ensure!(
                    attempt.is_connected(),
                    "not let in, attempt {}, {:?}",
                    let_in.count(),
                    began.elapsed()
                );
                // Waits for the daemon: its full queue would drop a SYN too.
                attempt.greeting(PATIENCE);
                let_in.tried();
            }
            Ok(())
        });
        let refused = scope.spawn(move || -> Result<()> {
            while !stop.load(Ordering::Relaxed) {
                let wait = Duration::from_millis(15);
                let attempt = connect(sandbox.client(), CLIENT_V4_OTHER, SERVER, wait)?;
                ensure!(!attempt.is_connected(), "let in, attempt {}", kept_out.count());
                kept_out.tried();
            }
            Ok(())
        });
        let done = work().and_then(|done| {
            tries.iter().try_for_each(|tries| tries.wait_more(5))?;
            Ok(done)
        });
        stop.store(true, Ordering::Relaxed);
        let [allowed, refused] =
            [allowed, refused].map(|client| client.join().map_err(|_panic| anyhow::anyhow!("panicked")));
        allowed??;
        refused??;
        Ok((done?, [let_in.count(), kept_out.count()]))
    })
}

fn assert_many(counts: [usize; 2]) -> Result<()> {
    ensure!(counts.iter().all(|count| *count > 10), "too few attempts: {counts:?}");
    Ok(())
}

#[test]
fn same_layout_is_adopted_without_a_gap() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let (sandbox, _alphad) = orphaned("same", &[])?;
    let (mut tcpw, counts) = under_load(&sandbox, || Tcpw::start(&sandbox, &["--pin"]))?;
    tcpw.process.wait_for_line("ready: adopted", SOON)?;
    assert_many(counts)
}

#[test]
fn other_layout_is_replaced_without_a_gap() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let (sandbox, _alphad) = orphaned("other", &[])?;
    let mut refused = Tcpw::counters_of_pins(&sandbox)?["refused"];
    ensure!(refused > 0, "nothing was counted");
    // To the other layout, then back.
    for (program, before, after) in [
        (other_layout_binary()?, ABI_VERSION, OTHER_ABI_VERSION),
        (tcpw_binary()?, OTHER_ABI_VERSION, ABI_VERSION),
    ] {
        assert_eq!(pinned(&sandbox)?, [format!("v{before}")]);
        let generation = Tcpw::status_of_pins(&sandbox)?["generation"].as_u64().context("a generation")?;
        let (mut tcpw, counts) = under_load(&sandbox, || Tcpw::start_with(&program, &sandbox, &["--pin"]))?;
        assert_many(counts)?;
        tcpw.process.wait_for_line(&format!("applied generation {} in", generation + 1), SOON)?;
        tcpw.process.wait_for_line(&format!("took over from the gate that version {before}"), SOON)?;
        assert_eq!(pinned(&sandbox)?, [format!("v{after}")]);
        let counted = Tcpw::counters(&sandbox)?["refused"];
        ensure!(counted > refused, "the counters began anew");
        refused = counted;
        // One gate is left, and it follows edits.
        let mark = tcpw.process.mark();
        sandbox.write_tables("alphad: 1.2.4.\n", DENY)?;
        tcpw.wait_applied(mark)?;
        assert!(is_allowed(&sandbox, CLIENT_V4_OTHER)?);
        assert!(!is_allowed(&sandbox, CLIENT_V4)?);
        let mark = tcpw.process.mark();
        sandbox.write_tables(ALLOW, DENY)?;
        tcpw.wait_applied(mark)?;
        tcpw.process.kill_9()?;
        assert_enforced(&sandbox)?;
    }
    Tcpw::command(&sandbox, &["detach"])?;
    assert!(is_allowed(&sandbox, CLIENT_V4_OTHER)?);
    assert_eq!(pinned(&sandbox)?, [""; 0]);
    Ok(())
}

#[test]
fn other_layout_under_the_same_number_is_left_in_force_and_named() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = Sandbox::new("misnamed")?;
    sandbox.write_tables(ALLOW, DENY)?;
    let _alphad = Testd::start(&sandbox, "alphad", "0.0.0.0:7001")?;
    Tcpw::start_with(&other_layout_binary()?, &sandbox, &["--pin"])?.process.kill_9()?;
    sandbox
        .mounts()
        .run(|| fs::rename(version(OTHER_ABI_VERSION), version(ABI_VERSION)).context("rename the pins"))?;
    let mut tcpw = Tcpw::spawn(&sandbox, &["--pin"])?;
    assert_eq!(tcpw.wait(END)?.code(), Some(1), "{}", tcpw.tail());
    let said = tcpw.tail();
    for words in ["HEADERS is of another layout", "stays in force", "`tcpw detach`"] {
        ensure!(said.contains(words), "no {words:?} in: {said}");
    }
    assert_enforced(&sandbox)?;
    Tcpw::command(&sandbox, &["detach"])?;
    assert!(is_allowed(&sandbox, CLIENT_V4_OTHER)?);
    Ok(())
}

#[test]
fn upgrade_that_fails_leaves_the_old_policy_in_force_and_says_so() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let (sandbox, _alphad) = orphaned("fails", &[])?;
    make_foreign(&sandbox, 1)?;
    let fails = |flags: &[&str]| -> Result<()> {
        let ((), counts) = under_load(&sandbox, || {
            let mut tcpw = Tcpw::spawn(&sandbox, flags)?;
            ensure!(!tcpw.wait(END)?.success(), "{flags:?} started");
            ensure!(tcpw.tail().contains("version 1 pinned stays in force"), "{}", tcpw.tail());
            Ok(())
        })?;
        ensure!(counts[0] > 3 && counts[1] > 3, "too few attempts: {counts:?}");
        assert_eq!(pinned(&sandbox)?, ["v1"]);
        assert_enforced(&sandbox)
    };
    fails(&["--pin", "--log", "file:/nowhere/tcpw.log"])?;
    // The old policy was made of good tables: broken ones do not take its place.
    sandbox.write_tables(ALLOW, "ALL ALL\n")?;
    fails(&["--pin"])?;
    sandbox.write_tables(ALLOW, DENY)?;
    Tcpw::start(&sandbox, &["--pin"])?;
    assert_eq!(pinned(&sandbox)?, [format!("v{ABI_VERSION}")]);
    Ok(())
}

#[test]
fn status_and_detach_know_the_pins_of_another_version() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let (sandbox, _alphad) = orphaned("foreign", &[])?;
    make_foreign(&sandbox, 1)?;
    let status = Tcpw::status_of_pins(&sandbox)?;
    assert_eq!((&status["version"], &status["generation"]), (&1.into(), &1.into()), "{status}");
    // Nobody guards beside it either.
    let mut beside = Tcpw::spawn(&sandbox, &[])?;
    assert_eq!(beside.wait(END)?.code(), Some(2), "{}", beside.tail());
    assert!(beside.tail().contains("adopt it with --pin"), "{}", beside.tail());
    Tcpw::command(&sandbox, &["detach"])?;
    assert!(is_allowed(&sandbox, CLIENT_V4_OTHER)?);
    assert_eq!(pinned(&sandbox)?, [""; 0]);
    Ok(())
}

#[test]
fn pins_that_a_daemon_follows_are_its_own() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = Sandbox::new("followed")?;
    sandbox.write_tables(ALLOW, DENY)?;
    let _alphad = Testd::start(&sandbox, "alphad", "0.0.0.0:7001")?;
    let tcpw = Tcpw::start(&sandbox, &["--pin"])?;
    let pid = format!("pid {}", tcpw.process.pid());
    for flags in [
        &["run", "--pin", "--run-dir", "/run/other"][..],
        &["run", "--run-dir", "/run/other"],
        // The same place: its lock says who.
        &["run"],
        &["status", "--run-dir", "/run/other"],
        &["detach", "--run-dir", "/run/other"],
    ] {
        let mut other = match flags {
            ["run", flags @ ..] => Tcpw::spawn(&sandbox, flags)?,
            _ => Tcpw::spawn_command(&sandbox, flags)?,
        };
        assert_eq!(other.wait(END)?.code(), Some(2), "{flags:?}: {}", other.tail());
        assert!(other.tail().contains(&pid), "{flags:?}: {}", other.tail());
        assert_enforced(&sandbox)?;
    }
    Ok(())
}

#[test]
fn link_that_is_not_wanted_any_more_goes() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let (sandbox, _alphad) = orphaned("unwanted", &["--log-allowed"])?;
    let is_pinned = || sandbox.mounts().run(|| Ok(fs::exists(version(ABI_VERSION).join("link_accepted"))?));
    assert!(is_pinned()?);
    let _tcpw = Tcpw::start(&sandbox, &["--pin"])?;
    assert!(!is_pinned()?);
    assert_enforced(&sandbox)
}
