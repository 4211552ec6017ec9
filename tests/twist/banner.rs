//! `banners` of rules that allow: the client gets the text, then what the daemon has to say.

#[path = "banner/handshakes.rs"]
mod handshakes;
#[path = "banner/life.rs"]
mod life;
#[path = "banner/pairs.rs"]
mod pairs;
#[path = "banner/streams.rs"]
mod streams;

use std::{
    fs,
    net::{IpAddr, SocketAddr},
};

use anyhow::{Result, ensure};
use tcpw_tests::{
    CLIENT_V4, CLIENT_V4_OTHER, CLIENT_V6, Place as At, SERVER_V4, Tcpw, Testd,
    client::{Ended, connect},
};

use super::place::{CLIENTS, LO_V4, Place, SOON, lines_with, read_all, ready};

const HELLO: &str = "hello from alphad\n";

#[test]
fn allowed_client_of_every_family_gets_the_banner_before_the_daemons_own_words() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let place = Place::new("banner")?;
    let banners = place.banners.display();
    fs::write(place.banners.join("alphad"), "Hello %a,\nthis is %A (%d).\n")?;
    place.sandbox.write_tables(&format!("alphad: ALL: banners {banners}\n"), "ALL: ALL\n")?;
    let _alphad = Testd::start(&place.sandbox, "alphad", "0.0.0.0:7001 [::]:7002")?;
    let mut tcpw = place.tcpw("", &["--on-deny", "reset"])?;
    let mut served = 0;
    for client in CLIENTS {
        for port in [7001, 7002] {
            if client.is_ipv6() && port == 7001 {
                continue;
            }
            let server = place.server_of(client);
            let text = place.ask_at(client, SocketAddr::new(server, port))?;
            let wanted = format!("Hello {client},\r\nthis is {server} (alphad).\r\nhello from alphad\n");
            assert_eq!(text, wanted, "{}", tcpw.process.tail());
            served += 1;
        }
    }
    place.wait_counter("banners_sent", served)?;
    place.wait_counter("banners_waiting", 0)?;
    let counters = Tcpw::counters(&place.sandbox)?;
    for counter in ["banners_missed", "banners_unclaimed", "refused", "disagreements", "broken", "redirected"]
    {
        assert_eq!(counters[counter], 0, "{counter}: {counters:?}");
    }
    assert_eq!((counters["allowed"], counters["asked"]), (served, served), "{counters:?}");
    tcpw.process.terminate(SOON)?;
    ensure!(place.ask(CLIENTS[0], 7001)? == "hello from alphad\n");
    Ok(())
}

#[test]
fn daemon_in_a_network_of_its_own_sends_it_too() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let place = Place::new("banner-elsewhere")?;
    fs::write(place.banners.join("alphad"), "%a at %A\n")?;
    place.sandbox.write_tables(&format!("ALL: ALL: banners {}\n", place.banners.display()), "ALL: ALL\n")?;
    let _here = Testd::start(&place.sandbox, "alphad", "[::]:7001")?;
    let _there = Testd::start_at(&place.sandbox, At::GuardedClient, "alphad", "[::]:7001")?;
    let _tcpw = place.tcpw("", &[])?;
    for _round in 0..3 {
        // From there to here, and from here to there: the same ends but for the network.
        assert_eq!(place.ask(CLIENT_V4, 7001)?, format!("1.2.3.4 at 1.2.3.1\r\n{HELLO}"));
        let there = SocketAddr::new(CLIENT_V4, 7001);
        let attempt = connect(place.sandbox.server(), SERVER_V4, there, SOON)?;
        let Ended::Connected(mut stream) = attempt.ended else { anyhow::bail!("{attempt:?}") };
        assert_eq!(read_all(&mut stream)?, format!("1.2.3.1 at 1.2.3.4\r\n{HELLO}"));
        let lo = SocketAddr::new(LO_V4, 7001);
        for netns in [place.sandbox.server(), place.sandbox.client()] {
            let attempt = connect(netns, LO_V4, lo, SOON)?;
            let Ended::Connected(mut stream) = attempt.ended else { anyhow::bail!("{attempt:?}") };
            assert_eq!(read_all(&mut stream)?, format!("127.0.0.1 at 127.0.0.1\r\n{HELLO}"));
        }
    }
    place.wait_counter("banners_sent", 12)?;
    assert_eq!(Tcpw::counters(&place.sandbox)?["banners_missed"], 0);
    Ok(())
}

