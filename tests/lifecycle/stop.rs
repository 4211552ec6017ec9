//! What a daemon still does when it is told to stop.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use nix::sys::signal::Signal;
use tcpw_tests::{
    CLIENT_V4_OTHER, DENY, Process, SERVER_V4, Sandbox, Tcpw, Testd, client::knock, wait_until,
};

use super::{PORT, SOON, ready};

const ATTEMPTS: usize = 3000;

/// Before: attempts that were read from the kernel's ring and had not been judged again yet had no line.
#[test]
fn attempts_of_before_the_stop_have_their_lines() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = Sandbox::new("stop")?;
    sandbox.write_tables("", DENY)?;
    let _alphad = Testd::start(&sandbox, "alphad", &format!("0.0.0.0:{PORT}"))?;
    let mut tcpw = Tcpw::start(&sandbox, &["--pin"])?;
    Tcpw::wait_listener(&sandbox, PORT, |_| true)?;
    tcpw.process.signal(Signal::SIGSTOP)?;
    sandbox
        .client()
        .run(|| (0..ATTEMPTS).try_for_each(|_| knock(CLIENT_V4_OTHER, SocketAddr::new(SERVER_V4, PORT))))?;
    tcpw.process.signal(Signal::SIGTERM)?;
    tcpw.process.signal(Signal::SIGCONT)?;
    let status = tcpw.process.wait(SOON)?;
    ensure!(status.success(), "{status}: {}", tcpw.process.tail());
    let refused = Tcpw::counters_of_pins(&sandbox)?["refused"];
    ensure!(refused == u64::try_from(ATTEMPTS)?, "{refused} attempts were refused");
    let first = lines(&tcpw.process);
    // What was still in the ring is left to the next daemon.
    let next = Tcpw::start(&sandbox, &["--pin"])?;
    wait_until(&format!("{first} attempts and the others have their lines"), SOON, || {
        Ok(first + lines(&next.process) == ATTEMPTS)
    })
}

fn lines(process: &Process) -> usize {
    process.lines().iter().filter(|line| line.text.contains("refused connect from")).count()
}
