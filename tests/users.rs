//! Rules with users: the connection exists, its data wait, the client's ident server decides.

#[path = "users/data.rs"]
mod data;
#[path = "users/deferred.rs"]
mod deferred;
#[path = "users/hostile.rs"]
mod hostile;
#[path = "users/identd.rs"]
mod identd;
#[path = "users/life.rs"]
mod life;
#[path = "users/pairs.rs"]
mod pairs;
#[path = "users/real.rs"]
mod real;
#[path = "users/seen.rs"]
mod seen;
#[path = "users/storm.rs"]
mod storm;
#[path = "users/together.rs"]
mod together;

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use anyhow::Result;
use tcpw_tests::{
    CLIENT_V4, CLIENT_V6, Requirement, SERVER_V4, SERVER_V6, Sandbox, Tcpw, Testd, can_run,
    client::{Ended, connect},
};

use identd::{Identd, Manner};
use seen::{AT_ONCE, DENY, LO_V4, LO_V6, SOON, Seen, open, see, see_at};

fn ready() -> bool {
    can_run("users", &[Requirement::Root])
}

#[test]
fn user_that_the_clients_host_names_decides() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = Sandbox::new("users")?;
    sandbox.write_tables("alphad: root@ALL\n", DENY)?;
    let _alphad = Testd::start(&sandbox, "alphad", "[::]:7001")?;
    let identds = [
        Identd::start(sandbox.client(), Manner::user(b"root"))?,
        Identd::start(sandbox.server(), Manner::user(b"root"))?,
    ];
    let mut tcpw = Tcpw::start(&sandbox, &["--log-allowed"])?;
    let ends: [(IpAddr, IpAddr); 4] =
        [(CLIENT_V4, SERVER_V4), (CLIENT_V6, SERVER_V6), (LO_V4, LO_V4), (LO_V6, LO_V6)];
    for (client, server) in ends {
        let began = Instant::now();
        let mut stream = open(&sandbox, client, server, 7001)?;
        let seen = see(&mut stream, SOON)?;
        assert!(seen.is_greeting(), "{client}: {seen:?}");
        // It is not its time limit that ends the waiting.
        assert!(began.elapsed() < Duration::from_secs(8), "{client}: {:?}", began.elapsed());
    }
    for identd in &identds {
        identd.becomes(Manner::user(b"mallory"));
    }
    for (client, server) in ends {
        assert_eq!(see_at(&sandbox, client, server, 7001)?, Seen::Reset, "{client}");
    }
    for (verb, user) in [("connect", "root"), ("refused connect", "mallory")] {
        for address in ["::ffff:1.2.3.4", "3ffe:ffff:100:200:212:34ff:fe12:3456", "::ffff:127.0.0.1", "::1"] {
            tcpw.process.wait_for_line(&format!(": {verb} from {user}@{address} ({address})"), SOON)?;
        }
    }
    let counters = Tcpw::counters(&sandbox)?;
    assert_eq!((counters["users_allowed"], counters["users_refused"]), (4, 4), "{counters:?}");
    assert_eq!((counters["users_waiting"], counters["users_held"]), (0, 0), "{counters:?}");
    Ok(())
}

/// The host part comes first: who does not match it is not asked for his user.
#[test]
fn nobody_is_asked_for_a_user_who_does_not_count() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = Sandbox::new("host-first")?;
    sandbox.write_tables("alphad: root@1.2.4. 1.2.3.\n", DENY)?;
    let _alphad = Testd::start(&sandbox, "alphad", "[::]:7001")?;
    let identd = Identd::start(sandbox.client(), Manner::user(b"root"))?;
    let _tcpw = Tcpw::start(&sandbox, &[])?;
    assert!(see_at(&sandbox, CLIENT_V4, SERVER_V4, 7001)?.is_greeting());
    let refused = connect(sandbox.client(), CLIENT_V6, (SERVER_V6, 7001).into(), AT_ONCE)?;
    assert!(matches!(refused.ended, Ended::TimedOut), "{refused:?}");
    assert_eq!(identd.queries(), 0);
    assert_eq!(Tcpw::counters(&sandbox)?["user_waits"], 0);
    Ok(())
}

