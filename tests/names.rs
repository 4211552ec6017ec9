//! Rules that hang on names, over a real name server: verdicts as the real libwrap gives them to the
//! same clients, lines, bounds, and what a slow or dead resolver does.

#[path = "names/apart.rs"]
mod apart;
#[path = "names/forged.rs"]
mod forged;
#[path = "names/pairs.rs"]
mod pairs;
#[path = "names/storm.rs"]
mod storm;
#[path = "names/world.rs"]
mod world;

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use tcpw_tests::{
    CLIENT_V4, CLIENT_V4_OTHER, DENY, Place, Requirement, SERVER_V4, Sandbox, Tcpw, Testd, can_run,
    client::{Attempt, connect},
    daemons::{Nginx, SshKey, Sshd, SshdSockets, Unbound, Zones},
    tcpw_binary,
};

/// For a busy or an emulated machine.
const SOON: Duration = Duration::from_secs(30);

/// Well before the first retransmit.
const AT_ONCE: Duration = Duration::from_millis(700);

fn ready() -> bool {
    can_run("names", &[Requirement::Root, Requirement::Program("/usr/sbin/unbound")])
}

/// 1.2.3.4 is good.example.test, 1.2.4.4 is other.elsewhere.test.
fn zones() -> Zones {
    let mut zones = Zones::default();
    zones.host("good", CLIENT_V4);
    zones.host("other", CLIENT_V4_OTHER);
    zones
}

fn attempt(sandbox: &Sandbox, client: IpAddr, port: u16, patience: Duration) -> Result<Attempt> {
    connect(sandbox.client(), client, SocketAddr::new(SERVER_V4, port), patience)
}

#[test]
fn sshd_and_nginx_obey_rules_of_names_and_lines_carry_them() -> Result<()> {
    let programs = ["/usr/sbin/sshd", "/usr/sbin/nginx"].map(Requirement::Program);
    if !ready() || !can_run("names", &programs) {
        return Ok(());
    }
    let sandbox = Sandbox::new("names")?;
    sandbox.write_tables(
        "sshd nginx: good.example.test\n",
        "ALL: .example.test: severity local3.alert\nALL: ALL\n",
    )?;
    let unbound = Unbound::start(&sandbox, &zones())?;
    unbound.delay(Some(Duration::from_millis(20)));
    let key = SshKey::generate(&sandbox)?;
    let sshd = Sshd::start(&sandbox, &key, 2201, SshdSockets::PerFamily)?;
    let dual = Testd::start(&sandbox, "alphad", "[::]:7001")?;
    let nginx = Nginx::start(&sandbox, 8001)?;
    let mut tcpw = Tcpw::start(&sandbox, &["--log-allowed"])?;
    for port in [sshd.port, nginx.port] {
        assert!(attempt(&sandbox, CLIENT_V4, port, SOON)?.is_connected(), "port {port}");
        assert!(!attempt(&sandbox, CLIENT_V4_OTHER, port, AT_ONCE)?.is_connected(), "port {port}");
    }
    assert!(!attempt(&sandbox, CLIENT_V4, 7001, AT_ONCE)?.is_connected());
    assert_eq!(key.log_in(&sandbox, CLIENT_V4, SERVER_V4, sshd.port, "echo in")?, "in");
    let (pid, nginx_pid, dual_pid) = (sshd.process.pid(), nginx.process.pid(), dual.process.pid());
    for end in [
        format!(" sshd[{pid}]: connect from good.example.test (1.2.3.4)"),
        format!(" sshd[{pid}]: refused connect from other.example.test (1.2.4.4)"),
        format!(" nginx[{nginx_pid}]: refused connect from other.example.test (1.2.4.4)"),
        format!(" alphad[{dual_pid}]: refused connect from good.example.test (::ffff:1.2.3.4)"),
    ] {
        let line = tcpw.process.wait_for_line(&end, SOON)?;
        ensure!(line.text.ends_with(&end), "{}", line.text);
    }
    let counters = Tcpw::counters(&sandbox)?;
    ensure!(counters["disagreements"] == 0 && counters["lookups"] == 2, "{counters:?}");
    Ok(())
}

