//! The stored bans: a file in the directory of what is kept over a reboot.
//!
//! In: changes, in their order. Out: they are in the file, and the orders behind them are answered. Invariant: an order is
//! answered once its changes are on the disk, or could not be written, which the answer says. The file is replaced as a
//! whole or lengthened: what is read of it is what was in force at some moment.

use std::{
    fs::File,
    io::{self, Read as _, Write as _},
    os::fd::{AsFd as _, OwnedFd},
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, Sender, channel},
    thread::{self, JoinHandle},
};

use anyhow::{Context as _, Result, ensure};
use nix::{
    fcntl::{OFlag, openat, renameat},
    sys::stat::Mode,
};

use crate::{
    bans::journal::{self, Line, Stored},
    control::{BanResult, Reply, Response},
    host::{NotOwn, make_own_dir, open_own_dir},
};

/// Name of the file.
const FILE: &str = "bans";

/// Name of the file that is to replace it.
const NEW_FILE: &str = "bans.new";

/// The file is written anew when it has more than twice the lines it needs, and this many more.
const MORE_LINES: usize = 10_000;

/// Orders that are written together at most.
const TOGETHER: usize = 64;

/// Reads the stored bans; there are none if there is no file.
///
/// # Errors
/// It cannot be read, or another user may have written it.
pub(in crate::daemon) fn read(state_dir: &Path) -> Result<Stored> {
    match open_own_dir(state_dir) {
        Ok(dir) => read_in(&dir).with_context(|| format!("read {}", state_dir.join(FILE).display())),
        Err(error) if error.is_missing() => Ok(Stored::default()),
        Err(error) => Err(error).context("the bans that are stored"),
    }
}

fn read_in(dir: &OwnedFd) -> Result<Stored> {
    let mut file = match open(dir, FILE, OFlag::O_RDONLY) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Stored::default()),
        opened => opened?,
    };
    ensure!(file.metadata()?.is_file(), "it is no file");
    let mut text = Vec::new();
    file.read_to_end(&mut text)?;
    Ok(journal::read(&text))
}

fn open(dir: &OwnedFd, name: &str, flags: OFlag) -> io::Result<File> {
    let flags = flags | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    Ok(File::from(openat(dir.as_fd(), name, flags, Mode::from_bits_truncate(0o600))?))
}

struct Order {
    lines: Vec<Line>,
    reply: Option<(BanResult, Reply)>,
}

/// The thread that stores.
pub(super) struct BanStore {
    orders: Sender<Order>,
    thread: JoinHandle<()>,
}

impl BanStore {
    /// Starts it; `stored` is what the file holds.
    pub(super) fn start(state_dir: PathBuf, stored: &StoredSize) -> Result<Self> {
        let (orders, queue) = channel();
        let (lines, is_torn) = (stored.lines, stored.is_torn);
        let mut keeper = Keeper { state_dir, file: None, lines, needed: lines, is_torn, is_failing: false };
        let work = move || keeper.work(&queue);
        let thread = thread::Builder::new().name("bans".into()).spawn(work);
        Ok(Self { orders, thread: thread.context("start the thread that stores bans")? })
    }

    /// Stores changes, then answers.
    pub(super) fn store(&self, lines: Vec<Line>, reply: Option<(BanResult, Reply)>) {
        if let Err(error) = self.orders.send(Order { lines, reply })
            && let Some((result, reply)) = error.0.reply
        {
            let not_stored = Some("the thread that stores bans has ended".into());
            reply.send(Response::Banned(BanResult { not_stored, ..result }));
        }
    }

    /// Waits for what is to be stored.
    pub(super) fn close(self) {
        drop(self.orders);
        if self.thread.join().is_err() {
            log::error!("the thread that stores bans ended early");
        }
    }
}

/// What is known of the file at the start.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::daemon) struct StoredSize {
    lines: usize,
    is_torn: bool,
}

impl From<&Stored> for StoredSize {
    fn from(stored: &Stored) -> Self {
        Self { lines: stored.lines.len(), is_torn: !stored.wrong.is_empty() }
    }
}

struct Keeper {
    state_dir: PathBuf,
    file: Option<File>,
    /// Lines in the file; those that it needed when that was last known.
    lines: usize,
    needed: usize,
    /// The last line of the file may not be whole.
    is_torn: bool,
    is_failing: bool,
}

