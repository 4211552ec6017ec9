//! Not one byte passes before the answer, however it is sent.

use std::{
    fs,
    io::Write as _,
    net::{IpAddr, SocketAddr, TcpStream},
    os::fd::AsRawFd as _,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrStorage, bind, connect, sendto,
    setsockopt, socket, sockopt,
};
use tcpw_tests::{CLIENT_V4, CLIENT_V6, SERVER_V4, SERVER_V6, Sandbox, Tcpw, Testd};

use super::{
    identd::{Identd, Manner},
    ready,
    seen::{DENY, SOON, Seen, open, see},
};

/// How long the ident server thinks.
const ANSWER: Duration = Duration::from_millis(800);

fn slowly(user: &[u8]) -> Manner {
    match Manner::user(user) {
        Manner::Says(reply) => Manner::Slowly(ANSWER, reply),
        other @ (Manner::Slowly(..) | Manner::Silent | Manner::HangsUp) => other,
    }
}

fn was_read(daemon: &Testd) -> usize {
    daemon.process.lines().iter().filter(|line| line.text.starts_with("read: G")).count()
}

/// Both directions, both families, on a socket that is opened as any other.
#[test]
fn data_wait_for_the_answer_both_ways() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = Sandbox::new("user-data")?;
    sandbox.write_tables("alphad: root@ALL\n", DENY)?;
    let alphad = Testd::start(&sandbox, "alphad", "--tell [::]:7001")?;
    let identd = Identd::start(sandbox.client(), slowly(b"root"))?;
    let _tcpw = Tcpw::start(&sandbox, &[])?;
    for (client, server) in [(CLIENT_V4, SERVER_V4), (CLIENT_V6, SERVER_V6)] {
        identd.becomes(slowly(b"root"));
        let before = was_read(&alphad);
        let began = Instant::now();
        let mut stream = open(&sandbox, client, server, 7001)?;
        stream.write_all(b"GET /")?;
        assert_eq!(see(&mut stream, ANSWER / 2)?, Seen::Nothing, "{client}");
        assert_eq!(was_read(&alphad), before, "{client}");
        assert!(see(&mut stream, SOON)?.is_greeting(), "{client}");
        assert!(began.elapsed() >= ANSWER, "{client}: {:?}", began.elapsed());
        wait_read(&alphad, before + 1)?;

        identd.becomes(slowly(b"mallory"));
        let mut stream = open(&sandbox, client, server, 7001)?;
        stream.write_all(b"GET /")?;
        assert_eq!(see(&mut stream, SOON)?, Seen::Reset, "{client}");
        // What the daemon reads next is another client's.
        identd.becomes(slowly(b"root"));
        let mut stream = open(&sandbox, client, server, 7001)?;
        stream.write_all(b"GET /")?;
        assert!(see(&mut stream, SOON)?.is_greeting(), "{client}");
        wait_read(&alphad, before + 2)?;
        assert_eq!(was_read(&alphad), before + 2, "{client}: the daemon read something");
    }
    let counters = Tcpw::counters(&sandbox)?;
    // At least: the request and the greeting of each.
    assert!(counters["user_segments"] >= 8, "{counters:?}");
    assert_eq!(counters["users_held"], 0, "{counters:?}");
    Ok(())
}

fn wait_read(daemon: &Testd, count: usize) -> Result<()> {
    tcpw_tests::wait_until(&format!("the daemon has read {count} times"), SOON, || {
        Ok(was_read(daemon) >= count)
    })
    .with_context(|| daemon.process.tail())
}

/// Connections whose SYN's data were taken, in /proc/net/netstat.
const FAST_OPENED: &str = "TCPFastOpenPassive";

/// The SYN carries data, and the server would hand them over at once.
#[test]
fn fast_open_falls_back_to_a_handshake() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = Sandbox::new("user-tfo")?;
    sandbox.write_tables("alphad: root@ALL\nbetad: ALL\n", DENY)?;
    for netns in [sandbox.server(), sandbox.client()] {
        netns.run(|| Ok(fs::write("/proc/sys/net/ipv4/tcp_fastopen", "519")?))?;
    }
    let alphad = Testd::start(&sandbox, "alphad", "--fast-open --tell [::]:7001")?;
    let betad = Testd::start(&sandbox, "betad", "--fast-open --tell [::]:7002")?;
    let identd = Identd::start(sandbox.client(), slowly(b"root"))?;
    let _tcpw = Tcpw::start(&sandbox, &[])?;
    let fast = |port: u16, client: IpAddr, server: IpAddr| {
        sandbox.client().run(|| fast_open(client, SocketAddr::new(server, port)))
    };
    // Where no user decides it works as ever: this client does send data with its SYN.
    assert!(see(&mut fast(7002, CLIENT_V4, SERVER_V4)?, SOON)?.is_greeting());
    wait_read(&betad, 1)?;
    assert_eq!(sandbox.server().netstat(FAST_OPENED)?, Some(1));
    for (client, server, round) in [(CLIENT_V4, SERVER_V4, 1), (CLIENT_V6, SERVER_V6, 2)] {
        identd.becomes(slowly(b"root"));
        let mut stream = fast(7001, client, server)?;
        assert_eq!(see(&mut stream, ANSWER / 2)?, Seen::Nothing, "{client}");
        assert_eq!(was_read(&alphad), round - 1, "{client}");
        assert!(see(&mut stream, SOON)?.is_greeting(), "{client}");
        wait_read(&alphad, round)?;
        identd.becomes(Manner::user(b"mallory"));
        assert_eq!(see(&mut fast(7001, client, server)?, SOON)?, Seen::Reset, "{client}");
        assert_eq!(was_read(&alphad), round, "{client}: the daemon read something");
    }
    assert_eq!(sandbox.server().netstat(FAST_OPENED)?, Some(1), "no other SYN's data were taken");
    let counters = Tcpw::counters(&sandbox)?;
    assert!(counters["user_syns"] >= 1, "{counters:?}");
    Ok(())
}