/// The first SYN waits for the answer; those that follow ask nothing more.
#[test]
fn retransmits_start_no_more_look_ups_and_the_syn_is_sent_again_once() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = Sandbox::new("retransmit")?;
    sandbox.write_tables("ALL: .example.test\n", DENY)?;
    let unbound = Unbound::start(&sandbox, &zones())?;
    let options = "nameserver 127.0.0.1\noptions timeout:5 attempts:1\n";
    std::fs::write(sandbox.etc().join("resolv.conf"), options)?;
    let _alphad = Testd::start(&sandbox, "alphad", "0.0.0.0:7001")?;
    let mut tcpw = Tcpw::start(&sandbox, &["--log-allowed"])?;
    // Two questions one after the other: the client sends its SYN three times meanwhile.
    let delay = Duration::from_millis(1300);
    unbound.delay(Some(delay));
    let found = attempt(&sandbox, CLIENT_V4, 7001, SOON)?;
    assert!(found.is_connected(), "{found:?}");
    assert!(found.took >= 2 * delay && found.took < 2 * delay + Duration::from_millis(300), "{found:?}");
    let counters = Tcpw::counters(&sandbox)?;
    ensure!(counters["lookups"] == 1 && unbound.asked() == 2, "{counters:?}, {} asked", unbound.asked());
    ensure!(counters["asked"] >= 2, "the SYN was held again: {counters:?}");
    ensure!(counters["allowed"] == 1, "sent again once: {counters:?}");
    tcpw.process.wait_for_line(": connect from good.example.test (1.2.3.4)", SOON)?;
    // From memory: at once.
    let found = attempt(&sandbox, CLIENT_V4, 7001, AT_ONCE)?;
    assert!(found.is_connected() && found.took < Duration::from_millis(300), "{found:?}");
    Ok(())
}

#[test]
fn dead_resolver_means_unknown_after_the_time_limit() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = Sandbox::new("dead")?;
    sandbox.write_tables("alphad: .example.test\nbetad: UNKNOWN\ngammad: 1.2.3.\n", DENY)?;
    let unbound = Unbound::start(&sandbox, &zones())?;
    let options = "nameserver 127.0.0.1\noptions timeout:30 attempts:1\n";
    std::fs::write(sandbox.etc().join("resolv.conf"), options)?;
    let _alphad = Testd::start(&sandbox, "alphad", "0.0.0.0:7001")?;
    let _betad = Testd::start(&sandbox, "betad", "0.0.0.0:7002")?;
    let _gammad = Testd::start(&sandbox, "gammad", "0.0.0.0:7003")?;
    let settings = sandbox.write_settings("[resolve]\ntime-limit = 2\nnot-found-for = 3\n")?;
    let mut tcpw = Tcpw::start(&sandbox, &["--config", &settings])?;
    unbound.delay(None);
    std::thread::scope(|scope| -> Result<()> {
        let refused = scope.spawn(|| attempt(&sandbox, CLIENT_V4, 7001, Duration::from_secs(4)));
        let unknown = scope.spawn(|| attempt(&sandbox, CLIENT_V4, 7002, Duration::from_secs(4)));
        let by_address = attempt(&sandbox, CLIENT_V4, 7003, Duration::from_millis(1800))?;
        assert!(by_address.is_connected(), "rules of addresses wait for nothing: {by_address:?}");
        let refused = refused.join().expect("no panic")?;
        assert!(!refused.is_connected(), "{refused:?}");
        let unknown = unknown.join().expect("no panic")?;
        assert!(unknown.is_connected() && unknown.took > Duration::from_millis(1900), "{unknown:?}");
        assert!(unknown.took < Duration::from_millis(2900), "sent again at the limit: {unknown:?}");
        Ok(())
    })?;
    // No name was found: the line has none.
    tcpw.process.wait_for_line(": refused connect from 1.2.3.4 (1.2.3.4)", SOON)?;
    tcpw.process.wait_for_line("2 connection attempts were judged without a name", SOON)?;
    let counters = Tcpw::counters(&sandbox)?;
    ensure!(counters["names_given_up"] == 2 && counters["lookups"] == 1, "{counters:?}");
    ensure!(counters["disagreements"] == 0, "{counters:?}");
    Ok(())
}

