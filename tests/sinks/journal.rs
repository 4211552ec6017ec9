//! The journal of a real systemd-journald, which is slow, is killed and comes back.

use std::process::Command;

use anyhow::ensure;
use nix::sys::signal::Signal;
use tcpw_tests::{
    CLIENT_V4, CLIENT_V4_OTHER, CLIENT_V6_OTHER, Place, Testd, client::knock_from, daemons::Journald,
};

use super::*;

const JOURNALD: &str = "journald";

fn ready_for_journald() -> bool {
    ready() && can_run("sinks", &[Journald::PROGRAM, "/usr/bin/journalctl"].map(Requirement::Program))
}

/// One refused attempt from each port.
fn knock(sandbox: &Sandbox, ports: std::ops::Range<u16>) -> Result<()> {
    sandbox.client().run(|| {
        ports.into_iter().try_for_each(|port| {
            knock_from(SocketAddr::new(CLIENT_V4, port), SocketAddr::new(SERVER_V4, 7001))
        })
    })
}

/// The client ports of entries, in the order of the journal.
fn ports(entries: &[Value]) -> Vec<u16> {
    entries.iter().filter_map(|entry| entry["TCPW_CLIENT_PORT"].as_str()?.parse().ok()).collect()
}

#[test]
fn journal_has_libwrap_s_message_and_the_fields_of_the_record() -> Result<()> {
    if !ready_for_journald() {
        return Ok(());
    }
    let sandbox = Sandbox::new("journal")?;
    sandbox.write_tables("", "alphad: 1.2.4.: severity mail.crit\nALL: ALL\n")?;
    let _journald = Journald::start(&sandbox)?;
    let alphad = Testd::start(&sandbox, "alphad", "[::]:7001")?;
    let tcpw = Tcpw::start(&sandbox, &["--log", JOURNALD])?;
    sandbox.client().run(|| {
        for (client, server) in
            [(CLIENT_V4, SERVER_V4), (CLIENT_V4_OTHER, SERVER_V4), (CLIENT_V6_OTHER, SERVER_V6)]
        {
            knock_from(SocketAddr::new(client, 40_000), SocketAddr::new(server, 7001))?;
        }
        Ok(())
    })?;
    let entries = Journald::wait_for_entries(&sandbox, 3)?;
    let of = |client: IpAddr| {
        let is_it = |entry: &&Value| entry["TCPW_CLIENT"] == client.to_string();
        entries.iter().find(is_it).with_context(|| format!("{client}: {entries:#?}"))
    };
    let (pid, own) = (alphad.process.pid().to_string(), tcpw.process.pid().to_string());
    let deny = sandbox.hosts_deny().display().to_string();
    for (client, wanted) in [
        (
            CLIENT_V4,
            vec![
                ("MESSAGE", "refused connect from ::ffff:1.2.3.4 (::ffff:1.2.3.4)"),
                ("PRIORITY", "4"),
                ("SYSLOG_FACILITY", "10"),
                ("TCPW_RULE", "ALL: ALL"),
                ("TCPW_RULE_LINE", "2"),
            ],
        ),
        (
            CLIENT_V4_OTHER,
            vec![
                ("PRIORITY", "2"),
                ("SYSLOG_FACILITY", "2"),
                ("TCPW_RULE", "alphad: 1.2.4.: severity mail.crit"),
                ("TCPW_RULE_LINE", "1"),
            ],
        ),
        (
            CLIENT_V6_OTHER,
            vec![("MESSAGE", "refused connect from 3ffe:ffff:100:201::1 (3ffe:ffff:100:201::1)")],
        ),
    ] {
        let entry = of(client)?;
        let of_all = [
            ("SYSLOG_IDENTIFIER", "alphad"),
            ("SYSLOG_PID", &pid),
            ("_PID", &own),
            ("_COMM", "tcpw"),
            ("_UID", "0"),
            ("_TRANSPORT", "journal"),
            ("TCPW_KIND", "attempt"),
            ("TCPW_VERDICT", "refuse"),
            ("TCPW_FATE", "refused"),
            ("TCPW_REASON", "rule"),
            ("TCPW_SOURCE", "trusted"),
            ("TCPW_PROTOCOL", "tcp"),
            ("TCPW_CLIENT_PORT", "40000"),
            ("TCPW_SERVER_PORT", "7001"),
            ("TCPW_LISTENER", "alphad"),
            ("TCPW_LISTENER_PID", &pid),
            ("TCPW_NAME", "alphad"),
            ("TCPW_RULE_TABLE", "hosts.deny"),
            ("TCPW_RULE_FILE", &deny),
        ];
        for (field, value) in of_all.into_iter().chain(wanted) {
            assert_eq!(entry[field], value, "{field} of {client}: {entry:#}");
        }
    }
    Ok(())
}