fn fast_open(source: IpAddr, server: SocketAddr) -> Result<TcpStream> {
    let socket = client(source)?;
    let flags = MsgFlags::from_bits_retain(libc::MSG_FASTOPEN);
    sendto(socket.as_raw_fd(), b"GET /", &SockaddrStorage::from(server), flags)
        .context("sendto with MSG_FASTOPEN")?;
    Ok(socket.into())
}

fn client(source: IpAddr) -> Result<std::os::fd::OwnedFd> {
    let family = if source.is_ipv6() { AddressFamily::Inet6 } else { AddressFamily::Inet };
    let socket = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, SockProtocol::Tcp)?;
    bind(socket.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(source, 0))).context("bind")?;
    Ok(socket)
}

/// To the server the handshake is not complete yet: the listener's own socket is the context.
#[test]
fn data_in_the_last_ack_of_the_handshake_wait_too() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = Sandbox::new("user-ack")?;
    sandbox.write_tables("alphad: root@ALL\nbetad: ALL\n", DENY)?;
    let alphad = Testd::start(&sandbox, "alphad", "--tell [::]:7001")?;
    let betad = Testd::start(&sandbox, "betad", "--tell [::]:7002")?;
    let identd = Identd::start(sandbox.client(), slowly(b"root"))?;
    let _tcpw = Tcpw::start(&sandbox, &[])?;
    let late = |port: u16, client: IpAddr, server: IpAddr| {
        sandbox.client().run(|| data_with_ack(client, SocketAddr::new(server, port)))
    };
    // Where no user decides, the daemon has them at once: the first ACK carried them.
    assert!(see(&mut late(7002, CLIENT_V4, SERVER_V4)?, SOON)?.is_greeting());
    wait_read(&betad, 1)?;
    for (client, server, round) in [(CLIENT_V4, SERVER_V4, 1), (CLIENT_V6, SERVER_V6, 2)] {
        identd.becomes(slowly(b"root"));
        let before = Tcpw::counters(&sandbox)?;
        let mut stream = late(7001, client, server)?;
        assert_eq!(see(&mut stream, ANSWER / 2)?, Seen::Nothing, "{client}");
        assert_eq!(was_read(&alphad), round - 1, "{client}");
        // They were dropped, and the handshake was completed without them.
        let now = Tcpw::counters(&sandbox)?;
        assert!(now["user_segments"] > before["user_segments"], "{now:?}");
        assert!(now["user_waits"] > before["user_waits"], "{now:?}");
        assert!(see(&mut stream, SOON)?.is_greeting(), "{client}");
        wait_read(&alphad, round)?;
        identd.becomes(Manner::user(b"mallory"));
        assert_eq!(see(&mut late(7001, client, server)?, SOON)?, Seen::Reset, "{client}");
        assert_eq!(was_read(&alphad), round, "{client}: the daemon read something");
    }
    Ok(())
}

/// Connects, and answers the SYN-ACK with data.
fn data_with_ack(source: IpAddr, server: SocketAddr) -> Result<TcpStream> {
    let socket = client(source)?;
    // On a client: it waits with its ACK for the first data. Source: tcp(7), TCP_DEFER_ACCEPT.
    setsockopt(&socket, sockopt::TcpNoDelay, &true)?;
    let seconds: i32 = 1;
    // SAFETY: passes a live int and its size, 4.
    let done = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_DEFER_ACCEPT,
            (&raw const seconds).cast(),
            4,
        )
    };
    anyhow::ensure!(done == 0, "TCP_DEFER_ACCEPT: {}", std::io::Error::last_os_error());
    connect(socket.as_raw_fd(), &SockaddrStorage::from(server)).context("connect")?;
    let mut stream = TcpStream::from(socket);
    stream.write_all(b"GET /")?;
    Ok(stream)
}