#[test]
fn text_of_every_length_is_sent_whole_or_not_at_all_and_read_anew_for_each_client() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let place = Place::new("banner-length")?;
    let file = place.banners.join("alphad");
    place.sandbox.write_tables(&format!("ALL: ALL: banners {}\n", place.banners.display()), "ALL: ALL\n")?;
    let _alphad = Testd::start(&place.sandbox, "alphad", "0.0.0.0:7001")?;
    let mut tcpw = place.tcpw("", &[])?;
    let mut sent = 0;
    for length in (1..=17).chain([4087, 4088, 4089, 4095, 4096]) {
        let text: String =
            (0..length).map(|at| char::from(b'a' + u8::try_from(at % 26).unwrap_or(0))).collect();
        fs::write(&file, &text)?;
        assert_eq!(place.ask(CLIENT_V4, 7001)?, format!("{text}{HELLO}"), "{length}");
        sent += 1;
    }
    // One byte too many, and many.
    for length in [4097, 70_000] {
        fs::write(&file, "x".repeat(length))?;
        assert_eq!(place.ask(CLIENT_V4, 7001)?, HELLO, "{length}");
    }
    tcpw.process.wait_for_line("allowed clients get no banner: it is longer than 4096 bytes", SOON)?;
    tcpw.process.wait_for_line("clients were allowed without the banner of their rule", SOON)?;
    let counters = Tcpw::counters(&place.sandbox)?;
    assert_eq!((counters["banners_sent"], counters["banners_missed"]), (sent, 2), "{counters:?}");
    assert_eq!(counters["banners_too_long"], 2, "{counters:?}");
    // Nothing to say is nothing missed.
    fs::write(&file, "")?;
    assert_eq!(place.ask(CLIENT_V4, 7001)?, HELLO);
    fs::remove_file(&file)?;
    assert_eq!(place.ask(CLIENT_V4, 7001)?, HELLO);
    fs::remove_dir(&place.banners)?;
    assert_eq!(place.ask(CLIENT_V4, 7001)?, HELLO);
    fs::create_dir(&place.banners)?;
    fs::write(&file, "back\n")?;
    assert_eq!(place.ask(CLIENT_V4, 7001)?, format!("back\r\n{HELLO}"));
    place.wait_counter("banners_sent", sent + 1)?;
    assert_eq!(Tcpw::counters(&place.sandbox)?["banners_missed"], 2);
    Ok(())
}

#[test]
fn names_of_the_text_are_looked_up_and_a_name_may_decide() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let place = Place::new("banner-names")?;
    let banners = place.banners.display();
    fs::write(place.sandbox.etc().join("hosts"), "127.0.0.1 localhost\n1.2.3.4 good.example.test\n")?;
    for daemon in ["alphad", "betad"] {
        fs::write(place.banners.join(daemon), "%h is %n is %c, %u\n")?;
    }
    place.sandbox.write_tables(
        &format!("alphad: .example.test: banners {banners}\nbetad: ALL: keepalive: banners {banners}: spawn echo %h >> {}/said\n", place.out.display()),
        "ALL: ALL\n",
    )?;
    let _alphad = Testd::start(&place.sandbox, "alphad", "[::]:7001")?;
    let _betad = Testd::start(&place.sandbox, "betad", "--tell-keepalive [::]:7002")?;
    let mut tcpw = place.tcpw("", &["--log-allowed", "--on-deny", "reset"])?;
    for round in 1..=3 {
        let good = "good.example.test";
        // There is no connection yet by which to ask for a user.
        let text = format!("{good} is {good} is {good}, unknown\r\n");
        assert_eq!(place.ask(CLIENT_V4, 7001)?, format!("{text}{HELLO}"), "{round}");
        // As in libwrap, %h is no reason to look it up, and %n is.
        let text = format!("1.2.3.4 is {good} is {good}, unknown\r\n");
        let said = place.ask(CLIENT_V4, 7002)?;
        assert_eq!(said, format!("{text}hello from betad\nkeepalive true\n"), "{round}");
        let said = place.ask(CLIENT_V4_OTHER, 7002)?;
        let text = "1.2.4.4 is unknown is 1.2.4.4, unknown\r\n";
        assert_eq!(said, format!("{text}hello from betad\nkeepalive true\n"), "{round}");
        ensure!(place.open(CLIENT_V4_OTHER, SocketAddr::new(SERVER_V4, 7001)).is_err(), "{round}");
    }
    tcpw.process.wait_for_line(": connect from good.example.test (::ffff:1.2.3.4)", SOON)?;
    tcpw_tests::wait_until("nine lines", SOON, || Ok(lines_with(&tcpw, 0, ": connect from ").len() == 9))?;
    place.wait_counter("banners_sent", 9)?;
    place.wait_counter("commands_run", 6)?;
    let counters = Tcpw::counters(&place.sandbox)?;
    assert_eq!((counters["banners_missed"], counters["disagreements"]), (0, 0), "{counters:?}");
    Ok(())
}

