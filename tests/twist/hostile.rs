//! Clients and commands that mean no good, and the limits against them.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use nix::{
    sys::{
        signal::{Signal, kill},
        socket::{setsockopt, sockopt},
    },
    unistd::Pid,
};
use tcpw_tests::{CLIENT_V4, CLIENT_V4_OTHER, CLIENT_V6, SERVER_V4, SERVER_V6, Tcpw, Testd, wait_until};
use tcpw_userspace::host::COMMANDS;

use super::place::{Place, SOON, lines_with, read_all, ready};

#[test]
fn what_a_limit_suppressed_is_closed_and_counted() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let place = Place::new("twist-limits")?;
    place.sandbox.write_tables("", "alphad: ALL: twist echo twisted\n")?;
    let _alphad = Testd::start(&place.sandbox, "alphad", "[::]:7001")?;
    let file = place.sandbox.scratch().join("limits.toml");
    fs::write(&file, "[effects]\nper-minute-and-source = 3\nreport-every = 1\n")?;
    let mut tcpw = Tcpw::start(&place.sandbox, &["--config", &file.to_string_lossy()])?;
    let got: Vec<String> = (0..8).map(|_| place.ask(CLIENT_V4, 7001)).collect::<Result<_>>()?;
    assert_eq!(got.iter().filter(|text| *text == "twisted\n").count(), 3, "{got:?}");
    assert_eq!(got.iter().filter(|text| text.is_empty()).count(), 5, "{got:?}");
    // Another network has its own.
    assert_eq!(place.ask(CLIENT_V6, 7001)?, "twisted\n");
    // The client has its text before the helper has said that it is served.
    let counters = Tcpw::wait_counters(&place.sandbox, "all are served", SOON, |counters| {
        counters["redirected_served"] == 4
    })?;
    assert_eq!((counters["commands_run"], counters["commands_suppressed"]), (4, 5), "{counters:?}");
    assert_eq!(counters["refused"], 9, "{counters:?}");
    tcpw.process.wait_for_line("because of [effects] limits: 5 more from 1.2.3.0/24", SOON)?;
    assert_eq!(lines_with(&tcpw, 0, "]: twist ").len(), 4);
    assert_eq!(lines_with(&tcpw, 0, "refused connect from").len(), 5, "one line for each attempt");
    Ok(())
}

#[test]
fn clients_that_keep_a_command_keep_it_from_nobody_but_themselves() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let place = Place::new("keepers")?;
    let out = place.out.display();
    fs::write(place.banners.join("betad"), "x".repeat(60_000) + "\n")?;
    place.sandbox.write_tables(
        "",
        &format!(
            "alphad: ALL: spawn echo %a >> {out}/said: twist cat\n\
             betad: ALL: banners {}: twist yes\n\
             gammad: ALL: spawn echo %a >> {out}/said\n",
            place.banners.display()
        ),
    )?;
    let _alphad = Testd::start(&place.sandbox, "alphad", "[::]:7001")?;
    let _betad = Testd::start(&place.sandbox, "betad", "[::]:7002")?;
    let _gammad = Testd::start(&place.sandbox, "gammad", "[::]:7003")?;
    let mut tcpw = place.tcpw("at-once = 2\ntime-limit = 2\n", &["--on-deny", "reset"])?;
    let at = |port| SocketAddr::new(SERVER_V4, port);
    // One says nothing, one never reads.
    let began = Instant::now();
    let mut silent = place.open(CLIENT_V4, at(7001))?;
    let mut deaf = place.open(CLIENT_V4, at(7002))?;
    place.wait_counter("commands_run", 3)?;
    // There is no room for a third; commands of others run all the same.
    assert_eq!(place.ask(CLIENT_V4_OTHER, 7001)?, "");
    let refused = place.open(CLIENT_V4_OTHER, at(7003));
    ensure!(refused.is_err(), "gammad's clients are reset");
    place.wait_counter("commands_run", 5)?;
    place.wait_counter("commands_suppressed", 1)?;
    // Their time ends.
    assert_eq!(read_all(&mut silent)?, "");
    place.wait_counter("commands_timed_out", 2)?;
    ensure!(began.elapsed() < Duration::from_secs(9), "{:?}", began.elapsed());
    let mut first = [0; 5];
    deaf.read_exact(&mut first)?;
    assert_eq!(&first, b"xxxxx");
    // A dialogue.
    let mut cat = place.open(CLIENT_V4, at(7001))?;
    cat.write_all(b"one\n")?;
    let mut said = [0; 4];
    cat.read_exact(&mut said)?;
    cat.write_all(b"two\n")?;
    cat.shutdown(std::net::Shutdown::Write)?;
    assert_eq!((&said, read_all(&mut cat)?.as_str()), (b"one\n", "two\n"));
    assert!(tcpw.process.is_running());
    Ok(())
}

