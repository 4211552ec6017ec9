//! Sinks: each gets every record, in its own form, whatever becomes of the others.

#[path = "sinks/full.rs"]
mod full;
#[path = "sinks/journal.rs"]
mod journal;
#[path = "sinks/json.rs"]
mod json;
#[path = "sinks/privacy.rs"]
mod privacy;
#[path = "sinks/schema.rs"]
mod schema;
#[path = "sinks/syslog.rs"]
mod syslog;

use std::{
    fs,
    net::{IpAddr, SocketAddr},
    path::Path,
    time::Duration,
};

use anyhow::{Context as _, Result};
use serde_json::Value;
use tcpw_tests::{Requirement, SERVER_V4, SERVER_V6, Sandbox, Tcpw, can_run, wait_until};

const SOON: Duration = Duration::from_secs(30);

/// Whether the tests can run that need no more than root.
fn ready() -> bool {
    can_run("sinks", &[Requirement::Root])
}

/// The lines of a file; none if it is not there.
fn lines(file: &Path) -> Vec<String> {
    fs::read_to_string(file).unwrap_or_default().lines().map(str::to_owned).collect()
}

fn wait_for_lines(file: &Path, count: usize) -> Result<()> {
    wait_until(&format!("{count} lines are in {}", file.display()), SOON, || Ok(lines(file).len() >= count))
        .with_context(|| lines(file).join("\n"))
}

/// The objects of a file, each line one.
fn objects(file: &Path) -> Result<Vec<Value>> {
    lines(file)
        .iter()
        .map(|line| serde_json::from_str(line).with_context(|| format!("no JSON: {line}")))
        .collect()
}

/// The counts of a sink: written, lost, waiting.
fn counts(sandbox: &Sandbox, target: &str) -> Result<[u64; 3]> {
    let status = Tcpw::status(sandbox)?;
    let sinks = status["log"]["sinks"].as_array().context("the status has sinks")?;
    let sink = sinks.iter().find(|sink| sink["target"] == target).with_context(|| format!("{sinks:?}"))?;
    let of = |name: &str| sink[name].as_u64().with_context(|| format!("{name} of {sink}"));
    Ok([of("written")?, of("lost")?, of("waiting")?])
}
