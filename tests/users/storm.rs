//! Many connections wait at once, and the ident server is silent.

use std::{
    net::{IpAddr, Ipv4Addr, TcpStream},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use tcpw_tests::{CLIENT_V4, SERVER_V4, Sandbox, Tcpw, Testd};

use super::{
    identd::{Identd, Manner},
    ready,
    seen::{AT_ONCE, DENY, SOON, Seen, open, see, see_at},
};

/// Sources, each with as many as tcpw asks for at once.
const SOURCES: u8 = 8;
const OF_A_SOURCE: usize = 64;
/// libwrap's time limit, and some more for a busy machine.
const LIMIT: Duration = Duration::from_secs(20);

#[test]
fn silent_ident_server_costs_its_own_clients_time_and_nobody_else() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = Sandbox::new("user-storm")?;
    for number in 0..SOURCES {
        sandbox.client().address("tcpw0", source(number), 16)?;
    }
    sandbox.write_tables("alphad: root@1.2.5.\nbetad: 1.2.3.\n", DENY)?;
    let _alphad = Testd::start(&sandbox, "alphad", "--tell 0.0.0.0:7001")?;
    let _betad = Testd::start(&sandbox, "betad", "0.0.0.0:7002")?;
    let identd = Identd::start(sandbox.client(), Manner::Silent)?;
    let mut tcpw = Tcpw::start(&sandbox, &[])?;
    let mut waiting: Vec<TcpStream> = Vec::new();
    for _ in 0..OF_A_SOURCE {
        for number in 0..SOURCES {
            waiting.push(open(&sandbox, source(number), SERVER_V4, 7001)?);
        }
    }
    let counters =
        Tcpw::wait_counters(&sandbox, "500 look-ups", SOON, |counters| counters["users_asking"] >= 500)?;
    assert!(counters["users_held"] >= 500, "{counters:?}");
    // One more is beyond the bound: its user is unknown, at once.
    assert_eq!(see_at(&sandbox, source(0), SERVER_V4, 7001)?, Seen::Reset);
    assert_eq!(Tcpw::counters(&sandbox)?["users_limited"], 1);
    tcpw.process.wait_for_line("1 users were not asked for and are unknown", SOON)?;
    // Others are not affected.
    for _ in 0..10 {
        let began = Instant::now();
        let mut stream = open(&sandbox, CLIENT_V4, SERVER_V4, 7002)?;
        assert!(see(&mut stream, SOON)?.is_greeting());
        assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
    }
    // Half of the clients give up before they have an answer.
    waiting.truncate(256);
    for mut stream in waiting {
        assert_eq!(see(&mut stream, LIMIT)?, Seen::Reset);
    }
    let counters = Tcpw::wait_counters(&sandbox, "nothing is left", LIMIT, |counters| {
        ["users_held", "users_waiting", "users_asking"].iter().all(|name| counters[*name] == 0)
            && identd.open() == 0
    })
    .with_context(|| format!("{} look-ups", identd.open()))?;
    assert_eq!(counters["users_refused"], 513, "{counters:?}");
    assert_eq!(counters["users_asked_for"], 512, "{counters:?}");
    assert!(!_alphad.process.lines().iter().any(|line| line.text.starts_with("read: G")));
    Ok(())
}

fn source(number: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(1, 2, 5, 1 + number))
}