/// /etc/hosts counts, and what it said is believed for as long as the settings say, by the kernel too.
#[test]
fn answers_are_believed_for_a_while() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = Sandbox::new("believed")?;
    sandbox.write_tables("ALL: .example.test\n", DENY)?;
    let _unbound = Unbound::start(&sandbox, &Zones::default())?;
    let hosts = sandbox.etc().join("hosts");
    std::fs::write(&hosts, "127.0.0.1 localhost\n1.2.3.4 good.example.test\n")?;
    let _alphad = Testd::start(&sandbox, "alphad", "0.0.0.0:7001")?;
    let settings = sandbox.write_settings("[resolve]\nfound-for = 6\nnot-found-for = 1\n")?;
    let _tcpw = Tcpw::start(&sandbox, &["--config", &settings])?;
    assert!(attempt(&sandbox, CLIENT_V4, 7001, SOON)?.is_connected());
    let began = Instant::now();
    std::fs::write(&hosts, "127.0.0.1 localhost\n")?;
    assert!(attempt(&sandbox, CLIENT_V4, 7001, SOON)?.is_connected(), "still believed");
    let counters = Tcpw::counters(&sandbox)?;
    ensure!(counters["asked"] == 1, "the kernel remembers too: {counters:?}");
    // The time tested: how long an answer is believed.
    std::thread::sleep(Duration::from_millis(6200).saturating_sub(began.elapsed()));
    assert!(!attempt(&sandbox, CLIENT_V4, 7001, AT_ONCE)?.is_connected(), "no more");
    std::fs::write(&hosts, "127.0.0.1 localhost\n1.2.3.4 good.example.test\n")?;
    // The shortest an answer lives in the kernel.
    std::thread::sleep(Duration::from_millis(5200));
    assert!(attempt(&sandbox, CLIENT_V4, 7001, SOON)?.is_connected(), "again");
    Ok(())
}

/// A name server of this host, guarded, over TCP: its own clients are not held for a name it would have to tell.
#[test]
fn name_server_of_this_host_never_waits_for_itself() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = Sandbox::new("nameserver")?;
    sandbox.write_tables("ALL: .example.test UNKNOWN\n", DENY)?;
    let _unbound = Unbound::start_guarded(&sandbox, &zones(), "use-vc timeout:3 attempts:1")?;
    std::fs::write(sandbox.etc().join("hosts"), "")?;
    let _alphad = Testd::start(&sandbox, "alphad", "0.0.0.0:7001")?;
    let mut tcpw = Tcpw::start(&sandbox, &[])?;
    let found = attempt(&sandbox, CLIENT_V4, 7001, SOON)?;
    assert!(found.is_connected(), "{found:?}");
    // Its rules count, with names unknown.
    let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let server = SocketAddr::new(local, 53);
    assert!(connect(sandbox.server(), local, server, SOON)?.is_connected());
    let asked = Tcpw::counters(&sandbox)?["asked"];
    let mark = tcpw.process.mark();
    sandbox.write_tables("ALL: .example.test\n", DENY)?;
    tcpw.wait_applied(mark)?;
    assert!(!connect(sandbox.server(), local, server, AT_ONCE)?.is_connected());
    let counters = Tcpw::counters(&sandbox)?;
    ensure!(counters["asked"] == asked, "nothing was held for it: {counters:?}");
    Ok(())
}

/// Without a daemon a name cannot be found: what hangs on one is refused, never allowed.
#[test]
fn without_a_daemon_an_answer_expires_and_nothing_is_allowed_for_want_of_a_name() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = Sandbox::new("orphan")?;
    sandbox.write_tables("alphad: .example.test\nbetad: UNKNOWN\n", DENY)?;
    let _unbound = Unbound::start(&sandbox, &zones())?;
    let _alphad = Testd::start(&sandbox, "alphad", "0.0.0.0:7001")?;
    let _betad = Testd::start(&sandbox, "betad", "0.0.0.0:7002")?;
    let settings = sandbox.write_settings("[resolve]\nfound-for = 6\n")?;
    let mut tcpw = Tcpw::start(&sandbox, &["--pin", "--config", &settings])?;
    assert!(attempt(&sandbox, CLIENT_V4, 7001, SOON)?.is_connected());
    let began = Instant::now();
    tcpw.process.kill_9()?;
    assert!(attempt(&sandbox, CLIENT_V4, 7001, SOON)?.is_connected(), "the answer still holds");
    assert!(!attempt(&sandbox, CLIENT_V4_OTHER, 7001, AT_ONCE)?.is_connected(), "nobody to ask");
    assert!(!attempt(&sandbox, CLIENT_V4, 7002, AT_ONCE)?.is_connected(), "not known to be unknown");
    // The time tested: how long an answer is believed.
    std::thread::sleep(Duration::from_millis(6300).saturating_sub(began.elapsed()));
    assert!(!attempt(&sandbox, CLIENT_V4, 7001, AT_ONCE)?.is_connected(), "it does not hold for ever");
    let _tcpw = Tcpw::start(&sandbox, &["--pin", "--config", &settings])?;
    assert!(attempt(&sandbox, CLIENT_V4, 7001, SOON)?.is_connected(), "there is somebody again");
    Tcpw::command(&sandbox, &["detach"])?;
    Ok(())
}