/// The daemon may have sent something before the user is known, whose connection it is.
#[test]
fn client_whose_user_decides_gets_none_and_is_counted() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let place = Place::new("banner-users")?;
    fs::write(place.banners.join("alphad"), "text\n")?;
    let banners = place.banners.display();
    place.sandbox.write_tables(&format!("ALL: ALL: rfc931 1: banners {banners}\n"), "ALL: ALL\n")?;
    let _alphad = Testd::start(&place.sandbox, "alphad", "[::]:7001")?;
    let mut tcpw = place.tcpw("", &[])?;
    for client in [CLIENT_V4, CLIENT_V6] {
        assert_eq!(place.ask(client, 7001)?, HELLO);
    }
    tcpw.process.wait_for_line("allowed clients get no banner: their user", SOON)?;
    let counters = Tcpw::counters(&place.sandbox)?;
    assert_eq!((counters["banners_sent"], counters["banners_missed"]), (0, 2), "{counters:?}");
    Ok(())
}

/// A map of sockets must never hold what an MPTCP listener accepts.
#[test]
fn mptcp_listener_and_audit_mode_send_none_and_lose_nothing() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let place = Place::new("banner-mptcp")?;
    for daemon in ["alphad", "betad"] {
        fs::write(place.banners.join(daemon), "text\n")?;
    }
    place.sandbox.write_tables(&format!("ALL: ALL: banners {}\n", place.banners.display()), "ALL: ALL\n")?;
    let _alphad = Testd::start(&place.sandbox, "alphad", "--mptcp [::]:7001")?;
    let _shared = Testd::start(&place.sandbox, "alphad", "--mptcp --share [::]:7003")?;
    let _plain = Testd::start(&place.sandbox, "alphad", "--share [::]:7003")?;
    let _betad = Testd::start(&place.sandbox, "betad", "[::]:7002")?;
    let mut tcpw = place.tcpw("", &[])?;
    let everybody: [IpAddr; 3] = [CLIENT_V4, CLIENT_V6, LO_V4];
    for client in everybody {
        assert_eq!(place.ask(client, 7001)?, HELLO);
        assert_eq!(place.ask(client, 7002)?, "text\r\nhello from betad\n");
    }
    tcpw.process.wait_for_line("clients of port 7001 get no banner", SOON)?;
    let counters = Tcpw::counters(&place.sandbox)?;
    assert_eq!((counters["banners_sent"], counters["banners_missed"]), (3, 3), "{counters:?}");
    // Whichever of the two takes it.
    for client in everybody.repeat(4) {
        assert_eq!(place.ask(client, 7003)?, HELLO);
    }
    assert_eq!(Tcpw::counters(&place.sandbox)?["banners_sent"], 3);
    tcpw.process.terminate(SOON)?;

    let settings = place.sandbox.scratch().join("audit.toml");
    fs::write(&settings, "mode = \"audit\"\n")?;
    let _tcpw = Tcpw::start(&place.sandbox, &["--config", &settings.to_string_lossy()])?;
    assert_eq!(place.ask(CLIENT_V4, 7002)?, "hello from betad\n");
    let counters = Tcpw::counters(&place.sandbox)?;
    assert_eq!((counters["banners_sent"], counters["banners_missed"]), (0, 0), "{counters:?}");
    Ok(())
}
