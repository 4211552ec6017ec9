//! Reloads and deaths while connections wait.

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::Result;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tcpw_tests::{CLIENT_V4, SERVER_V4, Sandbox, Tcpw, Testd, wait_until};
use tcpw_userspace::host::NAME_LOOKUPS;

use super::{
    identd::{Identd, Manner},
    ready,
    seen::{AT_ONCE, DENY, SOON, Seen, open, see, see_at},
};

/// The policy in force when the answer comes decides.
#[test]
fn reload_while_a_connection_waits_decides_it() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = Sandbox::new("user-reload")?;
    sandbox.write_tables("alphad: root@ALL\n", DENY)?;
    let _alphad = Testd::start(&sandbox, "alphad", "0.0.0.0:7001")?;
    let slowly = Manner::Slowly(Duration::from_secs(3), b"%p:USERID:UNIX:root\r\n".to_vec());
    let identd = Identd::start(sandbox.client(), slowly)?;
    let mut tcpw = Tcpw::start(&sandbox, &[])?;
    let mut stream = open(&sandbox, CLIENT_V4, SERVER_V4, 7001)?;
    let mark = tcpw.process.mark();
    sandbox.write_tables("", DENY)?;
    tcpw.wait_applied(mark)?;
    assert_eq!(see(&mut stream, SOON)?, Seen::Reset);
    identd.becomes(Manner::user(b"mallory"));
    let mark = tcpw.process.mark();
    sandbox.write_tables("alphad: mallory@ALL\n", DENY)?;
    tcpw.wait_applied(mark)?;
    assert!(see_at(&sandbox, CLIENT_V4, SERVER_V4, 7001)?.is_greeting());
    Ok(())
}

/// Nobody is left to ask: a user is unknown, as to libwrap after its time limit.
#[test]
fn daemon_that_died_leaves_the_verdict_on_an_unknown_user() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = Sandbox::new("user-died")?;
    sandbox.write_tables("alphad: ALL: rfc931 1\nbetad: root@ALL: rfc931 1\n", "ALL: ALL: rfc931 1\n")?;
    let alphad = Testd::start(&sandbox, "alphad", "--tell 0.0.0.0:7001")?;
    let betad = Testd::start(&sandbox, "betad", "--tell 0.0.0.0:7002")?;
    let _identd = Identd::start(sandbox.client(), Manner::Silent)?;
    let mut tcpw = Tcpw::start(&sandbox, &["--pin"])?;
    // The answers are there for those who come when nobody is.
    assert!(see_at(&sandbox, CLIENT_V4, SERVER_V4, 7001)?.is_greeting());
    let began = Instant::now();
    let mut allowed = open(&sandbox, CLIENT_V4, SERVER_V4, 7001)?;
    let mut refused = open(&sandbox, CLIENT_V4, SERVER_V4, 7002)?;
    std::io::Write::write_all(&mut refused, b"GET /")?;
    tcpw.process.kill_9()?;
    let seen = see(&mut allowed, SOON)?;
    let told: Vec<String> = alphad.process.lines().into_iter().map(|line| line.text).collect();
    assert!(
        seen.is_greeting(),
        "{seen:?} after {:?}; alphad: {told:?}; {:?}",
        began.elapsed(),
        Tcpw::status_of_pins(&sandbox)
    );
    assert!(began.elapsed() >= Duration::from_secs(1), "{:?}", began.elapsed());
    assert_eq!(see(&mut refused, Duration::from_secs(15))?, Seen::Nothing);
    assert!(!betad.process.lines().iter().any(|line| line.text.starts_with("read: G")));
    // The next one ends what is left.
    let _adopted = Tcpw::start(&sandbox, &["--pin"])?;
    assert_eq!(see(&mut refused, SOON)?, Seen::Reset);
    let counters = Tcpw::counters(&sandbox)?;
    assert_eq!((counters["users_held"], counters["user_expired"] >= 1), (0, true), "{counters:?}");
    Tcpw::command(&sandbox, &["detach"])?;
    assert!(!sandbox.mounts().run(|| Ok(fs::exists("/sys/fs/bpf/tcpw")?))?, "pins are left");
    Ok(())
}

/// The next process asks for those who waited for the one before.
#[test]
fn next_daemon_takes_up_who_waits() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = Sandbox::new("user-adopted")?;
    sandbox.write_tables("alphad: root@ALL\n", DENY)?;
    let _alphad = Testd::start(&sandbox, "alphad", "0.0.0.0:7001")?;
    let identd = Identd::start(sandbox.client(), Manner::Silent)?;
    let mut tcpw = Tcpw::start(&sandbox, &["--pin"])?;
    let mut first = open(&sandbox, CLIENT_V4, SERVER_V4, 7001)?;
    tcpw_tests::wait_until("a query", SOON, || Ok(identd.queries() > 0))?;
    tcpw.process.kill_9()?;
    identd.becomes(Manner::user(b"root"));
    let _adopted = Tcpw::start(&sandbox, &["--pin"])?;
    assert!(see(&mut first, SOON)?.is_greeting());
    identd.becomes(Manner::user(b"mallory"));
    assert_eq!(see_at(&sandbox, CLIENT_V4, SERVER_V4, 7001)?, Seen::Reset);
    Tcpw::command(&sandbox, &["detach"])?;
    Ok(())
}

/// A reply is read by the process that has no rights, and by no other: the next one, if it ends.
#[test]
fn process_without_rights_reads_the_replies_of_ident_servers() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = Sandbox::new("user-apart")?;
    sandbox.write_tables("alphad: root@ALL\n", DENY)?;
    let _alphad = Testd::start(&sandbox, "alphad", "0.0.0.0:7001")?;
    let identd = Identd::start(sandbox.client(), Manner::user(b"root"))?;
    let mut tcpw = Tcpw::start(&sandbox, &[])?;
    let process = Pid::from_raw(i32::try_from(tcpw.helper_of(NAME_LOOKUPS)?)?);
    kill(process, Signal::SIGSTOP)?;
    let mut stream = open(&sandbox, CLIENT_V4, SERVER_V4, 7001)?;
    wait_until("the reply has come", SOON, || Ok(identd.queries() == 1 && identd.open() == 0))?;
    assert_eq!(see(&mut stream, AT_ONCE)?, Seen::Nothing);
    kill(process, Signal::SIGKILL)?;
    tcpw.process.wait_for_line("the process that looks names up is gone", SOON)?;
    assert!(see(&mut stream, SOON)?.is_greeting());
    assert_eq!(identd.queries(), 1, "the client's host was asked again");
    Ok(())
}