fn reset(stream: TcpStream) -> Result<()> {
    setsockopt(&stream, sockopt::Linger, &libc::linger { l_onoff: 1, l_linger: 0 })?;
    Ok(())
}

#[test]
fn floods_resets_forks_and_a_dead_helper_leave_enforcement_intact() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let place = Place::new("twist-flood")?;
    place.sandbox.write_tables(
        "deltad: ALL\n",
        "alphad: ALL: twist echo twisted\n\
         betad: ALL: twist (trap '' HUP; sleep 60) & trap '' TERM; sleep 60\n\
         gammad: ALL: twist (sleep 1; echo late) & echo early\n\
         ALL: ALL\n",
    )?;
    let alphad = Testd::start(&place.sandbox, "alphad", "--tell [::]:7001")?;
    let _betad = Testd::start(&place.sandbox, "betad", "[::]:7002")?;
    let _gammad = Testd::start(&place.sandbox, "gammad", "[::]:7003")?;
    let _deltad = Testd::start(&place.sandbox, "deltad", "[::]:7004")?;
    let mut tcpw = place.tcpw("time-limit = 2\n", &["--on-deny", "reset"])?;
    let at = |port| SocketAddr::new(SERVER_V4, port);

    // What a command leaves behind keeps the connection.
    assert_eq!(place.ask(CLIENT_V4, 7003)?, "early\nlate\n");

    // 300 connections of three kinds, at once.
    let served = thread::scope(|scope| -> Result<usize> {
        let all: Vec<_> = (0..300)
            .map(|number| {
                let (place, at) = (&place, &at);
                scope.spawn(move || -> Result<bool> {
                    let Ok(mut stream) = place.open(CLIENT_V4, at(7001)) else { return Ok(false) };
                    match number % 3 {
                        0 => reset(stream).map(|()| false),
                        1 => Ok(read_all(&mut stream)? == "twisted\n"),
                        _ => {
                            // Data nobody reads.
                            let _ = stream.write_all(&[b'x'; 4096]);
                            Ok(read_all(&mut stream)? == "twisted\n")
                        }
                    }
                })
            })
            .collect();
        let mut served = 0;
        for one in all {
            served += usize::from(one.join().map_err(|_| anyhow::anyhow!("a client panicked"))??);
        }
        Ok(served)
    })?;
    ensure!(served > 0, "nobody was served");
    // Attempts whose connection was turned away are given up after ten seconds.
    let mut seen = (0, 0, Default::default());
    wait_until("each attempt is written and over", 2 * SOON, || {
        let counters = Tcpw::counters(&place.sandbox)?;
        // Each attempt has ended one way; gammad's client is one more.
        let ended = counters["redirected_served"] + counters["commands_suppressed"];
        let lines =
            lines_with(&tcpw, 0, "]: twist ").len() + lines_with(&tcpw, 0, "refused connect from").len();
        // A client's port may be used again so soon that the kernel takes it for the same attempt.
        let refused = counters["refused"] + counters["redirected_unannounced"];
        // One that is turned away and was not told of has no line.
        let all = refused + counters["redirected_turned_away"];
        let is_over = refused == u64::try_from(lines)?
            && counters["redirected_in_hand"] == 0
            && refused <= 301
            && all >= 301;
        if is_over {
            ensure!(counters["disagreements"] == 0 && counters["commands_lost"] == 0, "{counters:?}");
            ensure!(ended >= 20, "{counters:?}");
        }
        seen = (lines, ended, counters);
        Ok(is_over)
    })
    .with_context(|| format!("lines, ended, counters: {seen:?}"))?;

    // A command that forks and hears no signal.
    let mut stream = place.open(CLIENT_V4, at(7002))?;
    let began = Instant::now();
    assert_eq!(read_all(&mut stream)?, "");
    ensure!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());

    // The helper dies with a connection in hand.
    let mut stream = place.open(CLIENT_V4, at(7002))?;
    let (outer, mark) = (tcpw.helper_of(COMMANDS)?, tcpw.process.mark());
    kill(Pid::from_raw(outer.try_into()?), Signal::SIGKILL)?;
    assert_eq!(read_all(&mut stream)?, "");
    tcpw.process.wait_for_line_after(mark, "the helper that runs commands is gone", SOON)?;
    assert_eq!(place.ask(CLIENT_V4, 7004)?, "hello from deltad\n");
    let v6 = SocketAddr::new(SERVER_V6, 7001);
    ensure!(!place.ask_at(CLIENT_V6, v6)?.contains("hello"), "enforcement is intact");
    place.wait_served(CLIENT_V4, 7001, "twisted\n")?;
    assert_eq!(lines_with(&tcpw, mark, "the helper that runs commands is gone").len(), 1);
    assert!(!alphad.process.lines().iter().any(|line| line.text.starts_with("read")));
    Ok(())
}
