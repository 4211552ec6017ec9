//! A real systemd as the first process of a sandbox: it starts packages' units as they are.
//!
//! In: the packages of this machine. Out: their daemons, in cgroups below the guarded one, which are named and owned as
//! the system manager does it. Invariant: nothing of the host is changed: /var is an overlay, /etc and /run are the
//! sandbox's, and no unit runs but those that a test starts and what these need.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};

use crate::{
    process::Process,
    sandbox::{Place, Sandbox},
    tcpw::tcpw_binary,
    wait::{wait_for, wait_ready},
};

/// Where packages put units.
const UNITS: &str = "/usr/lib/systemd/system";
/// Longest start of a daemon: a database, on a busy machine.
const START: Duration = Duration::from_secs(90);

/// A running systemd; it and all that it started end with the sandbox.
#[derive(Debug)]
pub struct Systemd {
    /// As it is seen from outside.
    pid: u32,
    _process: Process,
}

impl Systemd {
    /// Its program: what a test that needs it requires.
    pub const PROGRAM: &'static str = "/usr/lib/systemd/systemd";

    /// Starts it with no unit but a target of its own.
    ///
    /// # Errors
    /// It is not installed, or does not come up.
    pub fn start(sandbox: &Sandbox) -> Result<Self> {
        mask(&sandbox.etc().join("systemd/system"))?;
        let var = sandbox.scratch().join("var");
        for directory in ["", "upper", "work"] {
            fs::create_dir(var.join(directory)).context("make directories for /var")?;
        }
        let inside = format!(
            "set -e
             mount -t proc proc /proc
             mount -t overlay -o lowerdir=/var,upperdir={var}/upper,workdir={var}/work overlay /var
             if ! [ -e /sys/fs/cgroup/cgroup.controllers ]; then umount -l /sys/fs/cgroup; fi
             mount -t cgroup2 cgroup2 /sys/fs/cgroup
             exec {program} --system --unit=tcpw-tests.target --show-status=no --log-target=null",
            var = var.display(),
            program = Self::PROGRAM,
        );
        let mut command = Command::new("unshare");
        command.args(["--pid", "--fork", "--kill-child", "--mount", "--propagation", "private"]);
        command.args(["--cgroup", "--ipc", "--uts", "bash", "-c", &inside]).env("container", "tcpw");
        let mut process = sandbox.spawn(Place::Guarded, command)?;
        let socket = sandbox.scratch().join("run/systemd/private");
        wait_ready(&mut process, "systemd takes orders", START, || Ok(socket.exists()))?;
        let children = format!("/proc/{0}/task/{0}/children", process.pid());
        let pid = wait_for("systemd runs", START, || {
            Ok(fs::read_to_string(&children)?.split_whitespace().next().and_then(|pid| pid.parse().ok()))
        })?;
        let systemd = Self { pid, _process: process };
        // As at a boot: directories of daemons.
        systemd.run(sandbox, &["systemd-tmpfiles", "--create", "--prefix=/run"])?;
        Ok(systemd)
    }

    /// Runs a command beside it, with its processes and files, to its end; what it printed.
    ///
    /// # Errors
    /// It fails.
    pub fn run(&self, sandbox: &Sandbox, command: &[&str]) -> Result<String> {
        let pid = self.pid.to_string();
        let mut inside = Command::new("nsenter");
        inside.args(["--target", &pid, "--pid", "--mount", "--cgroup", "--ipc", "--uts", "--"]).args(command);
        let done = sandbox.run(Place::Server, inside, START)?;
        Ok(done.lines().into_iter().map(|line| line.text + "\n").collect())
    }

    /// Starts a unit, and waits until it says that it is up.
    ///
    /// # Errors
    /// It does not start: with what systemd and the unit's processes say.
    pub fn start_unit(&self, sandbox: &Sandbox, unit: &str) -> Result<()> {
        let started = self.run(sandbox, &["systemctl", "start", unit]);
        if let Err(error) = started {
            let status = ["sh", "-c", "systemctl --no-pager --full status \"$0\" || true", unit];
            bail!("{unit} does not start: {error:#}\n{}", self.run(sandbox, &status)?);
        }
        Ok(())
    }

    /// A program that runs tcpw beside it, as on a host whose first process it is.
    ///
    /// # Errors
    /// tcpw is not built.
    pub fn tcpw(&self, sandbox: &Sandbox) -> Result<PathBuf> {
        let script = sandbox.scratch().join("tcpw-beside-systemd");
        // The cgroups stay as they are seen from outside: the sandbox's cgroup is named so.
        let text = format!(
            "#!/bin/sh\nexec nsenter --target {} --pid -- unshare --mount --propagation private -- \
             sh -c 'mount -t proc proc /proc && exec {} \"$@\"' tcpw \"$@\"\n",
            self.pid,
            tcpw_binary()?.display()
        );
        fs::write(&script, text).context("write a program that starts tcpw")?;
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).context("make it a program")?;
        Ok(script)
    }
}

/// Of the units that a boot would start none is left, and there is a target that starts none.
fn mask(units: &Path) -> Result<()> {
    let wants = |directory: &Path| -> Result<Vec<PathBuf>> {
        let entries = fs::read_dir(directory).with_context(|| format!("read {}", directory.display()))?;
        let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
        Ok(paths.filter(|path| path.extension().is_some_and(|kind| kind == "wants")).collect())
    };
    fs::create_dir_all(units).context("make a directory of units")?;
    for directory in wants(units)? {
        fs::remove_dir_all(&directory).with_context(|| format!("remove {}", directory.display()))?;
    }
    for directory in wants(Path::new(UNITS))? {
        for entry in fs::read_dir(&directory)?.flatten() {
            let mask = units.join(entry.file_name());
            // Targets order others, and do nothing by themselves.
            let is_target = mask.extension().is_some_and(|kind| kind == "target");
            if !is_target && fs::symlink_metadata(&mask).is_err() {
                symlink("/dev/null", &mask).with_context(|| format!("mask {}", mask.display()))?;
            }
        }
    }
    let target = "[Unit]\nDescription=Nothing\nDefaultDependencies=no\n";
    fs::write(units.join("tcpw-tests.target"), target).context("write a target")
}
