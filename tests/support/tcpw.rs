//! The tcpw binary under test, started in a sandbox.

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;

use crate::{
    process::{Line, Process},
    sandbox::{Place, Sandbox},
    wait::{wait_for, wait_until},
};

/// Longest start: loading and verifying the programs on a busy or an emulated machine.
const START: Duration = Duration::from_secs(90);

/// Where the daemons of a sandbox keep what outlives a reboot.
pub const STATE_DIR: &str = "/run/tcpw-state";

/// Among the arguments of a start: lines are as if source addresses may be forged. It is not handed to tcpw.
pub const FORGEABLE: &str = "forgeable";

/// Among the arguments of a start: nothing is attached outside of the guarded cgroup.
pub const BELOW_ONLY: &str = "below-only";

/// A running `tcpw run`.
#[derive(Debug)]
pub struct Tcpw {
    /// Its process: lines, signals, end.
    pub process: Process,
    /// From the start of the process to enforcement.
    pub start_time: Duration,
}

impl Tcpw {
    /// Starts `tcpw run` with the sandbox's tables and cgroup, logging to its own output, and
    /// waits until it enforces.
    ///
    /// # Errors
    /// It ends or says nothing: with its last lines.
    pub fn start(sandbox: &Sandbox, more: &[&str]) -> Result<Self> {
        Self::start_with(&tcpw_binary()?, sandbox, more)
    }

    /// The same of another program than the one under test.
    ///
    /// # Errors
    /// It ends or says nothing: with its last lines.
    pub fn start_with(program: &Path, sandbox: &Sandbox, more: &[&str]) -> Result<Self> {
        let started = Instant::now();
        let mut process = spawn(program, sandbox, more)?;
        let ready = process.wait_for_line("ready: ", START)?;
        Ok(Self { process, start_time: ready.at - started })
    }

    /// As [`Self::start`], but waits for nothing.
    ///
    /// # Errors
    /// It is not built.
    pub fn spawn(sandbox: &Sandbox, more: &[&str]) -> Result<Process> {
        spawn(&tcpw_binary()?, sandbox, more)
    }

    /// `tcpw run --config FILE` and nothing else; waits for nothing.
    ///
    /// # Errors
    /// It is not built.
    pub fn spawn_with_config(sandbox: &Sandbox, config: &Path) -> Result<Process> {
        let mut run = Command::new(tcpw_binary()?);
        run.args(["run", "--state-dir", STATE_DIR, "--config"]).arg(config);
        sandbox.spawn(Place::Server, run)
    }

    /// The process that the starter has started with this subcommand.
    ///
    /// # Errors
    /// There is none in time.
    pub fn helper_of(&self, subcommand: &str) -> Result<u32> {
        wait_for(&format!("a process of {subcommand}"), START, || {
            for starter in children(self.process.pid())? {
                for child in children(starter)? {
                    let words = fs::read(format!("/proc/{child}/cmdline")).unwrap_or_default();
                    if words.split(|byte| *byte == 0).any(|word| word == subcommand.as_bytes()) {
                        return Ok(Some(child));
                    }
                }
            }
            Ok(None)
        })
    }

    /// Waits until a policy that was not in force at the mark is.
    ///
    /// # Errors
    /// None is applied in time.
    pub fn wait_applied(&mut self, mark: usize) -> Result<Line> {
        self.process.wait_for_line_after(mark, "applied", Duration::from_secs(10))
    }

    /// Replaces both tables as one edit, and waits until it is in force.
    ///
    /// # Errors
    /// The tables cannot be written, or are not applied in time.
    pub fn apply(&mut self, sandbox: &Sandbox, allow: &str, deny: &str) -> Result<Line> {
        let mark = self.process.mark();
        // It reads neither before both are written.
        self.process.signal(Signal::SIGSTOP)?;
        let written = sandbox.write_tables(allow, deny);
        self.process.signal(Signal::SIGCONT)?;
        written?;
        self.wait_applied(mark)
    }

    /// The kernel's counters by name.
    ///
    /// # Errors
    /// Nothing is enforced.
    pub fn counters(sandbox: &Sandbox) -> Result<BTreeMap<String, u64>> {
        counters(sandbox)
    }

