//! A real rsyslog that is killed and comes back.

use nix::sys::signal::Signal;
use tcpw_tests::{CLIENT_V4, CLIENT_V4_OTHER, Testd, client::knock_from, daemons::Rsyslog};

use super::*;

/// The client of an attempt: they come in no regular turn, so that lines out of order show.
fn client(number: u16) -> IpAddr {
    if number * number % 7 < 3 { CLIENT_V4 } else { CLIENT_V4_OTHER }
}

#[test]
fn rsyslog_that_is_killed_gets_everything_later_in_order() -> Result<()> {
    if !ready() || !can_run("sinks", &[Requirement::Program("/usr/sbin/rsyslogd")]) {
        return Ok(());
    }
    let sandbox = Sandbox::new("rsyslog")?;
    sandbox.write_tables("", "ALL: ALL\n")?;
    let secure = sandbox.scratch().join("log/secure");
    let mut rsyslog = Rsyslog::start(&sandbox)?;
    let _alphad = Testd::start(&sandbox, "alphad", "0.0.0.0:7001")?;
    let _tcpw = Tcpw::start(&sandbox, &["--log", "syslog"])?;
    let knock = |numbers: std::ops::Range<u16>| {
        sandbox.client().run(|| {
            numbers.into_iter().try_for_each(|number| {
                let from = SocketAddr::new(client(number), 40_000 + number);
                knock_from(from, SocketAddr::new(SERVER_V4, 7001))
            })
        })
    };
    // rsyslog writes lines of its own, too.
    let of_attempts =
        || lines(&secure).into_iter().filter(|line| line.contains(" alphad[")).collect::<Vec<_>>();
    let wait_for = |count: usize| {
        wait_until(&format!("{count} lines are in the secure log"), SOON, || Ok(of_attempts().len() >= count))
            .with_context(|| of_attempts().join("\n"))
    };
    knock(0..50)?;
    wait_for(50)?;
    rsyslog.process.signal(Signal::SIGKILL)?;
    rsyslog.process.wait(SOON)?;
    knock(50..100)?;
    wait_until("50 lines wait", SOON, || Ok(counts(&sandbox, "syslog")? == [50, 0, 50]))
        .with_context(|| format!("{:?}", counts(&sandbox, "syslog")))?;
    // It makes its socket anew.
    fs::remove_file(sandbox.scratch().join("run/dev-log"))?;
    let _again = Rsyslog::start(&sandbox)?;
    wait_for(100)?;
    for (number, line) in (0..).zip(of_attempts()) {
        let client = client(number);
        assert!(line.ends_with(&format!("]: refused connect from {client} ({client})")), "{number}: {line}");
    }
    assert_eq!(counts(&sandbox, "syslog")?, [100, 0, 0]);
    Ok(())
}
