//! Debian's Prometheus, promtool and node_exporter.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use tcpw_tests::{Place, Process, Sandbox, wait_until};

use super::{COUNTS, LOOPBACK, SOON, Samples, Scene, are_counted, ready, scrape::ask};

const PROMETHEUS: &str = "127.0.0.1:9090";
const NODE_EXPORTER: &str = "127.0.0.1:9100";

const SETTINGS: &str = r#"
global: { scrape_interval: 1s, scrape_timeout: 1s }
scrape_configs:
- { job_name: tcpw, static_configs: [{ targets: ["127.0.0.1:9798"] }] }
"#;

fn start_prometheus(sandbox: &Sandbox) -> Result<Process> {
    let scratch = sandbox.scratch();
    let settings = scratch.join("prometheus.yml");
    fs::write(&settings, SETTINGS)?;
    let mut command = Command::new("/usr/bin/prometheus");
    command.arg(format!("--config.file={}", settings.display()));
    command.arg(format!("--storage.tsdb.path={}", scratch.join("prometheus").display()));
    command.arg(format!("--web.listen-address={PROMETHEUS}"));
    sandbox.spawn(Place::Server, command)
}

/// What Prometheus says of a series now: labels (without its own) and value.
fn query(sandbox: &Sandbox, series: &str) -> Result<Option<f64>> {
    let encode = |byte: u8| format!("%{byte:02x}");
    let series: String = series.bytes().map(encode).collect();
    let request =
        format!("GET /api/v1/query?query={series} HTTP/1.0\r\nhost: x\r\naccept-encoding: identity\r\n\r\n");
    let Ok(answer) = ask(sandbox, PROMETHEUS, &request) else { return Ok(None) };
    if answer.status == 503 {
        // It is starting.
        return Ok(None);
    }
    ensure!(answer.status == 200, "{}: {}", answer.status, answer.body);
    let value: serde_json::Value = serde_json::from_str(&answer.body).context("an answer of Prometheus")?;
    let found = value["data"]["result"].as_array().context("no result")?;
    ensure!(found.len() <= 1, "{value}");
    Ok(found.first().and_then(|one| one["value"][1].as_str()?.parse().ok()))
}

#[test]
fn prometheus_scrapes_the_numbers_of_the_clients() -> Result<()> {
    if !ready(&["/usr/bin/prometheus"]) {
        return Ok(());
    }
    let scene = Scene::start("prometheus", &format!("listen = \"{LOOPBACK}\""))?;
    scene.clients()?;
    let mut prometheus = start_prometheus(&scene.sandbox)?;
    for (series, count) in COUNTS {
        wait_until(&format!("{series} is {count}"), 3 * SOON, || {
            ensure!(prometheus.is_running(), "{}", prometheus.tail());
            Ok(query(&scene.sandbox, series)? == Some(count))
        })
        .with_context(|| format!("{:?}\n{}", query(&scene.sandbox, "up"), prometheus.tail()))?;
    }
    ensure!(query(&scene.sandbox, "up{job=\"tcpw\"}")? == Some(1.0));
    ensure!(query(&scene.sandbox, "sum(tcpw_verdict_mismatch_total)")? == Some(0.0));
    // It has read the kinds, for which it asks with the form of OpenMetrics.
    let metadata = ask(
        &scene.sandbox,
        PROMETHEUS,
        "GET /api/v1/metadata?metric=tcpw_hold_seconds HTTP/1.0\r\nhost: x\r\n\r\n",
    )?;
    let kind: serde_json::Value = serde_json::from_str(&metadata.body)?;
    let kind = &kind["data"]["tcpw_hold_seconds"][0];
    ensure!(kind["type"] == "histogram" && kind["unit"] == "seconds", "{kind}");
    Ok(())
}