/// Stopped, its socket is full; killed, its socket is dead. Nothing is lost, and the order is kept.
#[test]
fn journald_that_is_slow_or_killed_gets_everything_later_in_order() -> Result<()> {
    if !ready_for_journald() {
        return Ok(());
    }
    let sandbox = Sandbox::new("killed")?;
    sandbox.write_tables("", "ALL: ALL\n")?;
    let journald = Journald::start(&sandbox)?;
    let _alphad = Testd::start(&sandbox, "alphad", "0.0.0.0:7001")?;
    let file = sandbox.scratch().join("log/secure");
    let mut tcpw = Tcpw::start(&sandbox, &["--log", JOURNALD, "--log", "file:/var/log/secure"])?;
    knock(&sandbox, 40_000..40_050)?;
    assert_eq!(ports(&Journald::wait_for_entries(&sandbox, 50)?), Vec::from_iter(40_000..40_050));

    // The socket takes what its queue holds (net.unix.max_dgram_qlen, in this network namespace), and no more.
    journald.process.signal(Signal::SIGSTOP)?;
    let more = 1_000;
    knock(&sandbox, 41_000..41_000 + more)?;
    wait_for_lines(&file, 50 + usize::from(more))?;
    wait_until("entries wait for journald", SOON, || Ok(counts(&sandbox, JOURNALD)?[2] > 0))?;
    assert_eq!(
        counts(&sandbox, "file:/var/log/secure")?,
        [50 + u64::from(more), 0, 0],
        "no other sink waits"
    );
    journald.process.signal(Signal::SIGCONT)?;
    let found = ports(&Journald::wait_for_entries(&sandbox, 50 + usize::from(more))?);
    assert_eq!(found, Vec::from_iter((40_000..40_050).chain(41_000..41_000 + more)));

    journald.kill(&sandbox)?;
    let mark = tcpw.process.mark();
    knock(&sandbox, 43_000..43_050)?;
    tcpw.process.wait_for_line_after(mark, "journald: ", SOON)?;
    wait_until("50 entries wait", SOON, || Ok(counts(&sandbox, JOURNALD)? == [50 + u64::from(more), 0, 50]))?;
    let _again = Journald::start(&sandbox)?;
    let found = ports(&Journald::wait_for_entries(&sandbox, 100 + usize::from(more))?);
    let wanted = (40_000..40_050).chain(41_000..41_000 + more).chain(43_000..43_050);
    assert_eq!(found, Vec::from_iter(wanted));
    assert_eq!(counts(&sandbox, JOURNALD)?, [100 + u64::from(more), 0, 0]);
    Ok(())
}

/// What waits is bounded; what exceeds it is counted, and said once.
#[test]
fn entries_that_exceed_the_waiting_room_are_counted_and_said_once() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = Sandbox::new("room")?;
    sandbox.write_tables("", "ALL: ALL\n")?;
    let _alphad = Testd::start(&sandbox, "alphad", "0.0.0.0:7001")?;
    let tcpw = Tcpw::start(&sandbox, &["--log", JOURNALD])?;
    // As in docs/limits.md.
    let (room, more) = (8192, 100);
    knock(&sandbox, 20_000..20_000 + room + more)?;
    let wanted = [0, u64::from(more), u64::from(room)];
    wait_until("the room is full", SOON, || Ok(counts(&sandbox, JOURNALD)? == wanted))
        .with_context(|| format!("{:?}", counts(&sandbox, JOURNALD)))?;
    let said = tcpw.process.lines().into_iter().filter(|line| line.text.contains("the line is lost"));
    assert_eq!(said.count(), 1, "{}", tcpw.process.tail());
    Ok(())
}

/// Sends an entry like one of tcpw, and stays.
const POSES: &str = "
import signal, socket
entry = b'MESSAGE=refused connect from 9.9.9.9 (9.9.9.9)\\nSYSLOG_IDENTIFIER=alphad\\nSYSLOG_PID=1\\n'
socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(entry, '/run/systemd/journal/socket')
print('sent', flush=True)
signal.pause()
";

/// fail2ban reads the journal with the filter of this project, and another process cannot pose as tcpw.
#[test]
fn fail2ban_finds_refused_clients_in_the_journal_and_none_that_a_user_wrote() -> Result<()> {
    let programs =
        ["/usr/bin/fail2ban-regex", "/usr/bin/python3", "/usr/lib/python3/dist-packages/systemd/journal.py"];
    if !ready_for_journald() || !can_run("sinks", &programs.map(Requirement::Program)) {
        return Ok(());
    }
    let sandbox = Sandbox::new("bans")?;
    sandbox.write_tables("", "ALL: ALL\n")?;
    let _journald = Journald::start(&sandbox)?;
    let _alphad = Testd::start(&sandbox, "alphad", "[::]:7001")?;
    let _tcpw = Tcpw::start(&sandbox, &["--log", JOURNALD])?;
    // A program of a user that is called tcpw. It is still there when journald looks at it.
    let posing = sandbox.scratch().join("tcpw");
    fs::copy("/usr/bin/python3", &posing)?;
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&posing);
    command.args(["-c", POSES]).env("PYTHONHOME", "/usr");
    let mut posing = sandbox.spawn(Place::Server, command)?;
    posing.wait_for_line("sent", SOON)?;
    sandbox.client().run(|| {
        knock_from(SocketAddr::new(CLIENT_V4, 40_000), SocketAddr::new(SERVER_V4, 7001))?;
        knock_from(SocketAddr::new(CLIENT_V6_OTHER, 40_000), SocketAddr::new(SERVER_V6, 7001))
    })?;
    let entries = Journald::wait_for_entries(&sandbox, 3)?;
    ensure!(entries.iter().any(|entry| entry["_UID"] == "65534" && entry["_COMM"] == "tcpw"), "{entries:#?}");
    let mut fail2ban = Command::new("/usr/bin/fail2ban-regex");
    fail2ban.args(["-o", "ip", &format!("systemd-journal[journalpath={}]", Journald::directory().display())]);
    fail2ban.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/fail2ban.conf"));
    let found = sandbox.run(Place::Server, fail2ban, SOON)?.lines();
    let mut found: Vec<String> =
        found.into_iter().map(|line| line.text).filter(|line| !line.is_empty()).collect();
    found.sort();
    assert_eq!(found, [CLIENT_V4.to_string(), CLIENT_V6_OTHER.to_string()], "{entries:#?}");
    Ok(())
}
