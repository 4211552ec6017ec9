//! `tcpw events` and `tcpw why`, of a daemon that real clients come to.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;
use tcpw_tests::{
    CLIENT_V4, CLIENT_V4_OTHER, CLIENT_V6, Process, Requirement, SERVER_V4, SERVER_V6, Sandbox, Tcpw, Testd,
    can_run, client::connect, wait_for,
};

const PORT: u16 = 7001;
const SOON: Duration = Duration::from_secs(20);
const PATIENCE: Duration = Duration::from_millis(900);

fn ready() -> bool {
    can_run("events", &[Requirement::Root])
}

/// A client's attempt.
fn comes(sandbox: &Sandbox, client: IpAddr) -> Result<()> {
    let server = if client.is_ipv4() { SERVER_V4 } else { SERVER_V6 };
    connect(sandbox.client(), client, SocketAddr::new(server, PORT), PATIENCE).map(drop)
}

/// What a command says, and its exit code.
fn command(sandbox: &Sandbox, arguments: &[&str]) -> Result<(Vec<String>, Option<i32>)> {
    let mut process = Tcpw::spawn_command(sandbox, arguments)?;
    let code = process.wait(SOON)?.code();
    Ok((process.lines().into_iter().map(|line| line.text).collect(), code))
}

fn records(sandbox: &Sandbox, more: &[&str]) -> Result<Vec<Value>> {
    let (lines, code) = command(sandbox, &[&["events", "--json"], more].concat())?;
    ensure!(code == Some(0), "{code:?}: {lines:?}");
    lines.iter().map(|line| serde_json::from_str(line).with_context(|| line.clone())).collect()
}

fn wait_records(sandbox: &Sandbox, count: usize) -> Result<Vec<Value>> {
    wait_for("the records are there", SOON, || {
        Ok(Some(records(sandbox, &[])?).filter(|all| all.len() == count))
    })
}

/// The line of a process that follows.
fn wait_line(process: &Process, part: &str) -> Result<String> {
    wait_for(&format!("a line with {part}"), SOON, || {
        Ok(process.lines().into_iter().map(|line| line.text).find(|line| line.contains(part)))
    })
}

#[test]
fn events_are_the_records_that_sinks_get() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = Sandbox::new("events")?;
    sandbox.write_tables("alphad: 1.2.3. 3ffe*\n", "ALL: ALL\n")?;
    let _alphad = Testd::start(&sandbox, "alphad", &format!("[::]:{PORT}"))?;
    let log = sandbox.scratch().join("records.json");
    let sink = format!("json:{}", log.display());
    let tcpw = Tcpw::start(&sandbox, &["--log", &sink, "--log", "stdout", "--log-allowed"])?;
    Tcpw::wait_listener(&sandbox, PORT, |_| true)?;
    assert_eq!(records(&sandbox, &[])?, Vec::<Value>::new());
    let followed = Tcpw::spawn_command(&sandbox, &["events", "--follow", "--daemon", "alphad"])?;

    comes(&sandbox, CLIENT_V4)?;
    comes(&sandbox, CLIENT_V4_OTHER)?;
    comes(&sandbox, CLIENT_V6)?;
    let all = wait_records(&sandbox, 3)?;
    let fates: Vec<&str> = all.iter().filter_map(|record| record["fate"].as_str()).collect();
    assert_eq!(fates, ["accepted", "refused", "accepted"]);
    let written = wait_for("the sink has them", SOON, || {
        let text = std::fs::read_to_string(&log)?;
        let lines: Result<Vec<Value>, _> = text.lines().map(serde_json::from_str).collect();
        Ok(lines.ok().filter(|lines| lines.len() == 3))
    })?;
    assert_eq!(all, written, "what a sink got and what the command shows");

    let refused = wait_line(&followed, " refused ")?;
    ensure!(
        refused.contains(" #2 refused alphad[") && refused.contains("hosts.deny:1: ALL: ALL"),
        "{refused}"
    );
    wait_line(&followed, " #3 accepted ")?;

    // Filters.
    let ids = |more: &[&str]| -> Result<Vec<u64>> {
        Ok(records(&sandbox, more)?.iter().filter_map(|record| record["id"].as_u64()).collect())
    };
    assert_eq!(ids(&["--fate", "refused"])?, [2]);
    assert_eq!(ids(&["--fate", "refused", "--fate", "accepted"])?, [1, 2, 3]);
    assert_eq!(ids(&["--client", "1.2.0.0/16"])?, [1, 2]);
    assert_eq!(ids(&["--client", &CLIENT_V6.to_string()])?, [3]);
    assert_eq!(ids(&["--daemon", "ALPHAD", "-n", "1"])?, [3]);
    assert_eq!(ids(&["--daemon", "betad"])?, [0; 0]);

    // A daemon that is started anew counts from 1, and who follows goes on.
    // It asks the new daemon only once that has a record.
    followed.signal(Signal::SIGSTOP)?;
    drop(tcpw);
    let _again = Tcpw::start(&sandbox, &["--log-allowed"])?;
    Tcpw::wait_listener(&sandbox, PORT, |_| true)?;
    comes(&sandbox, CLIENT_V4_OTHER)?;
    wait_records(&sandbox, 1)?;
    followed.signal(Signal::SIGCONT)?;
    wait_line(&followed, " #1 refused alphad[")?;
    let (gone, code) = command(&sandbox, &["events", "--run-dir", "/run/nowhere"])?;
    assert_eq!(code, Some(1), "{gone:?}");
    ensure!(gone.iter().any(|line| line.contains("no daemon is running")), "{gone:?}");
    Ok(())
}

#[test]
fn why_tells_what_decided() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = Sandbox::new("why")?;
    sandbox.write_tables("alphad: 1.2.3.\n", "ALL: ALL\n")?;
    let _alphad = Testd::start(&sandbox, "alphad", &format!("0.0.0.0:{PORT}"))?;
    let _tcpw = Tcpw::start(&sandbox, &[])?;
    Tcpw::wait_listener(&sandbox, PORT, |_| true)?;
    comes(&sandbox, CLIENT_V4)?;
    comes(&sandbox, CLIENT_V4_OTHER)?;
    wait_records(&sandbox, 1)?;

    let other = CLIENT_V4_OTHER.to_string();
    let (by_client, code) = command(&sandbox, &["why", &other])?;
    assert_eq!(code, Some(0), "{by_client:?}");
    let text = by_client.join("\n");
    for part in [
        "#1 refused: alphad[".into(),
        format!("] from {other}:"),
        "rule:       ".into(),
        "hosts.deny:1: ALL: ALL".into(),
        "reason:     rule".into(),
        "names:      alphad".into(),
        format!("listener:   tcp {SERVER_V4}:{PORT}"),
        "policy:     generation 1".into(),
    ] {
        ensure!(text.contains(&part), "{part:?} is not in\n{text}");
    }
    let (by_id, code) = command(&sandbox, &["why", "#1"])?;
    assert_eq!((by_id, code), (by_client, Some(0)));

    let (nothing, code) = command(&sandbox, &["why", "203.0.113.9"])?;
    assert_eq!(code, Some(1));
    ensure!(nothing[0].starts_with("no record of 203.0.113.9 among the last 1: "), "{nothing:?}");
    let (wrong, code) = command(&sandbox, &["why", "sshd"])?;
    assert_eq!(code, Some(2));
    ensure!(wrong[0].starts_with("tcpw: error: \"sshd\": write an address or a network"), "{wrong:?}");
    Ok(())
}
