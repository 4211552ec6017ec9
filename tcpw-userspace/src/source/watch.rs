//! Says when a text may have changed.
//!
//! In: paths. Out: [`Watch::changed`] returns after each burst of changes to the files they
//! name. Invariant: no change is missed for longer than [`POLL`]; a false alarm is allowed.
//!
//! inotify watches every directory in which a name of a path is looked up, and the file
//! itself: so in-place writes are seen through other hard links and bind mounts too.
//! Changes of mounts and on network file systems, or without free watches, are found by polling.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    ffi::OsString,
    io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use inotify::{EventMask, Inotify, WatchDescriptor, WatchMask};
use tokio::{
    io::unix::AsyncFd,
    time::{Interval, MissedTickBehavior},
};

use super::{Fingerprint, Source, links, paths};
use crate::parse::text::Texts;

/// How often the files are polled.
const POLL: Duration = Duration::from_secs(2);

/// A burst of changes ends when nothing happened for this long.
const BURST_GAP: Duration = Duration::from_millis(5);

/// A burst that does not end is reported after this long.
const BURST_MAX: Duration = Duration::from_millis(100);

/// Watches files, existing or not.
pub struct Watch {
    paths: BTreeSet<PathBuf>,
    prints: BTreeMap<PathBuf, Fingerprint>,
    /// `None`: no inotify instance is available, the files are only polled.
    inotify: Option<AsyncFd<Inotify>>,
    directories: HashMap<WatchDescriptor, HashSet<OsString>>,
    files: HashSet<WatchDescriptor>,
    poll: Interval,
    /// Since when a change waits to be reported.
    pending: Option<Instant>,
    warned: bool,
}

