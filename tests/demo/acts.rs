//! The demo's acts, in order.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use tcpw_tests::{
    CLIENT_V4, CLIENT_V4_OTHER, SERVER_V4, Sandbox, Tcpw,
    daemons::{Nginx, SshKey, Sshd, SshdSockets, Xinetd},
};

use crate::{
    attempts::{CLIENTS, DAYTIME, NGINX, Row, SERVICES, SSHD, SSHD_PER_FAMILY, connect_all},
    paper::Paper,
};

/// The files of the seed.
const HOSTS_ALLOW: &str = "sshd:           1.2.3. [3ffe:ffff:100:200::]/64\n\
                           daytime-stream: 1.2.3. [3ffe:ffff:100:200::]/64\n";
const HOSTS_DENY: &str = "ALL: ALL\n";

const OPTIONS: [&str; 2] = ["--log-allowed", "--pin"];
/// tcpw writes its lines within milliseconds; after this pause there are no more.
const QUIET: Duration = Duration::from_millis(250);
const SOON: Duration = Duration::from_secs(5);

/// The daemons; they end with this.
struct Daemons {
    key: SshKey,
    sshd: Sshd,
    _sshd_per_family: Sshd,
    _nginx: Nginx,
    _xinetd: Xinetd,
}

/// Plays all acts; whether every connection went as predicted.
pub(crate) fn play(paper: &Paper) -> Result<bool> {
    let sandbox = Sandbox::new("demo")?;
    sandbox.write_tables(HOSTS_ALLOW, HOSTS_DENY)?;
    let mut daemons = start_daemons(paper, &sandbox)?;
    show_tables(paper);

    paper.title("tcpw starts");
    let mut tcpw = Tcpw::start(&sandbox, &OPTIONS)?;
    let mut shown = show_new_lines(paper, &tcpw, 0);
    paper.say(format_args!("in force {:.0?} after its start", tcpw.start_time));

    paper.title("six clients connect to four services");
    let everyone: Vec<_> =
        CLIENTS.iter().flat_map(|client| SERVICES.map(|service| (*client, service))).collect();
    let mut rows = connect_all(&sandbox, "seed", &everyone)?;
    shown = show_new_lines(paper, &tcpw, shown);
    log_in(paper, &sandbox, &mut daemons)?;
    shown = show_new_lines(paper, &tcpw, shown);

    rows.extend(edit(paper, &sandbox, &mut tcpw, &mut shown)?);
    rows.extend(kill_and_adopt(paper, &sandbox, tcpw)?);
    let all_agree = paper.table(&rows);
    drop(daemons);
    Ok(all_agree)
}

fn start_daemons(paper: &Paper, sandbox: &Sandbox) -> Result<Daemons> {
    paper.title("real daemons in a sandbox; this machine's own connections are not touched");
    let key = SshKey::generate(sandbox)?;
    let sshd = Sshd::start(sandbox, &key, SSHD.port, SshdSockets::DualStack)?;
    let sshd_per_family = Sshd::start(sandbox, &key, SSHD_PER_FAMILY.port, SshdSockets::PerFamily)?;
    let nginx = Nginx::start(sandbox, NGINX.port)?;
    let xinetd = Xinetd::start(sandbox, DAYTIME.port)?;
    for (pid, name, port, sockets) in [
        (sshd.process.pid(), "sshd", sshd.port, "one socket for IPv4 and IPv6"),
        (sshd_per_family.process.pid(), "sshd", sshd_per_family.port, "a socket each, as Debian has it"),
        (nginx.process.pid(), "nginx", nginx.port, "a socket each; never knew libwrap"),
        (xinetd.process.pid(), "xinetd-ipv6", xinetd.port, "daytime-stream, one socket for both"),
    ] {
        paper.say(format_args!("{:<20} port {port:<5} {sockets}", format!("{name}[{pid}]")));
    }
    Ok(Daemons { key, sshd, _sshd_per_family: sshd_per_family, _nginx: nginx, _xinetd: xinetd })
}

