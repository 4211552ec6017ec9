//! Attempts in great number.

use std::{
    fs,
    io::Write as _,
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use tcpw_tests::{
    CLIENT_V4, CLIENT_V4_OTHER, CLIENT_V6, CLIENT_V6_OTHER, SERVER_V4, SERVER_V6, Tcpw, Testd,
    client::{connect, knock},
    daemons::Smtpd,
    wait_until,
};

use crate::place::{Place, SEED, SOON, has_mail};

/// Ten thousand refused attempts in a second, for three seconds, against the seed's line.
#[test]
fn flood_of_refused_attempts_stays_within_the_limits() -> Result<()> {
    if !has_mail("effects: flood") {
        return Ok(());
    }
    let place = Place::new("flood")?;
    place.sandbox.write_tables("betad: ALL\n", SEED)?;
    let smtpd = Smtpd::start(&place.sandbox)?;
    let _alphad = Testd::start(&place.sandbox, "alphad", "[::]:7001")?;
    let _betad = Testd::start(&place.sandbox, "betad", "[::]:7002")?;
    let log = place.sandbox.scratch().join("log/secure");
    let to_file = format!("file:{}", log.display());
    let mut tcpw = place.tcpw("per-minute = 30\nreport-every = 5\n", &["--log", &to_file])?;
    let began = Instant::now();
    let clients = [CLIENT_V4, CLIENT_V4_OTHER, CLIENT_V6, CLIENT_V6_OTHER];
    let sent: u64 = place.sandbox.client().run(|| {
        let mut sent = 0_u64;
        while began.elapsed() < Duration::from_secs(3) {
            let due = u64::try_from(began.elapsed().as_micros() / 100)?;
            while sent < due {
                let client = clients[usize::try_from(sent % 4)?];
                let server = if client.is_ipv6() { SERVER_V6 } else { SERVER_V4 };
                knock(client, SocketAddr::new(server, 7001))?;
                sent += 1;
            }
            thread::sleep(Duration::from_millis(1));
        }
        Ok(sent)
    })?;
    let took = began.elapsed();
    // Who is allowed is not held up.
    let allowed = connect(place.sandbox.client(), CLIENT_V4, SocketAddr::new(SERVER_V4, 7002), SOON)?;
    assert!(allowed.is_connected());
    let what = format!("all {sent} are accounted for");
    let counters = Tcpw::wait_counters(&place.sandbox, &what, Duration::from_secs(60), |counters| {
        let accounted =
            ["commands_run", "commands_suppressed", "commands_lost", "ring_full"].map(|name| counters[name]);
        counters["refused"] == sent && accounted.iter().sum::<u64>() == sent
    })
    .with_context(|| tcpw.process.tail())?;
    drop(writeln!(
        std::io::stderr(),
        "flood: {sent} SYNs in {:.2} s ({:.0} a second): {} commands run, {} suppressed, {} lost, {} events lost; an allowed client connects in {:.1} ms",
        took.as_secs_f64(),
        sent as f64 / took.as_secs_f64(),
        counters["commands_run"],
        counters["commands_suppressed"],
        counters["commands_lost"],
        counters["ring_full"],
        allowed.took.as_secs_f64() * 1e3
    ));
    assert_eq!(counters["commands_lost"], 0);
    assert!((12..=34).contains(&counters["commands_run"]), "{counters:?}");
    // Each that ran wrote its line and its mail, and no other.
    let deny_log = place.sandbox.scratch().join("log/tcp.deny.log");
    let mut found = (0, 0);
    wait_until("a line and a mail of each command", SOON, || {
        let lines = fs::read_to_string(&deny_log)?.lines().count() as u64;
        let mails = smtpd.wait_for_mail("root", "Attempt", SOON)?.matches("\nFrom: ").count() as u64;
        found = (lines, mails);
        Ok(lines == counters["commands_run"] && mails == lines)
    })
    .with_context(|| format!("{found:?}, {counters:?}"))?;
    // Every attempt has its line in the log of refused attempts.
    let refused = fs::read_to_string(&log)?.matches("refused connect").count() as u64;
    assert_eq!(refused + counters["ring_full"], sent);
    tcpw.process.wait_for_line("more from 1.2.4.0/24", Duration::from_secs(10))?;
    tcpw.process.terminate(SOON)?;
    let reported: u64 = tcpw
        .process
        .lines()
        .iter()
        .filter_map(|line| {
            let (_, rest) = line.text.split_once("limits: ")?;
            rest.split(' ').next()?.replace(',', "").parse::<u64>().ok()
        })
        .sum();
    assert_eq!(reported, counters["commands_suppressed"]);
    Ok(())
}
