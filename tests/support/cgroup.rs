//! A cgroup2 of the sandbox's own: what is started in it dies with it.

use std::{
    fs,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

/// Held by the test that has moved the process.
static MOVES: Mutex<()> = Mutex::new(());

const REMOVAL: Duration = Duration::from_secs(5);

/// A cgroup2; dropping it kills its processes and removes it.
#[derive(Debug)]
pub struct Cgroup {
    path: PathBuf,
}

impl Cgroup {
    /// Makes a cgroup of that name below the root of the cgroup2 hierarchy.
    ///
    /// # Errors
    /// Not root, no cgroup2, or the name is taken.
    pub fn new(name: &str) -> Result<Self> {
        Self::make(cgroup2_root()?.join(name))
    }

    /// Makes a child of this cgroup, which lives as long as its parent.
    ///
    /// # Errors
    /// The name is taken, or the cgroup is gone.
    pub fn child(&self, name: &str) -> Result<PathBuf> {
        let path = self.path.join(name);
        fs::create_dir(&path).with_context(|| format!("make cgroup {}", path.display()))?;
        Ok(path)
    }

    /// Runs `work` below this cgroup: sockets it makes stay there. The whole process is moved, by one test at a time.
    ///
    /// # Errors
    /// The cgroup cannot be entered or left, or `work` fails.
    pub fn run<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let _alone = MOVES.lock().unwrap_or_else(PoisonError::into_inner);
        let pid = std::process::id().to_string();
        let own = fs::read_to_string("/proc/self/cgroup").context("read the own cgroup")?;
        let own = own.lines().find_map(|line| line.strip_prefix("0::/")).context("no own cgroup2")?;
        let root = self.path.parent().context("the cgroup has no parent")?;
        fs::write(self.path.join("cgroup.procs"), &pid).context("enter the cgroup")?;
        let done = work();
        fs::write(root.join(own).join("cgroup.procs"), &pid).context("leave the cgroup")?;
        done
    }

    /// Its directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn make(path: PathBuf) -> Result<Self> {
        fs::create_dir(&path).with_context(|| format!("make cgroup {}", path.display()))?;
        Ok(Self { path })
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // Nothing can be done about a failure here; the next sandbox sweeps.
        drop(remove(&self.path));
    }
}

/// The mount point of cgroup2, also where it is mounted beside cgroup v1.
///
/// # Errors
/// There is none.
pub fn cgroup2_root() -> Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").context("read /proc/self/mountinfo")?;
    let mounted = mounts.lines().find_map(|line| {
        // Source: proc(5): fields before " - ": ID, parent, device, root, mount point; after: type.
        let (before, after) = line.split_once(" - ")?;
        (after.split(' ').next() == Some("cgroup2")).then(|| before.split(' ').nth(4))?
    });
    match mounted {
        Some(path) => Ok(PathBuf::from(path)),
        None => bail!("no cgroup2 is mounted: mount -t cgroup2 none /sys/fs/cgroup"),
    }
}

/// Kills all that runs in a cgroup and below, then removes it and its children.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    let deadline = Instant::now() + REMOVAL;
    loop {
        kill(path)?;
        match remove_tree(path) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) if Instant::now() > deadline => return Err(error),
            Err(_busy) => thread::sleep(Duration::from_millis(5)),
        }
    }
}

fn kill(path: &Path) -> io::Result<()> {
    // Since Linux 5.14; it reaches the cgroups below too.
    match fs::write(path.join("cgroup.kill"), "1") {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn remove_tree(path: &Path) -> io::Result<()> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    fs::remove_dir(path)
}
