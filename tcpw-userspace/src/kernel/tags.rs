//! Tags of listeners, and the process names that provisional tags are made from.

use std::{
    collections::{HashMap as Entries, HashSet},
    os::fd::{AsRawFd, BorrowedFd},
    sync::Arc,
};

use anyhow::{Context as _, Result};
use aya::{
    Ebpf,
    maps::{Array, HashMap, MapData, SkStorage},
};
use tcpw_common::{
    key::{Comm, NamesId},
    tag::{ALL_MARKED, BOUND_BEFORE, PROVISIONAL, REDIRECT_LISTENER, SOME_MISSED, SOME_UNMARKED, Tag},
};

use super::{maps::open, users::found};

/// The tables of tags.
pub struct Tags {
    tags: SkStorage<MapData, Tag>,
    reader: TagReader,
    by_cookie: HashMap<MapData, u64, Tag>,
    unmarked: Array<MapData, u32>,
    holders: HashMap<MapData, u32, u32>,
    comms: HashMap<MapData, Comm, NamesId>,
    /// What is in `comms`.
    known_comms: Entries<Comm, NamesId>,
}

/// Reads tags, in any thread.
#[derive(Clone)]
pub struct TagReader(Arc<ReadTags>);

struct ReadTags {
    tags: SkStorage<MapData, Tag>,
    by_cookie: HashMap<MapData, u64, Tag>,
}

/// SkStorage takes a descriptor by `AsRawFd`.
struct Socket<'a>(BorrowedFd<'a>);

impl AsRawFd for Socket<'_> {
    fn as_raw_fd(&self) -> i32 {
        self.0.as_raw_fd()
    }
}

impl TagReader {
    /// Reads a listening socket's tag: the one it carries, else that of its cookie; `None` if it has none.
    ///
    /// # Errors
    /// The socket is gone.
    pub fn read(&self, socket: BorrowedFd<'_>, cookie: u64) -> Result<Option<Tag>> {
        if let Some(tag) = self.carried(socket)? {
            return Ok(Some(tag));
        }
        found(self.0.by_cookie.get(&cookie, 0)).context("read the tag of a listener's cookie")
    }

    fn carried(&self, socket: BorrowedFd<'_>) -> Result<Option<Tag>> {
        found(self.0.tags.get(&Socket(socket), 0)).context("read a listener's tag")
    }
}

impl Tags {
    pub(super) fn open(ebpf: &Ebpf) -> Result<Self> {
        let comms: HashMap<MapData, Comm, NamesId> = open(ebpf, "COMMS")?;
        let known_comms = comms.iter().collect::<Result<_, _>>().context("read the process names")?;
        Ok(Self {
            tags: open(ebpf, "TAGS")?,
            reader: TagReader(Arc::new(ReadTags {
                tags: open(ebpf, "TAGS")?,
                by_cookie: open(ebpf, "LISTENERS")?,
            })),
            by_cookie: open(ebpf, "LISTENERS")?,
            unmarked: open(ebpf, "UNMARKED")?,
            holders: open(ebpf, "HOLDERS")?,
            comms,
            known_comms,
        })
    }

    /// Marks a socket as a redirect listener, before it listens: what is redirected to it is not judged.
    ///
    /// # Errors
    /// The kernel refuses the write.
    pub fn mark_redirect_listener(&mut self, socket: BorrowedFd<'_>, netns: u64) -> Result<()> {
        self.write(socket, Tag { names: 0, netns, pid: std::process::id(), flags: REDIRECT_LISTENER })
    }

    /// For threads that read tags.
    #[must_use]
    pub fn reader(&self) -> TagReader {
        self.reader.clone()
    }

    /// As [`TagReader::read`].
    ///
    /// # Errors
    /// The socket is gone.
    pub fn read(&self, socket: BorrowedFd<'_>, cookie: u64) -> Result<Option<Tag>> {
        self.reader.read(socket, cookie)
    }

