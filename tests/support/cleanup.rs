//! What must not outlive the process, removed also on Ctrl-C, SIGTERM and SIGHUP.
//!
//! Namespaces and their mounts go with their last process. Two things would stay: the
//! cgroup (and with it the processes) and the scratch directory. Both carry the process id
//! in their names, so a later sandbox can sweep those of a process that was killed.

use std::{
    env, fs,
    io::{PipeWriter, Read},
    os::fd::{AsRawFd, IntoRawFd},
    path::{Path, PathBuf},
    process,
    sync::{
        Mutex, Once, PoisonError,
        atomic::{AtomicI32, Ordering},
    },
    thread,
};

use anyhow::{Context, Result};
use nix::{
    libc,
    sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction},
};

use crate::cgroup;

const PREFIX: &str = "tcpw-";

static OPEN: Mutex<Vec<Leftover>> = Mutex::new(Vec::new());
static SIGNALS: AtomicI32 = AtomicI32::new(-1);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Leftover {
    pub(crate) cgroup: PathBuf,
    pub(crate) scratch: PathBuf,
}

impl Leftover {
    fn remove(&self) {
        // Best effort: each part whatever became of the other.
        drop(cgroup::remove(&self.cgroup));
        drop(fs::remove_dir_all(&self.scratch));
    }
}

/// The name of a sandbox of this process.
pub(crate) fn unique(name: &str) -> String {
    format!("{PREFIX}{name}-{}", process::id())
}

/// From now on the leftover is removed if a signal ends the process.
pub(crate) fn register(leftover: &Leftover) -> Result<()> {
    watch_signals()?;
    OPEN.lock().unwrap_or_else(PoisonError::into_inner).push(leftover.clone());
    Ok(())
}

/// Removes a registered leftover.
pub(crate) fn remove(leftover: &Leftover) {
    leftover.remove();
    OPEN.lock().unwrap_or_else(PoisonError::into_inner).retain(|open| open != leftover);
}

/// Removes what processes that no longer exist left behind.
pub(crate) fn sweep(cgroup_root: &Path) {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        for path in abandoned(cgroup_root) {
            drop(cgroup::remove(&path));
        }
        for path in abandoned(&env::temp_dir()) {
            drop(fs::remove_dir_all(path));
        }
    });
}

/// Directories named `tcpw-NAME-PID` whose process is gone.
fn abandoned(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let is_abandoned = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_prefix(PREFIX));
        let pid =
            name.and_then(|name| name.rsplit_once('-')).and_then(|(_name, pid)| pid.parse::<u32>().ok());
        pid.is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists()) && path.is_dir()
    };
    entries.flatten().map(|entry| entry.path()).filter(is_abandoned).collect()
}

fn watch_signals() -> Result<()> {
    static STARTED: Mutex<bool> = Mutex::new(false);
    let mut started = STARTED.lock().unwrap_or_else(PoisonError::into_inner);
    if *started {
        return Ok(());
    }
    let (mut reader, writer) = std::io::pipe().context("make a pipe for signals")?;
    keep_open(writer);
    let action = SigAction::new(SigHandler::Handler(note), SaFlags::SA_RESTART, SigSet::empty());
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        // SAFETY: the handler only loads an atomic and calls write(2), both allowed in a handler.
        unsafe { sigaction(signal, &action) }.with_context(|| format!("handle {signal}"))?;
    }
    thread::spawn(move || {
        let mut signal = [0];
        if reader.read_exact(&mut signal).is_ok() {
            let open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
            open.iter().for_each(Leftover::remove);
            process::exit(128 + i32::from(signal[0]));
        }
    });
    *started = true;
    Ok(())
}

fn keep_open(writer: PipeWriter) {
    SIGNALS.store(writer.as_raw_fd(), Ordering::Relaxed);
    let _for_the_life_of_the_process = writer.into_raw_fd();
}

extern "C" fn note(signal: libc::c_int) {
    let number = signal.to_le_bytes();
    // SAFETY: writes one byte of a live array to a descriptor that is never closed.
    unsafe { libc::write(SIGNALS.load(Ordering::Relaxed), number.as_ptr().cast(), 1) };
}
