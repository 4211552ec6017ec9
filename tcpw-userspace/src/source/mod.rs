//! Reads and watches hosts.allow, hosts.deny and the pattern files they name.
//!
//! In: two paths, and a callback that returns the pattern files a text names (which only the parser
//! knows). Out: [`Texts`] of one moment; [`Watch`] says when to read again.
//! Invariant: as far as a reader can detect it, no text is used while it is only partly written: it was read
//! twice with a pause between, and was the same.

mod file;
mod links;
mod watch;

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

pub use watch::{Watch, follow};

use crate::parse::text::{FileText, Texts};
use file::ReadFile;

/// One file as it is, in bounded time and memory.
pub(crate) fn read_file(path: &Path) -> FileText {
    file::read(path).text
}

/// How long the files must stay the same. An editor that truncates and rewrites
/// is done within it; an administrator does not notice it.
pub const QUIET: Duration = Duration::from_millis(50);

/// How long a read waits for files that change all the time.
pub const PATIENCE: Duration = Duration::from_secs(1);

/// Where the texts come from.
#[derive(Clone, Debug)]
pub struct Source {
    allow: Arc<PathBuf>,
    deny: Arc<PathBuf>,
}

impl Source {
    /// The two tables.
    pub fn new(allow: PathBuf, deny: PathBuf) -> Self {
        Self { allow: Arc::new(allow), deny: Arc::new(deny) }
    }

    /// Reads both tables and all pattern files as they were at one moment.
    ///
    /// `more` names the pattern files of the texts it is given. Blocks for [`QUIET`],
    /// or up to about [`PATIENCE`] while a process keeps writing or has one open for writing; files that never settle
    /// are then taken as they were last seen together, and a warning is logged.
    pub fn read(&self, more: impl Fn(&Texts) -> BTreeSet<PathBuf>) -> Texts {
        let begin = Instant::now();
        let mut seen_together = None;
        loop {
            // Half a text is not worth what `more` takes.
            if begin.elapsed() < PATIENCE
                && [&self.allow, &self.deny].iter().any(|path| file::is_being_written(path))
            {
                std::thread::sleep(QUIET / 10);
                continue;
            }
            let snapshot = self.snapshot(&more);
            if snapshot.still_holds() {
                std::thread::sleep(QUIET.saturating_sub(snapshot.read_at.elapsed()));
                if snapshot.still_holds() {
                    // An edit in place begins with an empty file, which is a whole one.
                    if !snapshot.has_writer() || begin.elapsed() >= PATIENCE {
                        return snapshot.texts;
                    }
                    continue;
                }
                seen_together = Some(snapshot);
            } else if begin.elapsed() < PATIENCE {
                std::thread::sleep(QUIET / 10);
                continue;
            } else {
                seen_together.get_or_insert(snapshot);
            }
            if begin.elapsed() >= PATIENCE
                && let Some(snapshot) = seen_together
            {
                log::warn!(
                    "{}, {} or a file they name keeps changing: read as it was at one moment",
                    self.allow.display(),
                    self.deny.display()
                );
                return snapshot.texts;
            }
        }
    }

    /// As [`Self::read`], with what was made of the texts: `more` names the pattern files of it.
    pub fn read_as<T>(
        &self,
        make: impl Fn(&Texts) -> T,
        more: impl Fn(&T) -> BTreeSet<PathBuf>,
    ) -> (Texts, T) {
        let last = RefCell::new(None);
        let texts = self.read(|texts| {
            let made = make(texts);
            let named = more(&made);
            last.replace(Some((texts.clone(), made)));
            named
        });
        let made = last.into_inner().filter(|(of, _)| *of == texts).map(|(_, made)| made);
        let made = made.unwrap_or_else(|| make(&texts));
        (texts, made)
    }

    /// One pass over all files: tables first, then what they name, then what that names.
    fn snapshot(&self, more: &impl Fn(&Texts) -> BTreeSet<PathBuf>) -> Snapshot {
        let allow = file::read(&self.allow);
        let deny = file::read(&self.deny);
        let mut snapshot = Snapshot {
            read_at: Instant::now(),
            texts: Texts {
                allow: (self.allow.clone(), allow.text.clone()),
                deny: (self.deny.clone(), deny.text.clone()),
                files: BTreeMap::new(),
            },
            found: vec![(self.allow.to_path_buf(), allow), (self.deny.to_path_buf(), deny)],
        };
        loop {
            let named = more(&snapshot.texts);
            let before = snapshot.found.len();
            for path in named {
                if !snapshot.texts.files.contains_key(&path) {
                    let found = file::read(&path);
                    snapshot.read_at = Instant::now();
                    snapshot.texts.files.insert(path.clone(), found.text.clone());
                    snapshot.found.push((path, found));
                }
            }
            if snapshot.found.len() == before {
                return snapshot;
            }
        }
    }
}

/// What one pass found.
struct Snapshot {
    /// When the last file was read.
    read_at: Instant,
    texts: Texts,
    found: Vec<(PathBuf, ReadFile)>,
}

impl Snapshot {
    /// Whether a process had one of the files open for writing.
    fn has_writer(&self) -> bool {
        self.found.iter().any(|(_, found)| found.has_writer)
    }

    /// Whether reading every file again gives the same.
    ///
    /// If so, all of them had these contents at once: between the two passes.
    fn still_holds(&self) -> bool {
        self.found.iter().all(|(path, found)| found.still_holds(path))
    }
}

/// All paths of a read: what to watch.
pub fn paths(texts: &Texts) -> BTreeSet<PathBuf> {
    [&texts.allow.0, &texts.deny.0]
        .into_iter()
        .map(|path| path.to_path_buf())
        .chain(texts.files.keys().cloned())
        .collect()
}

/// The result of stat(2) on a path: it changes whenever the file does, within the resolution of the file
/// system's time stamps.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Fingerprint {
    /// Device, inode, size, and modification and change time in nanoseconds.
    File { device: u64, inode: u64, size: u64, modified_ns: i128, changed_ns: i128 },
    /// A directory: reads as nothing, whatever happens in it.
    Directory,
    /// It cannot be opened.
    Error(Option<i32>),
}

impl Fingerprint {
    fn of(path: &Path) -> Self {
        match std::fs::metadata(path) {
            Ok(metadata) => Self::from(&metadata),
            Err(error) => Self::Error(error.raw_os_error()),
        }
    }
}

impl From<&std::fs::Metadata> for Fingerprint {
    fn from(metadata: &std::fs::Metadata) -> Self {
        use std::os::unix::fs::MetadataExt;
        if metadata.is_dir() {
            return Self::Directory;
        }
        let nanoseconds = |s: i64, ns: i64| i128::from(s) * 1_000_000_000 + i128::from(ns);
        Self::File {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified_ns: nanoseconds(metadata.mtime(), metadata.mtime_nsec()),
            changed_ns: nanoseconds(metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}
