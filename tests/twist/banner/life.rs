//! Daemons that die, clients that mean no good, and limits: who is allowed is let in all the same.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    os::fd::AsRawFd as _,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect as start, setsockopt, socket, sockopt,
};
use tcpw_common::limits::SLOW_NS;
use tcpw_tests::{
    CLIENT_V4, CLIENT_V4_OTHER, CLIENT_V6, SERVER_V4, SERVER_V6, Tcpw, Testd,
    client::{Ended, connect, knock},
};

use super::HELLO;
use crate::place::{Place, SOON, read_all, ready};

/// Well before the first retransmit.
const AT_ONCE: Duration = Duration::from_millis(700);

fn place(name: &str) -> Result<Place> {
    let place = Place::new(name)?;
    for daemon in ["alphad", "betad"] {
        fs::write(place.banners.join(daemon), "text for %a\n")?;
    }
    place.sandbox.write_tables(&format!("ALL: ALL: banners {}\n", place.banners.display()), "ALL: ALL\n")?;
    Ok(place)
}

#[test]
fn without_tcpw_an_allowed_client_is_let_in_at_once_and_the_next_tcpw_has_texts_again() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let place = place("banner-pins")?;
    let content = place.sandbox.scratch().join("content");
    fs::write(&content, "content")?;
    let _alphad = Testd::start(&place.sandbox, "alphad", "[::]:7001")?;
    let _betad =
        Testd::start(&place.sandbox, "betad", &format!("--send {} --wait [::]:7002", content.display()))?;
    let mut tcpw = place.tcpw("", &["--pin"])?;
    let text = |client| format!("text for {client}\r\n");
    assert_eq!(place.ask(CLIENT_V4, 7001)?, text(CLIENT_V4) + HELLO);
    // Their daemon waits for them, while tcpw dies and comes back.
    let at = |port| SocketAddr::new(SERVER_V4, port);
    let mut early: Vec<TcpStream> = (0..2).map(|_| place.open(CLIENT_V4, at(7002))).collect::<Result<_>>()?;
    place.wait_counter("banners_waiting", 2)?;
    tcpw.process.kill_9()?;
    // It may be slow: nobody waits for more than his next SYN.
    let began = Instant::now();
    assert_eq!(place.ask(CLIENT_V4, 7001)?, HELLO);
    ensure!(began.elapsed() < Duration::from_millis(2500), "{:?}", began.elapsed());
    // The time tested: without a sign of life for that long it is dead, and not slow.
    thread::sleep(Duration::from_nanos(SLOW_NS).saturating_sub(began.elapsed()));
    for client in [CLIENT_V4, CLIENT_V6] {
        let server = SocketAddr::new(if client.is_ipv4() { SERVER_V4 } else { SERVER_V6 }, 7001);
        let attempt = connect(place.sandbox.client(), client, server, AT_ONCE)?;
        let Ended::Connected(mut stream) = attempt.ended else { anyhow::bail!("{attempt:?}") };
        assert_eq!(read_all(&mut stream)?, HELLO);
    }
    early[0].write_all(b"?")?;
    assert_eq!(read_all(&mut early[0])?, text(CLIENT_V4) + "content", "the kernel has the text");

    let _tcpw = place.tcpw("", &["--pin"])?;
    assert_eq!(place.ask(CLIENT_V4, 7001)?, text(CLIENT_V4) + HELLO);
    early[1].write_all(b"?")?;
    assert_eq!(read_all(&mut early[1])?, text(CLIENT_V4) + "content");
    place.wait_counter("banners_sent", 4)?;
    place.wait_counter("banners_waiting", 0)?;
    let counters = Tcpw::counters(&place.sandbox)?;
    assert_eq!((counters["banners_missed"], counters["refused"]), (3, 0), "{counters:?}");
    Tcpw::command(&place.sandbox, &["detach"])?;
    ensure!(!place.sandbox.mounts().run(|| Ok(fs::exists("/sys/fs/bpf/tcpw")?))?, "pins are left");
    assert_eq!(place.ask(CLIENT_V4, 7001)?, HELLO);
    Ok(())
}