    /// Writes a listening socket's tag; under its cookie, if its option memory is full and the gate looks there: it
    /// carries no tag, or a provisional one.
    ///
    /// # Errors
    /// The socket is gone, or can be tagged in neither way.
    pub fn write_or_name(&mut self, socket: BorrowedFd<'_>, cookie: u64, tag: Tag) -> Result<()> {
        let Err(error) = self.write(socket, tag) else { return Ok(()) };
        if self.reader.carried(socket)?.is_some_and(|carried| carried.flags & PROVISIONAL == 0) {
            return Err(error);
        }
        log::debug!("{error:#}: the tag is kept under the socket's cookie");
        self.name_socket(cookie, tag)
    }

    /// Whether UDP sockets of before the start were found that can neither carry a tag nor be tagged by their cookie,
    /// since this was last asked.
    ///
    /// # Errors
    /// The kernel refuses it.
    pub(super) fn missed_unmarked(&mut self) -> Result<bool> {
        let is_missed =
            self.unmarked.get(&0, 0).context("read whether all sockets are marked")? == SOME_MISSED;
        if is_missed {
            self.unmarked.set(0, SOME_UNMARKED, 0).context("note that some sockets are not marked")?;
        }
        Ok(is_missed)
    }

    /// Writes a listening socket's tag. `socket` is any descriptor of it.
    ///
    /// # Errors
    /// The socket is gone, or keeps no storage.
    pub fn write(&mut self, socket: BorrowedFd<'_>, tag: Tag) -> Result<()> {
        self.tags.insert(&Socket(socket), tag, 0).context("write a listener's tag")
    }

    /// Tags a listener by its cookie: for sockets that carry no tag.
    ///
    /// # Errors
    /// The table is full.
    pub fn name_socket(&mut self, cookie: u64, tag: Tag) -> Result<()> {
        let before = found(self.by_cookie.get(&cookie, 0)).context("read a listener's tag")?;
        let flags = tag.flags | before.map_or(0, |before| before.flags & BOUND_BEFORE);
        self.by_cookie.insert(cookie, Tag { flags, ..tag }, 0).context("tag a listener by its cookie")
    }

    /// Forgets the listeners whose cookie is not among these, but for sockets of before the start in network namespaces
    /// that were not listed: without their tag they would not be judged.
    ///
    /// # Errors
    /// The kernel refuses the write.
    pub fn keep_sockets(&mut self, cookies: &HashSet<u64>, listed: &HashSet<u64>) -> Result<()> {
        let all: Vec<(u64, Tag)> =
            self.by_cookie.iter().collect::<Result<_, _>>().context("read the tagged listeners")?;
        let stays = |(cookie, tag): &(u64, Tag)| {
            cookies.contains(cookie) || tag.flags & BOUND_BEFORE != 0 && !listed.contains(&tag.netns)
        };
        let is_any_left = all.iter().any(stays);
        for (cookie, _) in all.into_iter().filter(|one| !stays(one)) {
            self.by_cookie.remove(&cookie).context("forget a listener")?;
        }
        if !is_any_left {
            // No program writes it at present: the iterator runs in this thread.
            self.unmarked.set(0, ALL_MARKED, 0).context("note that all sockets are marked")?;
        }
        Ok(())
    }

    /// Tells the kernel which processes hold listening sockets.
    ///
    /// # Errors
    /// The kernel refuses the write.
    pub fn add_holders(&mut self, pids: impl IntoIterator<Item = u32>) -> Result<()> {
        for pid in pids {
            self.holders.insert(pid, 0, 0).context("write a holder of listening sockets")?;
        }
        Ok(())
    }

    /// Tells the kernel which names-set to use for a process name in provisional tags. Only differences are
    /// written.
    ///
    /// # Errors
    /// The table is full.
    pub fn set_comms(&mut self, comms: &[(Comm, NamesId)]) -> Result<()> {
        let wanted: Entries<Comm, NamesId> = comms.iter().copied().collect();
        let gone: Vec<Comm> =
            self.known_comms.keys().filter(|comm| !wanted.contains_key(*comm)).copied().collect();
        for (comm, names) in wanted {
            if self.known_comms.get(&comm) != Some(&names) {
                self.comms.insert(comm, names, 0).context("write a process name")?;
                self.known_comms.insert(comm, names);
            }
        }
        for comm in gone {
            self.comms.remove(&comm).context("remove a process name")?;
            self.known_comms.remove(&comm);
        }
        Ok(())
    }
}
