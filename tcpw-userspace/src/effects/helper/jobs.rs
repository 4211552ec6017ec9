//! The commands that run, each in a session of its own.
//!
//! In: orders. Out: processes, and how they end.
//! Invariant: a command lasts as long as its process group has a member; after its time the
//! group gets SIGTERM, and [`GRACE`] later SIGKILL.

use std::{
    collections::HashMap,
    ffi::OsStr,
    io,
    os::{
        fd::OwnedFd,
        unix::{ffi::OsStrExt as _, process::CommandExt as _},
    },
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    sys::{
        signal::{Signal, kill, killpg},
        stat::{Mode, umask},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::{Pid, getpid, setsid},
};

use super::{
    super::wire::{Order, Report},
    serve,
};

/// Time from SIGTERM to SIGKILL.
const GRACE: Duration = Duration::from_secs(2);

/// The environment variables of a command, in addition to those of `setenv`.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The commands that run, by the process id of their shell.
pub(super) struct Jobs {
    running: HashMap<Pid, Job>,
    time_limit: Duration,
    user: String,
    /// Since when there are processes that left their command's group, while no command runs.
    strays_since: Option<Instant>,
}

struct Job {
    id: u64,
    deadline: Instant,
    /// How many signals it got.
    signals: u8,
    has_exited: bool,
}

impl Jobs {
    pub(super) fn new(time_limit: Duration, user: String) -> Self {
        Self { running: HashMap::new(), time_limit, user, strays_since: None }
    }

    /// Whether no process is left.
    pub(super) fn is_idle(&self) -> bool {
        self.running.is_empty() && self.strays_since.is_none()
    }

    /// Starts a command; reports why if it does not start.
    /// A command for a connection gets that connection.
    pub(super) fn start(&mut self, order: &Order, connection: Option<OwnedFd>) -> Option<Report> {
        let started = match (&order.connection, connection) {
            (None, _) => spawn(order, &self.user),
            (Some(what), Some(connection)) => serve::start(order, what, connection, &self.user),
            (Some(_), None) => Err(io::Error::other("its connection is gone")),
        };
        match started {
            Ok(pid) => {
                let deadline = Instant::now() + self.time_limit;
                self.running.insert(pid, Job { id: order.id, deadline, signals: 0, has_exited: false });
                None
            }
            Err(error) => Some(Report::NotStarted { id: order.id, reason: crate::host::reason(&error) }),
        }
    }

    /// Collects processes that ended, signals those that exceed their time.
    pub(super) fn look(&mut self, now: Instant) -> Vec<Report> {
        let mut reports = Vec::new();
        // Orphaned processes are children of the helper.
        let mut has_children = false;
        loop {
            match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, status)) => {
                    // The kernel keeps eight bits of it.
                    self.exited(pid, u8::try_from(status).ok(), 0, &mut reports);
                }
                Ok(WaitStatus::Signaled(pid, signal, _)) => {
                    self.exited(pid, None, signal as i32, &mut reports);
                }
                Ok(WaitStatus::StillAlive) => {
                    has_children = true;
                    break;
                }
                Ok(_) | Err(Errno::EINTR) => {}
                Err(_) => break,
            }
        }
        self.running.retain(|group, job| {
            if job.has_exited && killpg(*group, None) == Err(Errno::ESRCH) {
                reports.push(Report::Ended { id: job.id, timed_out: job.signals > 0 });
                return false;
            }
            if job.deadline <= now {
                let signal = if job.signals == 0 { Signal::SIGTERM } else { Signal::SIGKILL };
                let _gone = killpg(*group, signal);
                job.signals = job.signals.saturating_add(1);
                job.deadline = now + GRACE;
            }
            true
        });
        self.sweep(has_children, now);
        reports
    }

    /// Processes that left their group have the same time limit, from when no command runs. Only the first process
    /// of a pid namespace can tell them from unrelated processes.
    fn sweep(&mut self, has_children: bool, now: Instant) {
        if !has_children || !self.running.is_empty() || getpid().as_raw() != 1 {
            self.strays_since = None;
        } else if now.duration_since(*self.strays_since.get_or_insert(now)) > self.time_limit {
            let _gone = kill(Pid::from_raw(-1), Signal::SIGKILL);
        }
    }

    /// Ends every command at once.
    pub(super) fn kill_all(&mut self) {
        for group in self.running.keys() {
            let _gone = killpg(*group, Signal::SIGKILL);
        }
        self.running.clear();
    }

    fn exited(&mut self, pid: Pid, status: Option<u8>, signal: i32, reports: &mut Vec<Report>) {
        if let Some(job) = self.running.get_mut(&pid) {
            job.has_exited = true;
            // The result of a command that was killed here is not its own.
            if job.signals > 0 {
                return;
            }
            let pid = pid.as_raw().unsigned_abs();
            reports.push(Report::Exited { id: job.id, status, pid, signal });
        }
    }
}

fn spawn(order: &Order, user: &str) -> io::Result<Pid> {
    let mut command = command(order, user, true);
    // A child that is dropped without wait(2) is collected by `look`.
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    Ok(Pid::from_raw(child.id().cast_signed()))
}

/// The command of an order with its environment; it `leads` a session of its own, or stays in its parent's.
pub(super) fn command(order: &Order, user: &str, leads: bool) -> Command {
    let text = OsStr::from_bytes;
    let mut command = Command::new("/bin/sh");
    command
        .arg("-c")
        .arg(text(&order.command))
        .current_dir("/")
        .env_clear()
        .env("PATH", PATH)
        .env("HOME", "/")
        .env("SHELL", "/bin/sh")
        .env("USER", user)
        .env("LOGNAME", user)
        .envs(order.environment.iter().map(|(name, value)| (text(name), text(value))));
    let mask = Mode::from_bits_truncate(order.umask);
    let nice = order.nice;
    let prepare = move || {
        if leads {
            setsid()?;
        }
        umask(mask);
        // Only root may lower the nice value: that fails, as in any daemon without root.
        // SAFETY: takes an integer.
        unsafe { libc::nice(nice) };
        Ok(())
    };
    // SAFETY: between fork and exec it makes three system calls; no allocation, no lock.
    unsafe { command.pre_exec(prepare) };
    command
}