/// A name let him in a moment ago.
#[test]
fn client_whose_name_is_known_is_let_in_without_tcpw() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let place = place("banner-known")?;
    fs::write(place.sandbox.etc().join("hosts"), "127.0.0.1 localhost\n1.2.3.4 good.example.test\n")?;
    let rule = format!("alphad: .example.test: banners {}\n", place.banners.display());
    place.sandbox.write_tables(&rule, "ALL: ALL\n")?;
    let _alphad = Testd::start(&place.sandbox, "alphad", "0.0.0.0:7001")?;
    let mut tcpw = place.tcpw("", &["--pin"])?;
    for _ in 0..2 {
        assert_eq!(place.ask(CLIENT_V4, 7001)?, format!("text for {CLIENT_V4}\r\n{HELLO}"));
    }
    tcpw.process.kill_9()?;
    thread::sleep(Duration::from_nanos(SLOW_NS));
    let at = SocketAddr::new(SERVER_V4, 7001);
    let attempt = connect(place.sandbox.client(), CLIENT_V4, at, AT_ONCE)?;
    let Ended::Connected(mut stream) = attempt.ended else { anyhow::bail!("{attempt:?}") };
    assert_eq!(read_all(&mut stream)?, HELLO);
    ensure!(!connect(place.sandbox.client(), CLIENT_V4_OTHER, at, AT_ONCE)?.is_connected());
    Ok(())
}

/// The kernel would tell the daemon of less than nothing sent, if it stopped within the text.
#[test]
fn client_of_tiny_segments_gets_what_the_daemon_sends() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let place = place("banner-mss")?;
    fs::write(place.banners.join("alphad"), [&[b't'; 4000][..], b"\n"].concat())?;
    let _alphad = Testd::start(&place.sandbox, "alphad", "0.0.0.0:7001")?;
    let _tcpw = place.tcpw("", &[])?;
    for (mss, is_sent) in [(88, false), (1000, true)] {
        let mut stream = place.sandbox.client().run(|| {
            let fd = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
            setsockopt(&fd, sockopt::TcpMaxSeg, &mss)?;
            bind(fd.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(CLIENT_V4, 0)))?;
            start(fd.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(SERVER_V4, 7001)))?;
            Ok(TcpStream::from(fd))
        })?;
        let got = read_all(&mut stream)?;
        ensure!(got.ends_with(HELLO), "{mss}: {} bytes", got.len());
        assert_eq!(got.len() > HELLO.len(), is_sent, "{mss}");
    }
    place.wait_counter("banners_missed", 1)?;
    place.wait_counter("banners_sent", 1)
}

#[test]
fn connections_that_wait_outlive_the_program_and_a_policy_without_banners() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let place = place("banner-reload")?;
    let content = place.sandbox.scratch().join("content");
    fs::write(&content, vec![b'c'; 1_000_000])?;
    let style = format!("--send {} --wait [::]:7002", content.display());
    let _betad = Testd::start(&place.sandbox, "betad", &style)?;
    let at = SocketAddr::new(SERVER_V4, 7002);
    let finish = |stream: &mut TcpStream| -> Result<(String, usize)> {
        stream.write_all(b"?")?;
        let all = read_all(stream)?;
        let content = all.trim_start_matches(|first| first != 'c').len();
        Ok((all[..all.len() - content].to_owned(), content))
    };
    let mut tcpw = place.tcpw("", &[])?;
    let mut waits = place.open(CLIENT_V4, at)?;
    let mut late = place.open(CLIENT_V4, at)?;
    let mark = tcpw.process.mark();
    place.sandbox.write_tables("ALL: ALL\n", "")?;
    tcpw.wait_applied(mark)?;
    // It was let in by a rule with a banner; the next one was not.
    assert_eq!(finish(&mut waits)?, ("text for 1.2.3.4\r\n".to_owned(), 1_000_000));
    assert_eq!(finish(&mut place.open(CLIENT_V4, at)?)?, (String::new(), 1_000_000));
    tcpw.process.terminate(SOON)?;
    // Program and maps go by and by, the connection does not.
    let (text, content) = finish(&mut late)?;
    ensure!(text.is_empty() || text == "text for 1.2.3.4\r\n", "{text}");
    assert_eq!(content, 1_000_000);
    Ok(())
}

fn reset(stream: &TcpStream) -> Result<()> {
    setsockopt(stream, sockopt::Linger, &libc::linger { l_onoff: 1, l_linger: 0 })?;
    Ok(())
}

