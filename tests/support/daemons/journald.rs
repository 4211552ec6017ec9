//! systemd's journald behind the sandbox's /run/systemd/journal, without systemd.

use std::{fs, os::unix::net::UnixDatagram, path::PathBuf, process::Command, time::Duration};

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::{
    process::Process,
    sandbox::{Place, Sandbox},
    wait::{wait_for, wait_ready, wait_until},
};

const SOON: Duration = Duration::from_secs(30);

/// The id of the sandbox as a machine: it names the directory of the journal.
const MACHINE: &str = "0123456789abcdef0123456789abcdef";

/// A running systemd-journald; its journal outlives it.
#[derive(Debug)]
pub struct Journald {
    /// Its process.
    pub process: Process,
}

impl Journald {
    /// Its program: what a test that needs it requires.
    pub const PROGRAM: &'static str = "/usr/lib/systemd/systemd-journald";

    /// Where its journal is, as the sandbox sees it.
    pub fn directory() -> PathBuf {
        PathBuf::from("/run/log/journal").join(MACHINE)
    }

    /// Starts it; its socket takes entries when this returns.
    ///
    /// # Errors
    /// It is not installed or does not make its socket.
    pub fn start(sandbox: &Sandbox) -> Result<Self> {
        let etc = sandbox.etc();
        fs::write(etc.join("machine-id"), format!("{MACHINE}\n")).context("write machine-id")?;
        fs::create_dir_all(etc.join("systemd")).context("make /etc/systemd")?;
        let settings = "[Journal]\nStorage=volatile\nRateLimitIntervalSec=0\nReadKMsg=no\nAudit=no\n";
        fs::write(etc.join("systemd/journald.conf"), settings).context("write journald.conf")?;
        fs::create_dir_all(sandbox.scratch().join("run/systemd/journal")).context("make its directory")?;
        let mut process = sandbox.spawn(Place::Server, Command::new(Self::PROGRAM))?;
        let socket = sandbox.scratch().join("run/systemd/journal/socket");
        // The socket of one that was killed is still there.
        wait_ready(&mut process, "journald listens", SOON, || {
            Ok(UnixDatagram::unbound()?.connect(&socket).is_ok())
        })?;
        Ok(Self { process })
    }

    /// Kills it, and waits until its socket takes nothing.
    ///
    /// # Errors
    /// It does not end.
    pub fn kill(mut self, sandbox: &Sandbox) -> Result<()> {
        self.process.signal(Signal::SIGKILL)?;
        self.process.wait(SOON)?;
        let socket = sandbox.scratch().join("run/systemd/journal/socket");
        wait_until("its socket is dead", SOON, || Ok(UnixDatagram::unbound()?.connect(&socket).is_err()))
    }

    /// Waits until the journal has so many entries of tcpw, and returns them, in their order.
    ///
    /// # Errors
    /// It has fewer: with what journalctl says.
    pub fn wait_for_entries(sandbox: &Sandbox, count: usize) -> Result<Vec<Value>> {
        let mut last = Vec::new();
        wait_for(&format!("{count} entries are in the journal"), SOON, || {
            last = entries(sandbox)?;
            Ok((last.len() >= count).then_some(()))
        })
        .with_context(|| format!("{} are: {last:?}", last.len()))?;
        Ok(last)
    }
}

fn entries(sandbox: &Sandbox) -> Result<Vec<Value>> {
    let mut journalctl = Command::new("journalctl");
    journalctl.arg("--directory").arg(Journald::directory()).args([
        "--output",
        "json",
        "--all",
        "_COMM=tcpw",
    ]);
    let text = sandbox.mounts().run(|| journalctl.output().context("start journalctl"))?;
    let lines = String::from_utf8_lossy(&text.stdout).into_owned();
    lines.lines().map(|line| serde_json::from_str(line).with_context(|| line.to_owned())).collect()
}
