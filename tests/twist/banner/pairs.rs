//! The same rules and clients put to the real libwrap: the same text comes out, then the daemon's own words.

use std::{
    fs,
    io::Write as _,
    net::{IpAddr, SocketAddr},
};

use anyhow::{Result, ensure};
use tcpw_tests::{Requirement, SERVER_V4, SERVER_V6, Testd, can_run, daemons::Tcpd};

use crate::{
    pairs::{CLIENTS, write_banners},
    place::{Place, read_all, ready},
};

const OURS: u16 = 7001;
const THEIRS: u16 = 7100;

/// What stands behind `alphad: CLIENT:`, and whether that is in hosts.deny; `B` is the directory of banners.
const OPTIONS: &[(&str, bool)] = &[
    ("banners B/plain", false),
    ("banners B/letters", false),
    ("banners B/end", false),
    ("banners B/empty", false),
    ("banners B/crlf", false),
    ("banners B/nul", false),
    ("banners B/brackets", false),
    ("banners B/none", false),
    ("banners B/gone", false),
    ("banners B/plain: banners B/letters", false),
    ("banners B/plain: allow", true),
    ("severity local1.notice: keepalive: banners B/end: spawn true", false),
    ("banners=B/letters: allow", true),
    ("aclexec true: banners B/plain", false),
    ("banners B/plain: aclexec true", false),
    ("banners B/plain: aclexec false", false),
];

#[test]
fn live_pairs_of_allowed_clients_give_the_same_bytes() -> Result<()> {
    let programs = ["/usr/sbin/xinetd", "/usr/sbin/tcpd"].map(Requirement::Program);
    if !ready() || !can_run("banner: pairs", &programs) {
        return Ok(());
    }
    let place = Place::new("banner-pairs")?;
    write_banners(&place)?;
    let banners = place.banners.display().to_string();
    fs::write(place.sandbox.etc().join("hosts"), "127.0.0.1 localhost\n1.2.3.4 good.example.test\n")?;
    let _tcpd = Tcpd::start(&place.sandbox, "alphad", THEIRS)?;
    let _alphad =
        Testd::start(&place.sandbox, "alphad", &format!("{SERVER_V4}:{OURS} [{SERVER_V6}]:{OURS}"))?;
    place.sandbox.write_tables("", "ALL: ALL\n")?;
    let mut tcpw = place.tcpw("", &[])?;
    let (mut pairs, mut bytes) = (0, 0);
    for chunk in OPTIONS.chunks(CLIENTS.len()) {
        let (mut allow, mut deny) = (String::new(), String::new());
        for (client, (options, is_denied)) in CLIENTS.iter().zip(chunk) {
            let client = if client.is_ipv6() { format!("[{client}]") } else { client.to_string() };
            let table = if *is_denied { &mut deny } else { &mut allow };
            *table += &format!("alphad: {client}: {}\n", options.replace("B/", &format!("{banners}/")));
        }
        fs::write(place.sandbox.etc().join("hosts.allow"), &allow)?;
        fs::write(place.sandbox.etc().join("hosts.deny"), &deny)?;
        let mark = tcpw.process.mark();
        place.sandbox.write_tables(&allow, &deny)?;
        tcpw.wait_applied(mark)?;
        for (client, (options, _)) in CLIENTS.iter().zip(chunk) {
            let get = |port, last: &str| said(&place, *client, port, last);
            let (ours, theirs) = (get(OURS, "hello from alphad\n")?, get(THEIRS, "hello from tcpd\n")?);
            ensure!(
                ours == theirs,
                "{client} under \"{options}\":\nours   {ours:?}\ntheirs {theirs:?}\n{}",
                tcpw.process.tail()
            );
            pairs += 1;
            bytes += ours.len();
        }
    }
    writeln!(std::io::stderr(), "banner: {pairs} live pairs, {bytes} bytes of each, the same")?;
    ensure!(pairs == OPTIONS.len() && bytes > 500, "{pairs} pairs, {bytes} bytes");
    Ok(())
}

/// What comes before the daemon's own words.
fn said(place: &Place, client: IpAddr, port: u16, last: &str) -> Result<String> {
    let server = if client.is_ipv6() { SERVER_V6 } else { SERVER_V4 };
    let all = read_all(&mut place.open(client, SocketAddr::new(server, port))?)?;
    let text = all.strip_suffix(last).map(str::to_owned);
    text.ok_or_else(|| anyhow::anyhow!("{client} at {port}: {all:?}"))
}