#[test]
fn resets_half_handshakes_and_clients_that_never_read_leave_nothing() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let place = place("banner-hostile")?;
    let content = place.sandbox.scratch().join("content");
    fs::write(&content, vec![b'c'; 8_000_000])?;
    let content = content.display();
    let style = format!("--send {content} --wait --reuse-port 8 [::]:7002");
    let _waits = Testd::start(&place.sandbox, "betad", &style)?;
    let _alphad =
        Testd::start(&place.sandbox, "alphad", &format!("--send {content} --reuse-port 8 [::]:7001"))?;
    let mut tcpw = place.tcpw("", &[])?;
    let at = |port| SocketAddr::new(SERVER_V4, port);
    // Some speak and are reset at once, some say nothing, some never read.
    let mut deaf = Vec::new();
    for number in 0..120 {
        let mut stream = place.open(CLIENT_V4, at(if number % 2 == 0 { 7001 } else { 7002 }))?;
        match number % 6 {
            0 | 1 => reset(&stream)?,
            2 | 3 => {
                let _ = stream.write_all(b"?");
                reset(&stream)?;
            }
            _ if deaf.len() < 4 => {
                if number % 2 == 1 {
                    stream.write_all(b"?")?;
                }
                deaf.push(stream);
            }
            _ => {}
        }
    }
    // SYNs whose handshake never comes to its end: the answers are lost.
    place.lose_answers(true)?;
    let allowed = Tcpw::counters(&place.sandbox)?["allowed"];
    place.sandbox.client().run(|| {
        for _ in 0..50 {
            knock(CLIENT_V4, at(7001))?;
        }
        Ok(())
    })?;
    Tcpw::wait_counters(&place.sandbox, "50 SYNs are let in", SOON, |now| now["allowed"] >= allowed + 50)?;
    place.lose_answers(false)?;
    place.wait_counter("banners_waiting", 0)?;
    Tcpw::wait_counters(&place.sandbox, "50 texts are given up", 4 * SOON, |counters| {
        counters["banners_unclaimed"] >= 50
    })?;
    // Those that come to read after all find everything.
    for mut stream in deaf {
        let mut text = [0; 18];
        stream.read_exact(&mut text)?;
        assert_eq!(&text, b"text for 1.2.3.4\r\n");
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest)?;
        assert_eq!((rest.len(), rest.iter().all(|byte| *byte == b'c')), (8_000_000, true));
    }
    let counters = Tcpw::counters(&place.sandbox)?;
    assert_eq!((counters["refused"], counters["broken"]), (0, 0), "{counters:?}");
    assert!(tcpw.process.is_running());
    Ok(())
}

/// The bound on what is held at once costs a text, not a connection.
#[test]
fn burst_of_allowed_clients_is_let_in_whole_and_every_missing_text_is_counted() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let place = place("banner-burst")?;
    let _alphad = Testd::start(&place.sandbox, "alphad", "--reuse-port 8 [::]:7001")?;
    let _tcpw = place.tcpw("", &[])?;
    let at = SocketAddr::new(SERVER_V4, 7001);
    let (with, without) = thread::scope(|scope| -> Result<(u64, u64)> {
        let all: Vec<_> = (0..8)
            .map(|_| {
                let place = &place;
                scope.spawn(move || -> Result<(u64, u64)> {
                    let (mut with, mut without) = (0, 0);
                    for _ in 0..150 {
                        let attempt = connect(place.sandbox.client(), CLIENT_V4, at, SOON)?;
                        let Ended::Connected(mut stream) = attempt.ended else {
                            anyhow::bail!("{attempt:?}")
                        };
                        match read_all(&mut stream)?.strip_suffix(HELLO) {
                            Some("text for 1.2.3.4\r\n") => with += 1,
                            Some("") => without += 1,
                            other => anyhow::bail!("{other:?}"),
                        }
                    }
                    Ok((with, without))
                })
            })
            .collect();
        let mut sum = (0, 0);
        for one in all {
            let (with, without) = one.join().map_err(|_| anyhow::anyhow!("a client panicked"))??;
            sum = (sum.0 + with, sum.1 + without);
        }
        Ok(sum)
    })?;
    writeln!(std::io::stderr(), "banner: {with} clients with a text, {without} without")?;
    ensure!(with > 0 && with + without == 1200, "{with} {without}");
    place.wait_counter("banners_sent", with)?;
    place.wait_counter("banners_missed", without)?;
    place.wait_counter("banners_waiting", 0)?;
    Ok(())
}
