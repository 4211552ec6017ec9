//! Handshakes of every kind end in a connection with its text.

use std::{
    fs,
    io::Write as _,
    net::{SocketAddr, TcpStream},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use tcpw_tests::{
    CLIENT_V4, CLIENT_V6, SERVER_V4, SERVER_V6, Tcpw, Testd,
    client::{Ended, fast_open},
};

use super::HELLO;
use crate::place::{Place, SOON, read_all, ready};

fn place(name: &str) -> Result<Place> {
    let place = Place::new(name)?;
    fs::write(place.banners.join("alphad"), "text for %a\n")?;
    place.sandbox.write_tables(&format!("ALL: ALL: banners {}\n", place.banners.display()), "ALL: ALL\n")?;
    Ok(place)
}

fn set(place: &Place, name: &str, value: &str) -> Result<()> {
    for netns in [place.sandbox.server(), place.sandbox.client()] {
        netns.run(|| fs::write(format!("/proc/sys/net/ipv4/{name}"), value).context(name.to_owned()))?;
    }
    Ok(())
}

/// Ends the client's half, and reads what comes.
fn whole(stream: &mut TcpStream) -> Result<String> {
    stream.shutdown(std::net::Shutdown::Write)?;
    read_all(stream)
}

#[test]
fn fast_open_deferred_accept_syn_cookies_and_lost_answers_do_no_harm() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let place = place("banner-handshakes")?;
    let mut alphad = Testd::start(&place.sandbox, "alphad", "--fast-open --tell [::]:7001")?;
    let _deferred = Testd::start(&place.sandbox, "alphad", "--defer 5 --tell [::]:7002")?;
    let _tcpw = place.tcpw("", &[])?;
    let mut sent = 0;
    for (client, server) in [(CLIENT_V4, SERVER_V4), (CLIENT_V6, SERVER_V6)] {
        let at = |port| SocketAddr::new(server, port);
        let wanted = format!("text for {client}\r\n{HELLO}");
        // Data in the SYN: its socket is there with it.
        set(&place, "tcp_fastopen", "519")?;
        for round in 0..2 {
            let data = format!("{round} of {client}");
            let attempt =
                place.sandbox.client().run(|| fast_open(client, at(7001), data.as_bytes(), SOON))?;
            let Ended::Connected(mut stream) = attempt.ended else { bail!("{attempt:?}") };
            assert_eq!(read_all(&mut stream)?, wanted, "{data}");
            alphad.process.wait_for_line(&format!("read: {data}"), SOON)?;
            sent += 1;
        }
        set(&place, "tcp_fastopen", "0")?;

        let mut stream = place.open(client, at(7002))?;
        stream.write_all(b"x")?;
        assert_eq!(whole(&mut stream)?, wanted, "deferred");
        sent += 1;

        set(&place, "tcp_syncookies", "2")?;
        for _round in 0..2 {
            assert_eq!(whole(&mut place.open(client, at(7001))?)?, wanted, "SYN cookie");
            sent += 1;
        }
        set(&place, "tcp_syncookies", "1")?;

        // The server's answers are lost for a while: the client sends its SYN again.
        place.lose_answers(true)?;
        let text = thread::scope(|scope| {
            let client = scope.spawn(|| whole(&mut place.open(client, at(7001))?));
            thread::sleep(Duration::from_millis(1300));
            place.lose_answers(false)?;
            client.join().map_err(|_| anyhow::anyhow!("the client panicked"))?
        })?;
        assert_eq!(text, wanted, "lost answers");
        sent += 1;
    }
    place.wait_counter("banners_sent", sent)?;
    place.wait_counter("banners_waiting", 0)?;
    let counters = Tcpw::counters(&place.sandbox)?;
    ensure!(counters["banners_missed"] == 0 && counters["refused"] == 0, "{counters:?}");
    Ok(())
}
