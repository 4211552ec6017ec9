//! Metrics of a running tcpw: over HTTP, in a file, and as a real Prometheus and a real node_exporter read them.

#[path = "metrics/deploy.rs"]
mod deploy;
#[path = "metrics/prometheus.rs"]
mod prometheus;
#[path = "metrics/scrape.rs"]
mod scrape;

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context as _, Result, ensure};
use tcpw_tests::{
    CLIENT_V4, CLIENT_V4_OTHER, FORGEABLE, Place, Process, Requirement, SERVER_V4, STATE_DIR, Sandbox, Tcpw,
    Testd, can_run,
    client::{connect, knock},
    tcpw_binary, wait_for, wait_until,
};

use scrape::{Samples, scrape};

const SOON: Duration = Duration::from_secs(20);
const LONG: Duration = Duration::from_secs(90);
const LOOPBACK: &str = "127.0.0.1:9798";

const ALLOW: &str = "alphad: 1.2.3.\n";
const DENY: &str = "# Rules begin at lines 2 and 3.\nbetad: ALL\nALL: ALL\n";

fn ready(programs: &[&'static str]) -> bool {
    let programs: Vec<_> = programs.iter().map(|program| Requirement::Program(program)).collect();
    can_run("metrics", &[Requirement::Root]) && can_run("metrics", &programs)
}

/// Two daemons, and tcpw with these settings under `[metrics]`.
struct Scene {
    sandbox: Sandbox,
    _daemons: [Testd; 2],
    tcpw: Tcpw,
}

const ALPHAD: u16 = 7001;
const BETAD: u16 = 7002;

impl Scene {
    fn start(name: &str, settings: &str) -> Result<Self> {
        let sandbox = Sandbox::new(name)?;
        sandbox.write_tables(ALLOW, DENY)?;
        let daemons = [
            Testd::start(&sandbox, "alphad", &format!("0.0.0.0:{ALPHAD}"))?,
            Testd::start(&sandbox, "betad", &format!("0.0.0.0:{BETAD}"))?,
        ];
        let config = sandbox.write_settings(&format!("[metrics]\n{settings}\n"))?;
        let tcpw = Tcpw::start(&sandbox, &["--log-allowed", "--config", &config])?;
        Ok(Self { sandbox, _daemons: daemons, tcpw })
    }

    /// Three clients are allowed at alphad, two refused; one is refused at betad.
    fn clients(&self) -> Result<()> {
        let attempt = |client, port, is_allowed| {
            // Shorter than the time until a SYN is sent again.
            let time = Duration::from_millis(if is_allowed { 10_000 } else { 300 });
            let attempt = connect(self.sandbox.client(), client, (SERVER_V4, port).into(), time)?;
            ensure!(attempt.is_connected() == is_allowed, "{client} at {port}: {attempt:?}");
            Ok(())
        };
        for (client, port, is_allowed) in [
            (CLIENT_V4, ALPHAD, true),
            (CLIENT_V4_OTHER, ALPHAD, false),
            (CLIENT_V4, ALPHAD, true),
            (CLIENT_V4, BETAD, false),
            (CLIENT_V4_OTHER, ALPHAD, false),
            (CLIENT_V4, ALPHAD, true),
        ] {
            attempt(client, port, is_allowed)?;
        }
        Ok(())
    }

    /// The metrics once they are as a test expects.
    fn wait_samples(&self, what: &str, is_so: impl Fn(&Samples) -> bool) -> Result<Samples> {
        wait_samples(&self.sandbox, what, is_so)
    }
}

fn wait_samples(sandbox: &Sandbox, what: &str, is_so: impl Fn(&Samples) -> bool) -> Result<Samples> {
    let mut last = None;
    let found = wait_for(what, SOON, || {
        let Ok(answer) = scrape(sandbox, "GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n") else { return Ok(None) };
        let samples = Samples::read(&answer.body)?;
        let is_so = is_so(&samples);
        last = Some(answer.body);
        Ok(is_so.then_some(samples))
    });
    found.with_context(|| last.unwrap_or_else(|| "no answer".into()))
}

/// What [`Scene::clients`] did, each with the number it must have.
const COUNTS: [(&str, f64); 6] = [
    (r#"tcpw_attempts_total{service="alphad",verdict="allowed",reason="rule"}"#, 3.0),
    (r#"tcpw_attempts_total{service="alphad",verdict="refused",reason="rule"}"#, 2.0),
    (r#"tcpw_attempts_total{service="betad",verdict="refused",reason="rule"}"#, 1.0),
    (r#"tcpw_rule_attempts_total{table="allow",line="1"}"#, 3.0),
    (r#"tcpw_rule_attempts_total{table="deny",line="2"}"#, 1.0),
    (r#"tcpw_rule_attempts_total{table="deny",line="3"}"#, 2.0),
];

fn are_counted(samples: &Samples) -> bool {
    COUNTS.iter().all(|(name, count)| samples.get(name) == Some(*count))
}

#[test]
fn numbers_are_those_of_the_clients() -> Result<()> {
    if !ready(&[]) {
        return Ok(());
    }
    let mut scene = Scene::start("numbers", &format!("listen = \"{LOOPBACK}\""))?;
    scene.clients()?;
    let samples = scene.wait_samples("the clients are counted", are_counted)?;
    // No other series of attempts, and the kernel's own count.
    ensure!(samples.sum("tcpw_attempts_total") == 6.0 && samples.sum("tcpw_rule_attempts_total") == 6.0);
    ensure!(samples.get("tcpw_refused_total") == Some(3.0), "{samples:?}");
    ensure!(samples.sum("tcpw_verdict_mismatch_total") == 0.0);
    ensure!(samples.get("tcpw_generation") == Some(1.0));
    ensure!(samples.get("tcpw_last_reload_success") == Some(1.0) && samples.get("tcpw_problem") == Some(0.0));

    // A bad edit, then a good one that moves a rule: its counter begins anew at another line.
    scene.sandbox.write_tables("alphad 1.2.3.\n", DENY)?;
    let is_bad = |samples: &Samples| samples.get("tcpw_last_reload_success") == Some(0.0);
    let samples = scene.wait_samples("the bad edit shows", is_bad)?;
    ensure!(samples.get("tcpw_problem") == Some(1.0) && are_counted(&samples), "{samples:?}");
    scene.tcpw.apply(&scene.sandbox, ALLOW, &format!("#\n{DENY}"))?;
    connect(scene.sandbox.client(), CLIENT_V4, (SERVER_V4, BETAD).into(), Duration::from_millis(300))?;
    let moved = r#"tcpw_rule_attempts_total{table="deny",line="3"}"#;
    let samples = scene.wait_samples("the rule at another line counts", |it| it.get(moved) == Some(3.0))?;
    ensure!(samples.get("tcpw_last_reload_success") == Some(1.0), "{samples:?}");
    Ok(())
}

/// Of many unproven attempts of a network only some have a line of their own.
#[test]
fn attempts_without_a_line_are_counted() -> Result<()> {
    if !ready(&[]) {
        return Ok(());
    }
    let sandbox = Sandbox::new("flood")?;
    sandbox.write_tables(ALLOW, DENY)?;
    let _alphad = Testd::start(&sandbox, "alphad", &format!("0.0.0.0:{ALPHAD}"))?;
    let config = sandbox.write_settings(&format!("[metrics]\nlisten = \"{LOOPBACK}\"\n"))?;
    let tcpw = Tcpw::start(&sandbox, &[FORGEABLE, "--config", &config])?;
    for _ in 0..40 {
        sandbox.client().run(|| knock(CLIENT_V4_OTHER, (SERVER_V4, ALPHAD).into()))?;
    }
    let samples = wait_samples(&sandbox, "40 are counted", |samples| {
        samples.get(r#"tcpw_attempts_total{service="alphad",verdict="refused",reason="rule"}"#) == Some(40.0)
    })?;
    ensure!(samples.get(r#"tcpw_rule_attempts_total{table="deny",line="3"}"#) == Some(40.0), "{samples:?}");
    ensure!(samples.get("tcpw_refused_total") == Some(40.0), "{samples:?}");
    let lines = tcpw.process.lines().iter().filter(|line| line.text.contains(" alphad[")).count();
    // Ten at once, ten more in each minute.
    ensure!((10..=14).contains(&lines), "{lines} lines");
    let counted = u32::try_from(40 - lines)?;
    ensure!(samples.get("tcpw_unproven_counted_total") == Some(counted.into()), "{samples:?}");
    Ok(())
}

/// The client's name stands in /etc/hosts; the first of two attempts is held for it, the second is not.
#[test]
fn hold_and_look_up_times_are_counted_once_each() -> Result<()> {
    if !ready(&[]) {
        return Ok(());
    }
    let sandbox = Sandbox::new("times")?;
    let hosts = sandbox.etc().join("hosts");
    let before = std::fs::read_to_string(&hosts)?;
    std::fs::write(&hosts, format!("{before}\n{CLIENT_V4} good.example.test\n"))?;
    sandbox.write_tables("alphad: .example.test\nbetad: 1.2.3.: rfc931 5\n", DENY)?;
    let _alphad = Testd::start(&sandbox, "alphad", &format!("0.0.0.0:{ALPHAD}"))?;
    let _betad = Testd::start(&sandbox, "betad", &format!("0.0.0.0:{BETAD}"))?;
    let config = sandbox.write_settings(&format!("[metrics]\nlisten = \"{LOOPBACK}\"\n"))?;
    let _tcpw = Tcpw::start(&sandbox, &["--config", &config])?;
    let mut took = Vec::new();
    for _ in 0..2 {
        let attempt = connect(sandbox.client(), CLIENT_V4, (SERVER_V4, ALPHAD).into(), SOON)?;
        ensure!(attempt.is_connected(), "{attempt:?}");
        took.push(attempt.took.as_secs_f64());
    }
    let samples = wait_samples(&sandbox, "both have passed", |it| it.get("tcpw_allowed_total") >= Some(2.0))?;
    for name in ["tcpw_hold_seconds", "tcpw_lookup_seconds"] {
        let [count, last] =
            ["_count", "_bucket{le=\"+Inf\"}"].map(|part| samples.get(&format!("{name}{part}")));
        let sum = samples.get(&format!("{name}_sum")).context("no sum")?;
        ensure!(count == Some(1.0) && last == Some(1.0), "{name}: {samples:?}");
        ensure!(sum > 0.0 && sum < took[0], "{name}: {sum} s of {} s", took[0]);
    }
    ensure!(samples.get("tcpw_user_wait_seconds_count") == Some(0.0), "{samples:?}");
    // Its data wait for an answer of its host, which has no ident server.
    let mut attempt = connect(sandbox.client(), CLIENT_V4, (SERVER_V4, BETAD).into(), SOON)?;
    ensure!(attempt.greeting(SOON) == "hello from betad", "{attempt:?}");
    let count = "tcpw_user_wait_seconds_count";
    let samples = wait_samples(&sandbox, "the wait is counted", |samples| samples.get(count) == Some(1.0))?;
    // Allowed attempts have no record without --log-allowed.
    ensure!(samples.sum("tcpw_attempts_total") == 0.0, "{samples:?}");
    Ok(())
}

#[test]
fn only_get_of_the_one_path_is_answered() -> Result<()> {
    if !ready(&[]) {
        return Ok(());
    }
    let scene = Scene::start("http", &format!("listen = \"{LOOPBACK}\""))?;
    scene.wait_samples("it is served", |_| true)?;
    for (request, status) in [
        ("GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n", 200),
        ("GET /metrics?x=1 HTTP/1.0\r\n\r\n", 200),
        ("GET / HTTP/1.1\r\nhost: x\r\n\r\n", 404),
        ("GET /metrics/ HTTP/1.1\r\nhost: x\r\n\r\n", 404),
        ("POST /metrics HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n", 405),
        ("HEAD /metrics HTTP/1.1\r\nhost: x\r\n\r\n", 405),
        ("nonsense\r\n\r\n", 400),
        (&format!("GET /metrics HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(20_000)), 431),
    ] {
        let answer = scrape(&scene.sandbox, request)?;
        ensure!(answer.status == status, "{request:.40}: {}", answer.status);
        let is_text = answer.head.contains("content-type: application/openmetrics-text; version=1.0.0");
        ensure!(is_text == (status == 200), "{}", answer.head);
        ensure!(answer.body.ends_with("# EOF\n") == (status == 200), "{}", answer.body);
    }
    Ok(())
}

/// 1,000 clients that send nothing, then 100 that send half a request.
#[test]
fn clients_that_say_nothing_stop_neither_scrapes_nor_the_loop() -> Result<()> {
    if !ready(&[]) {
        return Ok(());
    }
    tcpw_userspace::host::raise_file_limit();
    let scene = Scene::start("silent", &format!("listen = \"{LOOPBACK}\""))?;
    scene.wait_samples("it is served", |_| true)?;
    let mut silent = Vec::new();
    for number in 0..1100 {
        silent.push(scrape::open(&scene.sandbox, if number < 1000 { "" } else { "GET /metrics HT" })?);
        if number % 100 == 99 {
            let began = std::time::Instant::now();
            scrape(&scene.sandbox, "GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n")?;
            // Well under the 5 s after which a client that says nothing is dropped.
            ensure!(began.elapsed() < Duration::from_secs(3), "{number}: {:?}", began.elapsed());
        }
    }
    scene.clients()?;
    Tcpw::status(&scene.sandbox)?;
    scene.wait_samples("the clients are counted", are_counted)?;
    // No more than the bound of them are open: the others were dropped.
    let is_open = |stream: &std::net::TcpStream| {
        stream.set_nonblocking(true).is_ok()
            && stream.peek(&mut [0]).is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
    };
    let open = silent.iter().filter(|stream| is_open(stream)).count();
    ensure!(open <= 64, "{open} connections are open");
    Ok(())
}

/// tcpw in the guarded cgroup.
fn guarded(sandbox: &Sandbox, config: &str) -> Result<Process> {
    let mut command = std::process::Command::new(tcpw_binary()?);
    command.args([
        "run",
        "--state-dir",
        STATE_DIR,
        "--log",
        "stdout",
        "--trust-source-addresses",
        "--on-deny",
        "drop",
        "--config",
        config,
    ]);
    command.arg("--hosts-allow").arg(sandbox.hosts_allow()).arg("--hosts-deny").arg(sandbox.hosts_deny());
    command.arg("--cgroup").arg(sandbox.cgroup());
    sandbox.spawn(Place::Guarded, command)
}

#[test]
fn own_listener_is_judged_by_the_name_tcpw() -> Result<()> {
    if !ready(&[]) {
        return Ok(());
    }
    let sandbox = Sandbox::new("own")?;
    sandbox.write_tables("", "ALL: ALL\n")?;
    let config = sandbox.write_settings("[metrics]\nlisten = \"0.0.0.0:9798\"\n")?;
    let mut tcpw = guarded(&sandbox, &config)?;
    tcpw.wait_for_line("ready: ", LONG)?;
    ensure!(tcpw.tail().contains("metrics: whatever reaches 0.0.0.0:9798 can read them"), "{}", tcpw.tail());
    let row = Tcpw::wait_listener(&sandbox, 9798, |row| row["names"] == serde_json::json!(["tcpw"]))?;
    ensure!(row["proven_by"][0] == "root" && row["policy"] == "refuses all", "{row}");
    let server = SocketAddr::new(SERVER_V4, 9798);
    let connects =
        || Ok(connect(sandbox.client(), CLIENT_V4, server, Duration::from_millis(300))?.is_connected());
    ensure!(!connects()?, "refused by ALL: ALL");
    tcpw.wait_for_line("tcpw[", SOON)?;
    sandbox.write_tables("tcpw: 1.2.3.4\n", "ALL: ALL\n")?;
    wait_until("the rule for tcpw opens", SOON, connects)
}