#[test]
fn node_exporter_reads_the_file_and_promtool_finds_no_fault() -> Result<()> {
    if !ready(&["/usr/bin/promtool", "/usr/bin/prometheus-node-exporter"]) {
        return Ok(());
    }
    // The server has its own /run; the sandbox knows it under another name.
    let settings = format!("listen = \"{LOOPBACK}\"\ntextfile = \"/run/tcpw.prom\"");
    let mut scene = Scene::start("textfile", &settings)?;
    let directory = scene.sandbox.scratch().join("run");
    let file = directory.join("tcpw.prom");
    scene.clients()?;
    let served = scene.wait_samples("the clients are counted", are_counted)?;
    // The next writing comes within 15 s.
    wait_until("the file has the clients", 2 * SOON, || {
        Ok(are_counted(&Samples::read(&fs::read_to_string(&file)?)?))
    })?;
    let text = fs::read_to_string(&file)?;
    let written = Samples::read(&text)?;
    let names = |samples: &Samples| samples.names().iter().map(|it| (*it).to_owned()).collect::<Vec<_>>();
    ensure!(names(&written) == names(&served), "{text}");
    ensure!(fs::metadata(&file)?.permissions().mode() & 0o7777 == 0o644);
    ensure!(!directory.join(".tcpw.prom.new").exists(), "the new file was not renamed");

    let checked = promtool(&["check", "metrics"], Stdio::from(fs::File::open(&file)?))?;
    ensure!(checked.is_empty(), "promtool: {checked}");

    let mut command = Command::new("/usr/bin/prometheus-node-exporter");
    command.args(["--collector.disable-defaults", "--collector.textfile"]);
    command.arg(format!("--collector.textfile.directory={}", directory.display()));
    command.arg(format!("--web.listen-address={NODE_EXPORTER}"));
    let mut node_exporter = scene.sandbox.spawn(Place::Server, command)?;
    wait_until("node_exporter has the numbers", SOON, || {
        ensure!(node_exporter.is_running(), "{}", node_exporter.tail());
        let request = "GET /metrics HTTP/1.0\r\nhost: x\r\n\r\n";
        let Ok(answer) = ask(&scene.sandbox, NODE_EXPORTER, request) else { return Ok(false) };
        // It sorts labels by name.
        let sorted = r#"tcpw_attempts_total{reason="rule",service="alphad",verdict="allowed"} 3"#;
        let is_typed = answer.body.contains("# TYPE tcpw_attempts_total counter\n");
        let is_fine = answer.body.contains("node_textfile_scrape_error 0\n");
        Ok(answer.body.contains(sorted) && is_typed && is_fine)
    })
    .with_context(|| node_exporter.tail())?;

    scene.tcpw.process.terminate(SOON)?;
    ensure!(!file.exists(), "the file outlives the daemon");
    Ok(())
}

/// The directory may become another user's, or the file a link.
#[test]
fn file_is_written_only_where_no_other_user_can_lead_it() -> Result<()> {
    if !ready(&[]) {
        return Ok(());
    }
    let sandbox = Sandbox::new("lead")?;
    sandbox.write_tables("", "")?;
    let (open, victim) = (sandbox.scratch().join("open"), sandbox.scratch().join("victim"));
    fs::create_dir(&open)?;
    fs::set_permissions(&open, fs::Permissions::from_mode(0o777))?;
    fs::create_dir(&victim)?;
    std::os::unix::fs::symlink("victim", sandbox.scratch().join("link"))?;
    for (directory, word) in [("open", "other users can write"), ("link", "is not written")] {
        let file = sandbox.scratch().join(directory).join("tcpw.prom");
        let config = sandbox.write_settings(&format!("[metrics]\ntextfile = \"{}\"\n", file.display()))?;
        let mut tcpw = tcpw_tests::Tcpw::start(&sandbox, &["--config", &config])?;
        tcpw.process.wait_for_line(word, SOON)?;
        tcpw.process.terminate(SOON)?;
        ensure!(!file.exists(), "{directory}");
    }
    // The file itself is replaced, not followed.
    fs::write(sandbox.scratch().join("secret"), "untouched")?;
    std::os::unix::fs::symlink("../secret", victim.join("tcpw.prom"))?;
    let file = victim.join("tcpw.prom");
    let config = sandbox.write_settings(&format!("[metrics]\ntextfile = \"{}\"\n", file.display()))?;
    let _tcpw = tcpw_tests::Tcpw::start(&sandbox, &["--config", &config])?;
    wait_until("it is a file", SOON, || Ok(fs::symlink_metadata(&file)?.is_file()))?;
    ensure!(fs::read_to_string(sandbox.scratch().join("secret"))? == "untouched");
    Ok(())
}

/// What promtool says; an error if it fails.
pub(crate) fn promtool(arguments: &[&str], input: Stdio) -> Result<String> {
    let done = Command::new("/usr/bin/promtool").args(arguments).stdin(input).output()?;
    let said = [done.stdout, done.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    ensure!(done.status.success(), "promtool {arguments:?}: {said}");
    Ok(said.trim().to_owned())
}