impl Watch {
    /// Watches nothing yet. To be called within a tokio runtime.
    pub fn new() -> Self {
        let inotify = Inotify::init().and_then(|inotify| {
            // SAFETY: the instance owns its descriptor until it is dropped, and names no other.
            unsafe { AsyncFd::register(inotify) }.map_err(io::Error::from)
        });
        if let Err(error) = &inotify {
            log::warn!("inotify: {error}: edits are noticed within {} s, not at once", POLL.as_secs());
        }
        let mut poll = tokio::time::interval(POLL);
        poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            paths: BTreeSet::new(),
            prints: BTreeMap::new(),
            warned: inotify.is_err(),
            inotify: inotify.ok(),
            directories: HashMap::new(),
            files: HashSet::new(),
            poll,
            pending: None,
        }
    }

    /// Watches `paths`, and nothing else from now on.
    ///
    /// Returns whether one of them was not watched before: a change of it before this
    /// call went unseen, so read once more.
    pub fn watch(&mut self, paths: BTreeSet<PathBuf>) -> bool {
        let fresh = !paths.is_subset(&self.paths);
        if paths != self.paths {
            // A known path keeps its print: it may have changed since it was read.
            self.prints.retain(|path, _| paths.contains(path));
            for path in paths.difference(&self.paths) {
                self.prints.insert(path.clone(), Fingerprint::of(path));
            }
            self.paths = paths;
            self.arm();
        }
        fresh
    }

    /// Returns after a change; what is read from now on is at least as new.
    ///
    /// Cancel safe: a change that was noticed but not yet returned is returned next time.
    pub async fn changed(&mut self) {
        let begin = loop {
            if let Some(begin) = self.pending {
                break begin;
            }
            if self.next().await {
                self.pending = Some(Instant::now());
            }
        };
        while begin.elapsed() < BURST_MAX && tokio::time::timeout(BURST_GAP, self.next()).await.is_ok() {}
        // Before the watches: a change meanwhile makes the next poll differ.
        self.prints = self.paths.iter().map(|path| (path.clone(), Fingerprint::of(path))).collect();
        self.arm();
        self.pending = None;
    }

    /// Waits for inotify or the next poll; returns whether a watched file may have changed.
    async fn next(&mut self) -> bool {
        let Some(inotify) = &mut self.inotify else {
            self.poll.tick().await;
            return self.prints_differ();
        };
        tokio::select! {
            guard = inotify.readable_mut() => {
                let Ok(mut guard) = guard else { return true };
                let mut buffer = [0; 16 << 10];
                let events = guard.try_io(|inotify| inotify.get_mut().read_events(&mut buffer));
                match events {
                    Ok(Ok(events)) => {
                        let (directories, files) = (&self.directories, &self.files);
                        // All of them are looked at: a lazy `any` would leave the rest unread.
                        events.filter(|event| concerns(event, directories, files)).count() > 0
                    }
                    Ok(Err(_)) => true,
                    Err(_would_block) => false,
                }
            }
            _ = self.poll.tick() => self.prints_differ(),
        }
    }

    fn prints_differ(&self) -> bool {
        self.prints.iter().any(|(path, print)| Fingerprint::of(path) != *print)
    }

    /// Sets the watches for the paths as they resolve now.
    fn arm(&mut self) {
        let Some(inotify) = &self.inotify else { return };
        let mut watches = inotify.get_ref().watches();
        let mut directories: HashMap<WatchDescriptor, HashSet<OsString>> = HashMap::new();
        let mut files = HashSet::new();
        let mut failed = None;
        let mut add = |path: &Path, mask: WatchMask| match watches.add(path, mask) {
            Ok(descriptor) => Some(descriptor),
            Err(error) => {
                // If the file is gone meanwhile, the watch of its directory reports it.
                if error.kind() != io::ErrorKind::NotFound {
                    failed = Some((path.to_path_buf(), error));
                }
                None
            }
        };
        let names = WatchMask::CREATE
            | WatchMask::DELETE
            | WatchMask::MOVE
            | WatchMask::DELETE_SELF
            | WatchMask::MOVE_SELF
            | WatchMask::ONLYDIR;
        let content = WatchMask::MODIFY | WatchMask::CLOSE_WRITE | WatchMask::ATTRIB | WatchMask::DELETE_SELF;
        for path in &self.paths {
            let resolved = links::resolve(path, |directory| {
                add(directory, names);
            });
            for (directory, name) in resolved.entries {
                if let Some(descriptor) = add(&directory, names) {
                    directories.entry(descriptor).or_default().insert(name);
                }
            }
            if let Some(file) = resolved.file
                && !file.is_dir()
                && let Some(descriptor) = add(&file, content)
            {
                files.insert(descriptor);
            }
        }
        let known = self.directories.keys().chain(&self.files);
        for descriptor in known.filter(|it| !directories.contains_key(it) && !files.contains(it)) {
            // Fails if the kernel removed it first, with the file.
            let _ = watches.remove(descriptor.clone());
        }
        self.directories = directories;
        self.files = files;
        if let Some((path, error)) = failed
            && !self.warned
        {
            self.warned = true;
            log::warn!(
                "cannot watch {}: {error}: edits are noticed within {} s, not at once",
                path.display(),
                POLL.as_secs()
            );
        }
    }
}

impl Default for Watch {
    fn default() -> Self {
        Self::new()
    }
}

/// Whether an event is about a watched name, not another one in the same directory.
fn concerns(
    event: &inotify::Event<&std::ffi::OsStr>,
    directories: &HashMap<WatchDescriptor, HashSet<OsString>>,
    files: &HashSet<WatchDescriptor>,
) -> bool {
    if event.mask.contains(EventMask::Q_OVERFLOW) || files.contains(&event.wd) {
        return true;
    }
    let Some(names) = directories.get(&event.wd) else { return false };
    event.name.is_none_or(|name| names.contains(name))
}

/// Reads, and watches all that was read: nothing is missed between the two.
///
/// Blocks as [`Source::read`] does.
pub fn follow(source: &Source, watch: &mut Watch, more: impl Fn(&Texts) -> BTreeSet<PathBuf>) -> Texts {
    loop {
        let texts = source.read(&more);
        if !watch.watch(paths(&texts)) {
            return texts;
        }
    }
}