#[test]
fn audit_mode_lets_pass_and_says_the_name() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = Sandbox::new("audit")?;
    sandbox.write_tables("ALL EXCEPT markerd: good.example.test\n", DENY)?;
    let barrier = tcpw_tests::Barrier::start(&sandbox)?;
    let unbound = Unbound::start(&sandbox, &zones())?;
    unbound.delay(Some(Duration::from_millis(600)));
    let _alphad = Testd::start(&sandbox, "alphad", "0.0.0.0:7001")?;
    let settings = sandbox.write_settings("mode = \"audit\"\n")?;
    let mut tcpw = Tcpw::start(&sandbox, &["--config", &settings])?;
    for client in [CLIENT_V4, CLIENT_V4_OTHER] {
        let found = attempt(&sandbox, client, 7001, SOON)?;
        assert!(found.is_connected() && found.took < Duration::from_millis(550), "nobody waits: {found:?}");
    }
    tcpw.process.wait_for_line(": would refuse connect from other.example.test (1.2.4.4)", SOON)?;
    barrier.pass(&sandbox, &mut tcpw)?;
    let lines = tcpw.process.lines().iter().filter(|line| line.text.contains("would refuse connect")).count();
    assert_eq!(lines, 1 + 1, "and the marker's");
    Ok(())
}

#[test]
fn running_daemon_tells_name_confirmation_rule_and_age() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = Sandbox::new("live")?;
    sandbox.write_tables("# names\nalphad: .example.test\n", DENY)?;
    let mut zones = zones();
    zones.pointer("1.2.5.1".parse()?, "good.example.test.");
    let _unbound = Unbound::start(&sandbox, &zones)?;
    let _alphad = Testd::start(&sandbox, "alphad", "0.0.0.0:7001")?;
    let _tcpw = Tcpw::start(&sandbox, &[])?;
    let ask = |arguments: &[&str]| -> Result<(i32, String)> {
        let mut command = std::process::Command::new(tcpw_binary()?);
        command.args(["match", "--live"]).args(arguments);
        let mut process = sandbox.spawn(Place::Server, command)?;
        let code = process.wait(SOON)?.code().context("an exit code")?;
        Ok((code, process.lines().iter().map(|line| format!("{}\n", line.text)).collect()))
    };
    let (code, text) = ask(&["alphad", "1.2.3.4"])?;
    ensure!(code == 0, "{text}");
    for part in [
        &format!("allowed: alphad from 1.2.3.4: {}:2\n", sandbox.hosts_allow().display()),
        "client:   good.example.test\n",
        "listener: alphad[",
        "name of 1.2.3.4: good.example.test (leads back to the address); 0 s old, remembered for ",
        "generation 1\n",
    ] {
        ensure!(text.contains(part), "{part:?} is not in\n{text}");
    }
    let (code, text) = ask(&["alphad", "1.2.5.1"])?;
    ensure!(code == 1 && text.starts_with("refused: alphad from 1.2.5.1: "), "{text}");
    ensure!(text.contains("paranoid (host name/address mismatch: 1.2.5.1 != good.example.test)"), "{text}");
    // The time tested: the age of an answer.
    std::thread::sleep(Duration::from_millis(1000));
    let (_, text) = ask(&["--json", "alphad", "1.2.3.4"])?;
    let answers: serde_json::Value = serde_json::from_str(&text)?;
    let age = answers[0]["lookups"][0]["age_ms"].as_u64().context("an age")?;
    ensure!((1000..10_000).contains(&age) && answers[0]["matched"] == "allow:2", "{text}");
    let (code, text) = ask(&["sshd", "1.2.3.4", "--port", "53"])?;
    ensure!(
        code == 1
            && text.contains("every name is unknown")
            && text.contains("no known listener has that name"),
        "{text}"
    );
    Ok(())
}