    /// Waits until a counter has a value.
    ///
    /// # Errors
    /// It has another one after `time`: with all counters.
    pub fn wait_counter(sandbox: &Sandbox, name: &str, value: u64, time: Duration) -> Result<()> {
        let mut last = BTreeMap::new();
        wait_until(&format!("{name} is {value}"), time, || {
            last = counters(sandbox)?;
            Ok(last.get(name) == Some(&value))
        })
        .with_context(|| format!("{last:?}"))
    }

    /// Waits until counters are as a test expects, and returns them.
    ///
    /// # Errors
    /// They are not after `time`: with all counters.
    pub fn wait_counters(
        sandbox: &Sandbox,
        what: &str,
        time: Duration,
        is_so: impl Fn(&BTreeMap<String, u64>) -> bool,
    ) -> Result<BTreeMap<String, u64>> {
        let mut last = BTreeMap::new();
        wait_until(what, time, || {
            last = counters(sandbox)?;
            Ok(is_so(&last))
        })
        .with_context(|| format!("{last:?}"))?;
        Ok(last)
    }

    /// What `tcpw status --json` says of a running daemon.
    ///
    /// # Errors
    /// None runs.
    pub fn status(sandbox: &Sandbox) -> Result<serde_json::Value> {
        let (status, _code) = Self::status_and_code(sandbox)?;
        if status["running"] != true {
            bail!("no daemon runs: {status}");
        }
        Ok(status)
    }

    /// What `tcpw status --json` says, and its exit code.
    ///
    /// # Errors
    /// It says nothing.
    pub fn status_and_code(sandbox: &Sandbox) -> Result<(serde_json::Value, i32)> {
        let mut command = Self::spawn_command(sandbox, &["status", "--json"])?;
        let code = command.wait(START)?.code().context("it was killed")?;
        let text: String = command.lines().into_iter().map(|line| line.text).collect();
        Ok((serde_json::from_str(&text).with_context(|| format!("read the status: {text}"))?, code))
    }

    /// Waits until the listener at a port has its tag from what user space found, and is as a test expects.
    /// Returns its row of the status.
    ///
    /// # Errors
    /// It is not in time.
    pub fn wait_listener(
        sandbox: &Sandbox,
        port: u16,
        is_so: impl Fn(&serde_json::Value) -> bool,
    ) -> Result<serde_json::Value> {
        let end = format!(":{port}");
        let is_it = |row: &&serde_json::Value| {
            row["local"].as_str().is_some_and(|local| local.ends_with(&end))
                && row["tag"] == "written"
                && is_so(row)
        };
        wait_for(&format!("the listener at port {port} is known"), Duration::from_secs(20), || {
            let status = Self::status(sandbox)?;
            Ok(status["listeners"].as_array().and_then(|rows| rows.iter().find(is_it).cloned()))
        })
        .with_context(|| format!("{:?}", Self::status(sandbox)))
    }

    /// The same, of a gate without a daemon.
    ///
    /// # Errors
    /// Nothing is pinned.
    pub fn counters_of_pins(sandbox: &Sandbox) -> Result<BTreeMap<String, u64>> {
        serde_json::from_value(Self::status_of_pins(sandbox)?["counters"].clone())
            .context("read the counters")
    }

    /// What `tcpw status --json` says of a gate without a daemon.
    ///
    /// # Errors
    /// Nothing is pinned.
    pub fn status_of_pins(sandbox: &Sandbox) -> Result<serde_json::Value> {
        let (status, _code) = Self::status_and_code(sandbox)?;
        if status["pinned"].is_null() {
            bail!("nothing is pinned: {status}");
        }
        Ok(status["pinned"].clone())
    }

    /// `tcpw COMMAND` beside it; waits for nothing.
    ///
    /// # Errors
    /// It is not built.
    pub fn spawn_command(sandbox: &Sandbox, arguments: &[&str]) -> Result<Process> {
        let mut command = Command::new(tcpw_binary()?);
        command.args(arguments);
        sandbox.spawn(Place::Server, command)
    }