/// The gate sees a subflow, which no descriptor leads to.
#[test]
fn listener_of_multipath_tcp_has_its_connections_wait() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = Sandbox::new("user-mptcp")?;
    sandbox.write_tables("alphad: root@ALL\n", DENY)?;
    let _alphad = Testd::start(&sandbox, "alphad", "--mptcp [::]:7001")?;
    let identd = Identd::start(sandbox.client(), Manner::user(b"root"))?;
    let _tcpw = Tcpw::start(&sandbox, &[])?;
    for (client, server) in [(CLIENT_V4, SERVER_V4), (CLIENT_V6, SERVER_V6)] {
        identd.becomes(Manner::user(b"root"));
        let seen = see_at(&sandbox, client, server, 7001)?;
        assert!(seen.is_greeting(), "{client}: {seen:?}");
        identd.becomes(Manner::user(b"mallory"));
        assert_eq!(see_at(&sandbox, client, server, 7001)?, Seen::Reset, "{client}");
    }
    Ok(())
}

/// `rfc931` looks the user up for the line, whatever it says.
#[test]
fn rfc931_puts_the_user_into_the_line() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = Sandbox::new("rfc931")?;
    sandbox.write_tables("alphad: 1.2.3.: rfc931 1\n", "ALL: ALL: rfc931\n")?;
    let _alphad = Testd::start(&sandbox, "alphad", "0.0.0.0:7001")?;
    let identd = Identd::start(sandbox.client(), Manner::user(b"alice"))?;
    let mut tcpw = Tcpw::start(&sandbox, &["--log-allowed"])?;
    assert!(see_at(&sandbox, CLIENT_V4, SERVER_V4, 7001)?.is_greeting());
    tcpw.process.wait_for_line(": connect from alice@1.2.3.4 (1.2.3.4)", SOON)?;
    assert_eq!(see_at(&sandbox, tcpw_tests::CLIENT_V4_OTHER, SERVER_V4, 7001)?, Seen::Reset);
    tcpw.process.wait_for_line(": refused connect from alice@1.2.4.4 (1.2.4.4)", SOON)?;
    // Its own time limit: one second.
    identd.becomes(Manner::Silent);
    let began = Instant::now();
    let mark = tcpw.process.mark();
    assert!(see_at(&sandbox, CLIENT_V4, SERVER_V4, 7001)?.is_greeting());
    assert!(
        (Duration::from_millis(900)..Duration::from_secs(5)).contains(&began.elapsed()),
        "{:?}",
        began.elapsed()
    );
    tcpw.process.wait_for_line_after(mark, ": connect from 1.2.3.4 (1.2.3.4)", SOON)?;
    Ok(())
}

#[test]
fn audit_mode_asks_and_lets_pass() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = Sandbox::new("user-audit")?;
    sandbox.write_tables("alphad: root@ALL\n", DENY)?;
    let _alphad = Testd::start(&sandbox, "alphad", "0.0.0.0:7001")?;
    let identd = Identd::start(sandbox.client(), Manner::user(b"mallory"))?;
    let settings = sandbox.write_settings("mode = \"audit\"\n")?;
    let mut tcpw = Tcpw::start(&sandbox, &["--config", &settings])?;
    assert!(see_at(&sandbox, CLIENT_V4, SERVER_V4, 7001)?.is_greeting());
    tcpw.process.wait_for_line(": would refuse connect from mallory@1.2.3.4 (1.2.3.4)", SOON)?;
    identd.becomes(Manner::user(b"root"));
    let mark = tcpw.process.mark();
    assert!(see_at(&sandbox, CLIENT_V4, SERVER_V4, 7001)?.is_greeting());
    let line = tcpw.process.wait_for_line_after(mark, "would refuse", AT_ONCE);
    assert!(line.is_err(), "{line:?}");
    assert_eq!(identd.queries(), 2);
    Ok(())
}
