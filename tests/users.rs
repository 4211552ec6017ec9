//! Rules with users: the connection exists, its data wait, the client's ident server decides.

#[path = "users/identd.rs"]
mod identd;

use std::{
    io::{Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use tcpw_tests::{
    CLIENT_V4, CLIENT_V4_OTHER, CLIENT_V6, CLIENT_V6_OTHER, Place, Requirement, SERVER_V4, SERVER_V6, Sandbox,
    Tcpw, Testd, can_run,
    client::{Ended, connect},
};

use identd::{Identd, Manner};

const DENY: &str = "ALL: ALL\n";
const SOON: Duration = Duration::from_secs(10);
/// A greeting that was held comes by then: the server's socket is woken.
const AT_ONCE: Duration = Duration::from_millis(700);

const LO_V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const LO_V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

fn ready() -> bool {
    can_run("users", &[Requirement::Root])
}

/// What a client saw of a connection.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    /// The server's first bytes.
    Bytes(String),
    /// A reset, and not one byte.
    Reset,
    /// Nothing at all.
    Nothing,
    /// The handshake was not answered.
    NoAnswer,
}

fn open(sandbox: &Sandbox, client: IpAddr, server: IpAddr, port: u16) -> Result<TcpStream> {
    let place = if client.is_loopback() { sandbox.server() } else { sandbox.client() };
    match connect(place, client, SocketAddr::new(server, port), SOON)?.ended {
        Ended::Connected(stream) => Ok(stream),
        other => bail!("{client} to port {port}: {other:?}"),
    }
}

fn see(stream: &mut TcpStream, timeout: Duration) -> Result<Seen> {
    stream.set_read_timeout(Some(timeout))?;
    let mut bytes = [0; 256];
    match stream.read(&mut bytes) {
        Ok(0) => bail!("closed"),
        Ok(length) => Ok(Seen::Bytes(String::from_utf8_lossy(&bytes[..length]).trim().to_owned())),
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => Ok(Seen::Reset),
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(Seen::Nothing),
        Err(error) => Err(error).context("read"),
    }
}

fn is_greeting(seen: &Seen) -> bool {
    matches!(seen, Seen::Bytes(text) if text.starts_with("hello from"))
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
    let ends = [(CLIENT_V4, SERVER_V4), (CLIENT_V6, SERVER_V6), (LO_V4, LO_V4), (LO_V6, LO_V6)];
    for (client, server) in ends {
        let began = Instant::now();
        let mut stream = open(&sandbox, client, server, 7001)?;
        let seen = see(&mut stream, SOON)?;
        assert!(is_greeting(&seen), "{client}: {seen:?}");
        assert!(began.elapsed() < AT_ONCE, "{client}: {:?}", began.elapsed());
    }
    for identd in &identds {
        identd.becomes(Manner::user(b"mallory"));
    }
    for (client, server) in ends {
        let mut stream = open(&sandbox, client, server, 7001)?;
        assert_eq!(see(&mut stream, SOON)?, Seen::Reset, "{client}");
    }
    for (verb, user) in [("connect", "root"), ("refused connect", "mallory")] {
        for address in ["::ffff:1.2.3.4", "3ffe:ffff:100:200:212:34ff:fe12:3456", "::ffff:127.0.0.1", "::1"] {
            tcpw.process.wait_for_line(&format!(": {verb} from {user}@{address} ({address})"), SOON)?;
        }
    }
    let counters = Tcpw::counters(&sandbox)?;
    assert_eq!((counters["users_allowed"], counters["users_refused"]), (4, 4), "{counters:?}");
    assert_eq!((counters["users_waiting"], counters["users_asking"]), (0, 0), "{counters:?}");
    Ok(())
}
