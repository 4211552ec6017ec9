//! Debian's own log watchers read what tcpw writes: fail2ban's sshd filter, logwatch's sshd script.

use std::{
    fs,
    net::{IpAddr, SocketAddr, UdpSocket},
    path::Path,
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use tcpw_tests::{
    CLIENT_V4, CLIENT_V4_OTHER, CLIENT_V6, CLIENT_V6_OTHER, FORGEABLE, Place, Requirement, SERVER_V4,
    SERVER_V6, Sandbox, Tcpw, Testd, can_run,
    client::{connect, knock, lose_answers},
    daemons::{Nginx, Rsyslog, SshKey, Sshd, SshdSockets, Unbound, Xinetd, Zones, oidentd},
    wait_until,
};

const SOON: Duration = Duration::from_secs(30);

/// Refused clients in their order, each with what stands before its address.
const CLIENTS: [(IpAddr, &str); 4] = [
    (CLIENT_V4, "good.example.test"),
    (CLIENT_V6, "good6.example.test"),
    (CLIENT_V4_OTHER, "root@other.example.test"),
    (CLIENT_V6_OTHER, "root@3ffe:ffff:100:201::1"),
];

/// Names where a rule had them looked up, users likewise, both families, both spellings of IPv4.
#[test]
fn fail2ban_and_logwatch_find_every_refused_client() -> Result<()> {
    let programs = [
        "/usr/sbin/sshd",
        "/usr/sbin/nginx",
        "/usr/sbin/xinetd",
        "/usr/sbin/unbound",
        "/usr/sbin/oidentd",
        "/usr/bin/fail2ban-regex",
        "/usr/sbin/logwatch",
    ]
    .map(Requirement::Program);
    if !can_run("logs", &[Requirement::Root]) || !can_run("logs", &programs) {
        return Ok(());
    }
    let sandbox = Sandbox::new("logs")?;
    sandbox.write_tables(
        "",
        "ALL: [3ffe:ffff:100:201::]/64 other.example.test: rfc931 5\nALL: .example.test\nALL: ALL\n",
    )?;
    let mut zones = Zones::default();
    zones.host("good", CLIENT_V4);
    zones.host("other", CLIENT_V4_OTHER);
    zones.host("good6", CLIENT_V6);
    let _unbound = Unbound::start(&sandbox, &zones)?;
    let _identd = oidentd(&sandbox, Place::Client)?;
    let key = SshKey::generate(&sandbox)?;
    let dual = Sshd::start(&sandbox, &key, 2201, SshdSockets::DualStack)?;
    let split = Sshd::start(&sandbox, &key, 2202, SshdSockets::PerFamily)?;
    let nginx = Nginx::start(&sandbox, 8001)?;
    let xinetd = Xinetd::start(&sandbox, 1301)?;
    let log = sandbox.scratch().join("log/auth.log");
    let tcpw = Tcpw::start(&sandbox, &["--log", "file:/var/log/auth.log"])?;
    for (count, port) in (1..).zip([dual.port, split.port, nginx.port, xinetd.port]) {
        for (number, (client, _)) in (1..).zip(CLIENTS) {
            let server = if client.is_ipv4() { SERVER_V4 } else { SERVER_V6 };
            // Who is asked for his user connects, stays for the answer, and is reset.
            let attempt =
                connect(sandbox.client(), client, (server, port).into(), Duration::from_millis(300));
            wait_for_lines(&log, (count - 1) * CLIENTS.len() + number)
                .with_context(|| format!("{client} at port {port}:\n{}", tcpw.process.tail()))?;
            drop(attempt);
        }
    }
    let text = fs::read_to_string(&log)?;
    let all =
        fail2ban(&sandbox, &log, Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/fail2ban.conf")))?;
    let want: Vec<String> = CLIENTS.iter().map(|(client, _)| client.to_string()).collect();
    // Whichever daemon, in any order.
    assert_eq!(all, [want.clone(), want.clone(), want.clone(), want.clone()].concat(), "{text}");

    // Debian's filter takes lines of one process for one session, in which an address lasts: a family at a time.
    for is_v4 in [true, false] {
        let of_family = |client: &IpAddr| client.is_ipv4() == is_v4;
        let lines: String = text
            .split_inclusive('\n')
            .filter(|line| line.contains("(3ffe:") != is_v4 && line.contains(" sshd["))
            .collect();
        let part = sandbox.scratch().join("part.log");
        fs::write(&part, lines)?;
        let found = fail2ban(&sandbox, &part, Path::new("/etc/fail2ban/filter.d/sshd.conf"))?;
        let want: Vec<String> = CLIENTS
            .iter()
            .map(|(client, _)| *client)
            .filter(of_family)
            .map(|client| client.to_string())
            .collect();
        assert_eq!(found, [want.clone(), want].concat(), "{text}");
    }

    let mut logwatch = Command::new("/usr/sbin/logwatch");
    logwatch.args(["--service", "sshd", "--range", "all", "--detail", "high", "--output", "stdout"]);
    logwatch.args(["--logdir", "/var/log"]);
    let said = lines_of(&sandbox, logwatch)?;
    for (client, host) in CLIENTS {
        let spellings = if client.is_ipv4() {
            vec![client.to_string(), format!("::ffff:{client}")]
        } else {
            vec![client.to_string()]
        };
        for spelled in &spellings {
            let times = if spellings.len() == 1 { "2 Times" } else { "1 Time" };
            let want = format!("{host} ({spelled}): {times}");
            ensure!(said.iter().any(|line| line.trim() == want), "no \"{want}\" in\n{}", said.join("\n"));
        }
    }
    ensure!(said.iter().any(|line| line.contains("Refused incoming connections")), "{said:?}");
    Ok(())
}

/// Facility and level as a real syslog daemon sees them.
#[test]
fn rsyslog_sees_the_severity_of_the_rule() -> Result<()> {
    if !can_run("logs", &[Requirement::Root, Requirement::Program("/usr/sbin/rsyslogd")]) {
        return Ok(());
    }
    let sandbox = Sandbox::new("severity")?;
    sandbox.write_tables(
        "alphad: 1.2.3.: severity local5.debug\nbetad: 1.2.3.\n",
        "alphad: 1.2.4.: severity mail.crit\nalphad: [3ffe:ffff:100:200::]/64: severity alert\nALL: ALL\n",
    )?;
    let rsyslog = Rsyslog::start(&sandbox)?;
    let alphad = Testd::start(&sandbox, "alphad", "[::]:7001")?;
    let betad = Testd::start(&sandbox, "betad", "[::]:7002")?;
    let _tcpw = Tcpw::start(&sandbox, &["--log", "syslog", "--log-allowed"])?;
    for (client, port, priority, what) in [
        (CLIENT_V4, 7001, "local5.debug", "connect from ::ffff:1.2.3.4"),
        (CLIENT_V4_OTHER, 7001, "mail.crit", "refused connect from ::ffff:1.2.4.4"),
        // A level alone changes the level alone.
        (CLIENT_V6, 7001, "authpriv.alert", "refused connect from 3ffe:ffff:100:200:"),
        (CLIENT_V6_OTHER, 7001, "authpriv.warning", "refused connect from 3ffe:ffff:100:201:"),
        (CLIENT_V4, 7002, "authpriv.info", "connect from ::ffff:1.2.3.4"),
    ] {
        let server = if client.is_ipv4() { SERVER_V4 } else { SERVER_V6 };
        drop(connect(sandbox.client(), client, (server, port).into(), Duration::from_millis(300))?);
        let (daemon, pid) =
            if port == 7001 { ("alphad", alphad.process.pid()) } else { ("betad", betad.process.pid()) };
        let line = rsyslog.wait_for_priority(&format!(" {daemon}[{pid}]: {what}"), SOON)?;
        ensure!(line.starts_with(&format!("{priority} {daemon}[")), "{priority}: {line}");
    }
    Ok(())
}

#[test]
fn lines_are_limited_and_the_others_are_counted() -> Result<()> {
    if !can_run("logs", &[Requirement::Root]) {
        return Ok(());
    }
    let sandbox = Sandbox::new("limited")?;
    sandbox.write_tables("alphad: 1.2.3.\n", "ALL: ALL\n")?;
    let _alphad = Testd::start(&sandbox, "alphad", "[::]:7001")?;
    let settings = sandbox.write_settings("[lines]\nper-network = 3\n")?;
    let log = sandbox.scratch().join("log/auth.log");
    let mut tcpw = Tcpw::start(
        &sandbox,
        &[
            "--log",
            "file:/var/log/auth.log",
            "--log",
            "json:/var/log/tcpw.json",
            "--log-allowed",
            "--config",
            &settings,
        ],
    )?;
    Tcpw::wait_listener(&sandbox, 7001, |_| true)?;
    for _ in 0..9 {
        sandbox.client().run(|| knock(CLIENT_V4_OTHER, (SERVER_V4, 7001).into()))?;
    }
    drop(connect(sandbox.client(), CLIENT_V4, (SERVER_V4, 7001).into(), SOON)?);
    // Each is remembered.
    wait_until("ten records", SOON, || {
        Ok(Tcpw::command(&sandbox, &["events", "--json"])?
            .iter()
            .filter(|it| it.text.starts_with('{'))
            .count()
            == 10)
    })?;
    wait_for_lines(&log, 4)?;
    let counters = Tcpw::counters(&sandbox)?;
    tcpw.process.terminate(SOON)?;
    let text = fs::read_to_string(&log)?;
    let of = |what: &str| text.lines().filter(|line| line.contains(what)).count();
    assert_eq!(
        (of("refused connect from ::ffff:1.2.4.4 "), of(": connect from ::ffff:1.2.3.4 ")),
        (3, 1),
        "{text}"
    );
    let counts: Vec<&str> = text.lines().filter(|line| line.contains(" more attempts from ")).collect();
    ensure!(counts.len() == 1 && counts[0].contains(": 6 more attempts from 1.2.4.0/24 in "), "{text}");
    let json = fs::read_to_string(log.with_file_name("tcpw.json"))?;
    let count: serde_json::Value = serde_json::from_str(json.lines().last().context("no line")?)?;
    assert_eq!(
        (&count["kind"], &count["network"], &count["attempts"], json.lines().count()),
        (&"limit-count".into(), &"1.2.4.0/24".into(), &6.into(), 5),
        "{json}"
    );
    assert_eq!(counters.get("limited_counted"), Some(&6));
    Ok(())
}

/// Forged sources: their attempts are refused and logged, and no watcher counts them.
#[test]
fn fail2ban_and_logwatch_find_no_source_that_is_not_proven() -> Result<()> {
    let programs = ["/usr/sbin/sshd", "/usr/sbin/nft", "/usr/bin/fail2ban-regex", "/usr/sbin/logwatch"]
        .map(Requirement::Program);
    if !can_run("logs", &[Requirement::Root]) || !can_run("logs", &programs) {
        return Ok(());
    }
    let sandbox = Sandbox::new("forged")?;
    sandbox.write_tables("", "ALL: ALL\n")?;
    let key = SshKey::generate(&sandbox)?;
    let sshd = Sshd::start(&sandbox, &key, 2201, SshdSockets::PerFamily)?;
    let log = sandbox.scratch().join("log/auth.log");
    let _tcpw = Tcpw::start(&sandbox, &["--log", "file:/var/log/auth.log", "--on-deny", "close"])?;
    let server = SocketAddr::new(SERVER_V4, sshd.port);
    lose_answers(sandbox.client(), true)?;
    sandbox.client().run(|| (0..5).try_for_each(|_| knock(CLIENT_V4_OTHER, server)))?;
    wait_for_lines(&log, 5)?;
    lose_answers(sandbox.client(), false)?;
    ensure!(connect(sandbox.client(), CLIENT_V4, server, SOON)?.is_connected());
    wait_for_lines(&log, 6)?;
    let text = fs::read_to_string(&log)?;
    for filter in [
        Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/fail2ban.conf")),
        Path::new("/etc/fail2ban/filter.d/sshd.conf"),
    ] {
        assert_eq!(fail2ban(&sandbox, &log, filter)?, [CLIENT_V4.to_string()], "{text}");
    }
    let mut logwatch = Command::new("/usr/sbin/logwatch");
    logwatch.args(["--service", "sshd", "--range", "all", "--detail", "high", "--output", "stdout"]);
    logwatch.args(["--logdir", "/var/log"]);
    let said = lines_of(&sandbox, logwatch)?;
    // Of lines that it does not know it shows the text.
    let refused = said.iter().filter(|line| line.contains("1.2.4.4") && !line.contains("unproven"));
    assert_eq!(refused.count(), 0, "{said:#?}");
    ensure!(said.iter().any(|line| line.contains("1.2.3.4")), "{said:#?}");
    Ok(())
}

/// A client that is reset or dropped completes no handshake: its address may be forged. Over UDP there is no handshake.
#[test]
fn fail2ban_finds_no_client_that_is_reset_or_dropped_unless_addresses_are_trusted() -> Result<()> {
    let programs = ["/usr/sbin/sshd", "/usr/bin/fail2ban-regex"].map(Requirement::Program);
    if !can_run("logs", &[Requirement::Root]) || !can_run("logs", &programs) {
        return Ok(());
    }
    let sandbox = Sandbox::new("unproven")?;
    sandbox.write_tables("", "ALL: ALL\n")?;
    let key = SshKey::generate(&sandbox)?;
    let sshd = Sshd::start(&sandbox, &key, 2201, SshdSockets::PerFamily)?;
    let _udp = Testd::start(&sandbox, "alphad", "--udp 0.0.0.0:7001")?;
    let filter = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/fail2ban.conf"));
    for (how, is_trusted) in [("reset", false), ("drop", false), ("reset", true), ("drop", true)] {
        let found = if is_trusted { 2 } else { 0 };
        let name = format!("{how}-{is_trusted}.log");
        let log = sandbox.scratch().join("log").join(&name);
        let to = format!("file:/var/log/{name}");
        let mut arguments = vec!["--log", &to, "--on-deny", how];
        // Without it the flag is given.
        arguments.extend((!is_trusted).then_some(FORGEABLE));
        let _tcpw = Tcpw::start(&sandbox, &arguments)?;
        drop(connect(
            sandbox.client(),
            CLIENT_V4,
            (SERVER_V4, sshd.port).into(),
            Duration::from_millis(300),
        )?);
        wait_for_lines(&log, 1)?;
        sandbox.client().run(|| {
            let client = UdpSocket::bind((CLIENT_V4_OTHER, 0))?;
            client.send_to(b"x", (SERVER_V4, 7001))?;
            Ok(())
        })?;
        wait_for_lines(&log, 2)?;
        let text = fs::read_to_string(&log)?;
        assert_eq!(fail2ban(&sandbox, &log, filter)?.len(), found, "{name}: {text}");
        let unproven = text.lines().filter(|line| line.contains("]: refused unproven attempt from "));
        assert_eq!(unproven.count(), 2 - found, "{name}: {text}");
    }
    Ok(())
}

/// A user names a listener of its own sshd, or root one in another network namespace, where anybody may have any address.
#[test]
fn fail2ban_finds_no_client_of_a_listener_that_a_user_may_have_named() -> Result<()> {
    let programs = ["/usr/sbin/sshd", "/usr/bin/fail2ban-regex"].map(Requirement::Program);
    if !can_run("logs", &[Requirement::Root]) || !can_run("logs", &programs) {
        return Ok(());
    }
    let sandbox = Sandbox::new("named")?;
    sandbox.write_tables("", "ALL: ALL\n")?;
    let key = SshKey::generate(&sandbox)?;
    let sshd = Sshd::start(&sandbox, &key, 2201, SshdSockets::PerFamily)?;
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
    command.arg(Testd::program(&sandbox, "sshd")?).arg("0.0.0.0:7001");
    let of_user = Testd::run(&sandbox, Place::Guarded, command)?;
    let elsewhere = Testd::start_at(&sandbox, Place::GuardedClient, "sshd", "0.0.0.0:7002")?;
    let log = sandbox.scratch().join("log/auth.log");
    let attempts = || {
        sandbox.client().run(|| {
            knock(CLIENT_V4, (SERVER_V4, 7001).into())?;
            knock(CLIENT_V4, (SERVER_V4, sshd.port).into())?;
            knock(CLIENT_V4_OTHER, (CLIENT_V4, 7002).into())
        })
    };
    let start = ["--log", "file:/var/log/auth.log"];
    let tcpw = Tcpw::start(&sandbox, &start)?;
    attempts()?;
    wait_for_lines(&log, 3)?;
    let text = fs::read_to_string(&log)?;
    for filter in [
        Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/fail2ban.conf")),
        Path::new("/etc/fail2ban/filter.d/sshd.conf"),
    ] {
        assert_eq!(fail2ban(&sandbox, &log, filter)?, [CLIENT_V4.to_string()], "{text}");
    }
    let own = tcpw.process.pid();
    for line in [
        format!(
            " tcpw[{own}]: refused at a listener whose name is not proven, sshd[{}]: 1.2.3.4 (1.2.3.4)",
            of_user.process.pid()
        ),
        format!(
            " tcpw[{own}]: refused at a listener in another network namespace, sshd[{}]: 1.2.4.4 (1.2.4.4)",
            elsewhere.process.pid()
        ),
    ] {
        ensure!(text.lines().any(|found| found.ends_with(&line)), "no \"{line}\" in\n{text}");
    }
    drop(tcpw);

    // The settings name the namespace.
    fs::remove_file(&log)?;
    let namespace = format!("line-namespaces = [\"/proc/{}/ns/net\"]\n", elsewhere.process.pid());
    let settings = sandbox.write_settings(&namespace)?;
    let _tcpw = Tcpw::start(&sandbox, &[&start[..], &["--config", &settings]].concat())?;
    attempts()?;
    wait_for_lines(&log, 3)?;
    let text = fs::read_to_string(&log)?;
    let line = format!(" sshd[{}]: refused connect from 1.2.4.4 (1.2.4.4)", elsewhere.process.pid());
    ensure!(text.lines().any(|found| found.ends_with(&line)), "no \"{line}\" in\n{text}");
    Ok(())
}

fn wait_for_lines(log: &Path, count: usize) -> Result<()> {
    let read = || fs::read_to_string(log).unwrap_or_default();
    wait_until(&format!("{count} lines are there"), SOON, || Ok(read().lines().count() >= count))
        .with_context(read)
}

/// The addresses that fail2ban would count, in their order.
fn fail2ban(sandbox: &Sandbox, log: &Path, filter: &Path) -> Result<Vec<String>> {
    let mut command = Command::new("/usr/bin/fail2ban-regex");
    command.args(["-o", "ip"]).arg(log).arg(filter);
    Ok(lines_of(sandbox, command)?.into_iter().filter(|line| !line.is_empty()).collect())
}

fn lines_of(sandbox: &Sandbox, command: Command) -> Result<Vec<String>> {
    Ok(sandbox.run(Place::Server, command, SOON)?.lines().into_iter().map(|line| line.text).collect())
}