impl Keeper {
    fn work(&mut self, queue: &Receiver<Order>) {
        while let Ok(first) = queue.recv() {
            let mut orders = vec![first];
            while orders.len() < TOGETHER
                && let Ok(next) = queue.try_recv()
            {
                orders.push(next);
            }
            let written = self.write(orders.iter().flat_map(|order| &order.lines));
            self.is_torn |= written.is_err();
            let not_stored = written.err().map(|error| format!("{error:#}"));
            match &not_stored {
                Some(reason) if !self.is_failing => log::error!("bans are not stored: {reason}"),
                Some(_) | None => {}
            }
            self.is_failing = not_stored.is_some();
            for (result, reply) in orders.into_iter().filter_map(|order| order.reply) {
                reply.send(Response::Banned(BanResult { not_stored: not_stored.clone(), ..result }));
            }
        }
    }

    fn write<'a>(&mut self, lines: impl Iterator<Item = &'a Line>) -> Result<()> {
        let (mut text, mut count) = (String::new(), 0);
        for line in lines {
            text.push_str(&line.text());
            count += 1;
        }
        if self.is_torn || self.lines > self.needed.saturating_mul(2).saturating_add(MORE_LINES) {
            self.write_anew()?;
        }
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(self.open().context("open the file of the stored bans")?),
        };
        file.write_all(text.as_bytes()).context("write the stored bans")?;
        file.sync_data().context("write the stored bans to the disk")?;
        self.lines += count;
        Ok(())
    }

    fn open(&self) -> Result<File> {
        let dir = self.dir()?;
        let file = open(&dir, FILE, OFlag::O_WRONLY | OFlag::O_APPEND | OFlag::O_CREAT)?;
        // Its name is on the disk before what is in it.
        File::from(dir).sync_all()?;
        Ok(file)
    }

    fn dir(&self) -> Result<OwnedFd, NotOwn> {
        make_own_dir(&self.state_dir)
    }

    /// Leaves out the lines that do not matter any more.
    fn write_anew(&mut self) -> Result<()> {
        let dir = self.dir()?;
        let kept = journal::replay(read_in(&dir)?.lines);
        let text: String = kept.iter().map(Line::text).collect();
        let mut file = open(&dir, NEW_FILE, OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_TRUNC)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        renameat(dir.as_fd(), NEW_FILE, dir.as_fd(), FILE)?;
        self.file = None;
        (self.lines, self.needed, self.is_torn) = (kept.len(), kept.len(), false);
        File::from(dir).sync_all().context("write the directory of the stored bans to the disk")
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::bans::{BanEntry, BanFacts, BanOf};

    fn ban(network: &str) -> Line {
        let facts = BanFacts { since: 1, until: None, reason: String::new(), by: "root".into() };
        Line::Ban(BanEntry { of: BanOf::new(network.parse().unwrap(), None), facts })
    }

    fn keeper(state_dir: &Path) -> Keeper {
        let size = StoredSize::from(&read(state_dir).unwrap());
        Keeper {
            state_dir: state_dir.into(),
            file: None,
            lines: size.lines,
            needed: size.lines,
            is_torn: size.is_torn,
            is_failing: false,
        }
    }

    #[test]
    fn file_is_lengthened_mended_and_written_anew() {
        let dir = std::env::temp_dir().join(format!("tcpw-ban-store-{}", std::process::id()));
        assert_eq!(read(&dir).unwrap(), Stored::default());
        let mut first = keeper(&dir);
        first.write([ban("192.0.2.1/32"), ban("192.0.2.2/32")].iter()).unwrap();
        first.write([Line::Unban(BanOf::new("192.0.2.1/32".parse().unwrap(), None))].iter()).unwrap();
        assert_eq!(read(&dir).unwrap().lines.len(), 3);
        // A write was interrupted: what was whole is kept, and what follows is not joined to the rest.
        let file = dir.join(FILE);
        let mut text = fs::read_to_string(&file).unwrap();
        text.push_str("{\"ban\":{\"netw");
        fs::write(&file, text).unwrap();
        let mut second = keeper(&dir);
        assert!(second.is_torn);
        second.write([ban("192.0.2.3/32")].iter()).unwrap();
        let whole = Stored { lines: vec![ban("192.0.2.2/32"), ban("192.0.2.3/32")], wrong: Vec::new() };
        assert_eq!(read(&dir).unwrap(), whole);
        // Many changes of a few bans.
        second.lines = 2 * second.needed + MORE_LINES + 1;
        second.write([ban("192.0.2.3/32")].iter()).unwrap();
        assert_eq!((second.needed, second.lines), (2, 3));
        assert_eq!(journal::replay(read(&dir).unwrap().lines), whole.lines);
        fs::remove_dir_all(&dir).unwrap();
    }
}