    /// `tcpw COMMAND` beside it, to its end.
    ///
    /// # Errors
    /// It fails or does not end.
    pub fn command(sandbox: &Sandbox, arguments: &[&str]) -> Result<Vec<Line>> {
        let mut command = Command::new(tcpw_binary()?);
        command.args(arguments);
        Ok(sandbox.run(Place::Server, command, START)?.lines())
    }
}

fn spawn(program: &Path, sandbox: &Sandbox, more: &[&str]) -> Result<Process> {
    let mut run = Command::new(program);
    run.arg("run")
        .arg("--hosts-allow")
        .arg(sandbox.hosts_allow())
        .arg("--hosts-deny")
        .arg(sandbox.hosts_deny())
        .arg("--cgroup")
        .arg(sandbox.cgroup());
    if !more.contains(&"--state-dir") {
        run.args(["--state-dir", STATE_DIR]);
    }
    if !more.contains(&"--log") {
        run.args(["--log", "stdout"]);
    }
    // The gate is the authority: it has to be right alone, and a reset is what nobody listening looks like.
    if !more.contains(&"--on-deny") {
        run.args(["--on-deny", "drop"]);
    }
    // Lines as libwrap's. What tcpw writes of sources that may be forged is tested with "close", and where it is asked for.
    if !more.contains(&"close") && !more.contains(&FORGEABLE) {
        run.arg("--trust-source-addresses");
    }
    if !more.contains(&BELOW_ONLY) {
        run.arg("--watch-udp-binds");
    }
    let more = more.iter().filter(|argument| ![FORGEABLE, BELOW_ONLY].contains(*argument));
    run.args(more);
    sandbox.spawn(Place::Server, run)
}

/// The child processes of a process. Source: proc_pid_children(5).
///
/// # Errors
/// A thread ends while they are read.
pub fn children(pid: u32) -> Result<Vec<u32>> {
    let mut all = Vec::new();
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return Ok(all) };
    for task in tasks {
        let text = fs::read_to_string(task?.path().join("children")).unwrap_or_default();
        all.extend(text.split_whitespace().filter_map(|word| word.parse::<u32>().ok()));
    }
    Ok(all)
}

/// A field of /proc/PID/status, of a process or task by its directory. Source: proc_pid_status(5).
///
/// # Errors
/// It is gone, or has no such field.
pub fn status_of(process: &Path, field: &str) -> Result<String> {
    let text = fs::read_to_string(process.join("status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(":\t"));
    Ok(line.with_context(|| format!("no {field} in {}", process.display()))?.to_owned())
}

/// The counters of a running or pinned gate, by name: `tcpw status --json`.
///
/// # Errors
/// Nothing is enforced, or the answer has no counters.
fn counters(sandbox: &Sandbox) -> Result<BTreeMap<String, u64>> {
    let status = Tcpw::status(sandbox)?;
    serde_json::from_value(status["counters"].clone()).context("read the counters")
}

/// The binary: `TCPW_BIN`, else the one in the target directory of the running program.
///
/// # Errors
/// It is not built.
pub fn tcpw_binary() -> Result<PathBuf> {
    if let Some(named) = env::var_os("TCPW_BIN") {
        return Ok(named.into());
    }
    beside("tcpw")
}

/// A tcpw whose maps have another layout: `TCPW_OTHER_LAYOUT`, else the one of the target directory.
///
/// # Errors
/// It is not built.
pub fn other_layout_binary() -> Result<PathBuf> {
    if let Some(named) = env::var_os("TCPW_OTHER_LAYOUT") {
        return Ok(named.into());
    }
    beside("../other-layout/tcpw").context("the other layout is built by: cargo xtask test --test upgrade")
}

/// A program in the target directory of the running one.
///
/// # Errors
/// It is not built.
pub(crate) fn beside(program: &str) -> Result<PathBuf> {
    let own = env::current_exe().context("find the running program")?;
    let beside = own.ancestors().skip(1).take(2).map(|directory| directory.join(program));
    match beside.into_iter().find(|file| file.is_file()) {
        Some(file) => Ok(file),
        None => bail!("{program} is not built: cargo xtask build --debug"),
    }
}
