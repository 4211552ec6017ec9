//! Listeners that accept no connection before its first data (TCP_DEFER_ACCEPT), as Apache's do.

use std::{
    io::Write as _,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use tcpw_tests::{CLIENT_V4, CLIENT_V6, SERVER_V4, SERVER_V6, Sandbox, Tcpw, Testd};

use super::{
    identd::{Identd, Manner},
    ready,
    seen::{DENY, SOON, Seen, open, see},
};

/// Well before the kernel gives up waiting for the first data.
const SOON_ENOUGH: Duration = Duration::from_secs(3);

#[test]
fn client_of_a_deferred_listener_is_asked_for_before_its_data_are_read() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = Sandbox::new("user-defer")?;
    sandbox.write_tables("alphad: root@ALL\n", DENY)?;
    let alphad = Testd::start(&sandbox, "alphad", "--defer 30 --tell [::]:7001")?;
    let identd = Identd::start(sandbox.client(), Manner::user(b"root"))?;
    let _tcpw = Tcpw::start(&sandbox, &[])?;
    let was_read = || alphad.process.lines().iter().filter(|line| line.text.starts_with("read: G")).count();
    for (client, server, round) in [(CLIENT_V4, SERVER_V4, 1), (CLIENT_V6, SERVER_V6, 2)] {
        identd.becomes(Manner::user(b"root"));
        let began = Instant::now();
        let mut stream = open(&sandbox, client, server, 7001)?;
        stream.write_all(b"GET /")?;
        let seen = see(&mut stream, SOON + SOON)?;
        ensure!(seen.is_greeting(), "{client}: {seen:?} after {:?}", began.elapsed());
        ensure!(began.elapsed() < SOON_ENOUGH, "{client}: after {:?}", began.elapsed());
        while was_read() < round {
            ensure!(began.elapsed() < SOON + SOON, "{client}: its data were lost");
        }
        identd.becomes(Manner::user(b"mallory"));
        let began = Instant::now();
        let mut stream = open(&sandbox, client, server, 7001)?;
        stream.write_all(b"GET /")?;
        assert_eq!(see(&mut stream, SOON + SOON)?, Seen::Reset, "{client}");
        ensure!(began.elapsed() < SOON_ENOUGH, "{client}: reset after {:?}", began.elapsed());
        assert_eq!(was_read(), round, "{client}: the daemon read something");
    }
    Ok(())
}
