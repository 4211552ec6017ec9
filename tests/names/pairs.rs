//! The same connection twice: to a daemon behind tcpw, and to the real tcpd under the real xinetd.

use std::{
    fs,
    io::Write as _,
    net::{IpAddr, SocketAddr},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use tcpw_tests::{
    Requirement, SERVER_V4, SERVER_V6, Sandbox, Tcpw, Testd, can_run, client::connect, daemons::Tcpd,
};

use super::{SOON, world};

const OURS: u16 = 7001;
const THEIRS: u16 = 7100;

/// hosts.allow and hosts.deny; in a pattern file's place `FILE` stands for its path.
const RULES: &[(&str, &str)] = &[
    ("", "ALL: PARANOID\n"),
    ("ALL: .example.test\n", "ALL: ALL\n"),
    ("ALL: KNOWN\n", "ALL: ALL\n"),
    ("ALL: UNKNOWN\n", "ALL: ALL\n"),
    ("ALL: PARANOID\n", "ALL: ALL\n"),
    ("ALL: LOCAL\n", "ALL: ALL\n"),
    ("ALL: @trusted\n", "ALL: ALL\n"),
    ("ALL: @anybody\n", "ALL: ALL\n"),
    ("ALL: good.example.test hostfile.example.test mixed.example.test\n", "ALL: ALL\n"),
    ("ALL: 1.2.3.*\n", "ALL: ALL\n"),
    ("ALL: g*.example.t?st 3ffe*\n", "ALL: ALL\n"),
    ("ALL: good. many.\n", "ALL: ALL\n"),
    ("ALL: ALL EXCEPT .sub.example.test PARANOID\n", "ALL: ALL\n"),
    ("ALL: .example.test EXCEPT .sub.example.test EXCEPT 1.2.4.\n", "ALL: ALL\n"),
    ("ALL: FILE\n", "ALL: ALL\n"),
    ("ALL: ALL EXCEPT FILE\n", "ALL: ALL\n"),
    ("", "ALL EXCEPT betad: KNOWN EXCEPT @trusted\nbetad: ALL\n"),
    ("alphad@server.example.test: ALL EXCEPT UNKNOWN\n", "ALL: ALL\n"),
    ("alphad@.example.test: 1.2.5.\nalphad@KNOWN: LOCAL\n", "ALL: ALL\n"),
    (
        "ALL: [3ffe:ffff:100:202::]/64 localhost\nALL: canonical.example.test: deny\nALL: .example.test\n",
        "ALL: ALL\n",
    ),
];

const FILE: &str = "LOCAL @trusted\n1.2.3.4 mixed.example.test\n";

/// What both said to one client.
struct Pair {
    client: IpAddr,
    ours: bool,
    theirs: bool,
    their_line: String,
}

#[test]
fn live_pairs_have_one_verdict() -> Result<()> {
    let programs = ["/usr/sbin/unbound", "/usr/sbin/xinetd", "/usr/sbin/tcpd"].map(Requirement::Program);
    if !super::ready() || !can_run("pairs", &programs) {
        return Ok(());
    }
    let sandbox = Sandbox::new("pairs")?;
    let _unbound = world::build(&sandbox)?;
    let file = sandbox.scratch().join("patterns");
    fs::write(&file, FILE)?;
    let tcpd = Tcpd::start(&sandbox, "alphad", THEIRS)?;
    let _alphad = Testd::start(&sandbox, "alphad", &format!("{SERVER_V4}:{OURS} [{SERVER_V6}]:{OURS}"))?;
    sandbox.write_tables("ALL: ALL\n", "")?;
    let mut tcpw = Tcpw::start(&sandbox, &["--log-allowed"])?;
    let (mut pairs, mut allowed, mut named, mut bare) = (0, 0, 0, 0);
    for (allow, deny) in RULES {
        let [allow, deny] = [allow, deny].map(|table| table.replace("FILE", &file.display().to_string()));
        fs::write(sandbox.etc().join("hosts.allow"), &allow)?;
        fs::write(sandbox.etc().join("hosts.deny"), &deny)?;
        tcpw.apply(&sandbox, &allow, &deny)?;
        let said = tcpw.process.mark();
        let found = ask_both(&sandbox, &tcpd)?;
        for Pair { client, ours, theirs, their_line } in found {
            let whose = format!("{client} under\n{allow}--\n{deny}tcpd: {their_line}");
            ensure!(ours == theirs, "tcpw {} {whose}", if ours { "allows" } else { "refuses" });
            pairs += 1;
            allowed += usize::from(ours);
            let line = tcpw.process.wait_for_line_after(said, &format!(" ({client})"), SOON)?.text;
            let our_line = line.split_once("]: ").map_or(line.as_str(), |(_, said)| said);
            if our_line == their_line {
                named += usize::from(!their_line.contains(&format!(" {client} (")));
            } else {
                // A name that nothing hung on.
                let plain = format!("connect from {client} ({client})");
                ensure!(our_line.trim_start_matches("refused ") == plain, "{our_line}: {whose}");
                bare += 1;
            }
        }
    }
    let counters = Tcpw::counters(&sandbox)?;
    writeln!(
        std::io::stderr(),
        "names: {pairs} live pairs agree, {allowed} allowed; {named} lines carry a name as tcpd's do, {bare} lack one that tcpd looked up and nothing hung on; {} look-ups",
        counters["lookups"]
    )?;
    ensure!(
        pairs >= 200 && allowed * 4 > pairs && allowed * 4 < 3 * pairs,
        "{pairs} pairs, {allowed} allowed"
    );
    ensure!(counters["disagreements"] == 0, "{counters:?}");
    Ok(())
}

/// Every client at once.
fn ask_both(sandbox: &Sandbox, tcpd: &Tcpd) -> Result<Vec<Pair>> {
    let mark = tcpd.mark();
    let ask = |client: IpAddr| -> Result<Pair> {
        let server = if client.is_ipv4() { SERVER_V4 } else { SERVER_V6 };
        let greeted = |port, patience| -> Result<bool> {
            let mut attempt = connect(sandbox.client(), client, SocketAddr::new(server, port), patience)?;
            Ok(attempt.is_connected() && attempt.greeting(SOON).starts_with("hello"))
        };
        let mut attempt = connect(sandbox.client(), client, SocketAddr::new(server, THEIRS), SOON)?;
        ensure!(attempt.is_connected(), "xinetd does not answer {client}");
        let their_line = tcpd.wait_for_client(mark, &client.to_string(), SOON)?;
        // It keeps a refused client for a while.
        let theirs = !their_line.starts_with("refused");
        if theirs {
            ensure!(attempt.greeting(SOON).starts_with("hello from tcpd"), "{their_line}");
        }
        // Who is let in may take his time on a busy machine.
        let ours = greeted(OURS, if theirs { SOON } else { Duration::from_millis(1500) })?;
        Ok(Pair { client, ours, theirs, their_line })
    };
    thread::scope(|scope| {
        let asked: Vec<_> =
            world::clients().into_iter().map(|client| scope.spawn(move || ask(client))).collect();
        asked.into_iter().map(|it| it.join().ok().context("a client panicked")?).collect()
    })
}