fn show_tables(paper: &Paper) {
    paper.title("the tables (the daemons' own libwrap sees empty ones: what refuses is the kernel)");
    for (file, text) in [("hosts.allow", HOSTS_ALLOW), ("hosts.deny", HOSTS_DENY)] {
        for line in text.lines() {
            paper.say(format_args!("{file:<12} {line}"));
        }
    }
}

fn log_in(paper: &Paper, sandbox: &Sandbox, daemons: &mut Daemons) -> Result<()> {
    paper.title("1.2.3.4 logs in with ssh and a throw-away key");
    let said = daemons.key.log_in(sandbox, CLIENT_V4, SERVER_V4, SSHD.port, "echo logged in as $USER")?;
    paper.quote("ssh", &said);
    let accepted = daemons.sshd.process.wait_for_line("Accepted publickey", SOON)?;
    paper.quote("sshd", &accepted.text);
    Ok(())
}

fn edit(paper: &Paper, sandbox: &Sandbox, tcpw: &mut Tcpw, shown: &mut usize) -> Result<Vec<Row>> {
    let probes = [(CLIENT_V4_OTHER, &NGINX), (CLIENT_V4_OTHER, &SSHD)];
    paper.title("hosts.deny is edited while tcpw runs: ALL EXCEPT nginx: ALL");
    let took =
        put(tcpw, || fs::write(sandbox.hosts_deny(), "ALL EXCEPT nginx: ALL\n").context("write hosts.deny"))?;
    let mut rows = connect_all(sandbox, "hosts.deny edited", &probes)?;
    *shown = show_new_lines(paper, tcpw, *shown);
    paper.say(format_args!("applied {took:.1?} after the write"));

    paper.title("and put back by renaming over it, as an editor saves");
    let took = put(tcpw, || {
        let fresh = sandbox.hosts_deny().with_extension("deny.new");
        fs::write(&fresh, HOSTS_DENY).context("write hosts.deny.new")?;
        fs::rename(&fresh, sandbox.hosts_deny()).context("rename over hosts.deny")
    })?;
    rows.extend(connect_all(sandbox, "put back", &probes)?);
    *shown = show_new_lines(paper, tcpw, *shown);
    paper.say(format_args!("applied {took:.1?} after the rename"));
    Ok(rows)
}

/// Edits a table and waits until that is in force: how long it took.
fn put(tcpw: &mut Tcpw, change: impl FnOnce() -> Result<()>) -> Result<Duration> {
    let mark = tcpw.process.mark();
    let began = Instant::now();
    change()?;
    Ok(tcpw.wait_applied(mark)?.at - began)
}

fn kill_and_adopt(paper: &Paper, sandbox: &Sandbox, mut tcpw: Tcpw) -> Result<Vec<Row>> {
    let probes = [(CLIENT_V4, &SSHD), (CLIENT_V4_OTHER, &SSHD), (CLIENT_V4_OTHER, &NGINX)];
    paper.title("tcpw is killed with -9; the kernel goes on");
    tcpw.process.kill_9()?;
    drop(tcpw);
    let mut rows = connect_all(sandbox, "tcpw killed", &probes)?;
    rows.iter().for_each(|row| paper.say(row));

    paper.title("tcpw starts again and adopts what is there");
    let tcpw = Tcpw::start(sandbox, &OPTIONS)?;
    rows.extend(connect_all(sandbox, "adopted", &probes)?);
    show_new_lines(paper, &tcpw, 0);
    paper.say(format_args!("adopted {:.0?} after its start", tcpw.start_time));
    Ok(rows)
}

/// Prints what tcpw wrote since, once it has written it all; the new mark.
fn show_new_lines(paper: &Paper, tcpw: &Tcpw, mut shown: usize) -> usize {
    let mut quiet_since = Instant::now();
    while quiet_since.elapsed() < QUIET {
        for line in tcpw.process.lines().iter().skip(shown) {
            paper.quote("tcpw", &line.text);
            shown += 1;
            quiet_since = Instant::now();
        }
        thread::sleep(Duration::from_millis(5));
    }
    shown
}
