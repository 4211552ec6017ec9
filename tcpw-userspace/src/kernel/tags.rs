//! Tags, names of processes, answers, counters: the small writes between reloads.

use std::{
    collections::HashSet,
    os::fd::{AsFd as _, AsRawFd, BorrowedFd},
};

use anyhow::{Context as _, Result};
use aya::maps::{HashMap, Map, MapData, MapError, PerCpuArray, SkStorage};
use tcpw_common::{
    answer::{Answer, AnswerOnce, ResetOnce},
    key::{AnswerKey, AttemptKey, Comm, FlowKey, NamesId},
    layout::SPARE_WORDS,
    tag::Tag,
};

use super::{load::Kernel, pinned::read_counters};

/// SkStorage takes a descriptor by `AsRawFd`.
struct Socket<'a>(BorrowedFd<'a>);

impl AsRawFd for Socket<'_> {
    fn as_raw_fd(&self) -> i32 {
        self.0.as_raw_fd()
    }
}

/// Reads the tags of sockets, from any thread.
#[derive(Clone)]
pub struct TagReader(std::sync::Arc<SkStorage<MapData, Tag>>);

impl TagReader {
    /// Reads a listening socket's tag; `None` if it has none.
    ///
    /// # Errors
    /// The socket is gone.
    pub fn read(&self, socket: BorrowedFd<'_>) -> Result<Option<Tag>> {
        match self.0.get(&Socket(socket), 0) {
            Ok(tag) => Ok(Some(tag)),
            Err(MapError::KeyNotFound) => Ok(None),
            Err(error) => Err(error).context("read a listener's tag"),
        }
    }
}

impl Kernel {
    /// What reads tags from other threads.
    ///
    /// # Errors
    /// The map cannot be duplicated.
    pub fn tag_reader(&self) -> Result<TagReader> {
        let Some(Map::SkStorage(data)) = self.ebpf.map("TAGS") else { anyhow::bail!("no map TAGS") };
        let data = MapData::from_fd(data.fd().as_fd().try_clone_to_owned()?)?;
        Ok(TagReader(std::sync::Arc::new(SkStorage::try_from(Map::SkStorage(data))?)))
    }

    /// Writes a listening socket's tag. `socket` is any descriptor of it.
    ///
    /// # Errors
    /// The socket is gone, or keeps no storage.
    pub fn write_tag(&mut self, socket: BorrowedFd<'_>, tag: Tag) -> Result<()> {
        let map = self.ebpf.map_mut("TAGS").context("the BPF object has no map TAGS")?;
        let mut tags: SkStorage<_, Tag> = SkStorage::try_from(map)?;
        tags.insert(&Socket(socket), tag, 0).context("write a listener's tag")
    }

    /// Reads a listening socket's tag; `None` if it has none.
    ///
    /// # Errors
    /// The socket is gone.
    pub fn read_tag(&self, socket: BorrowedFd<'_>) -> Result<Option<Tag>> {
        let map = self.ebpf.map("TAGS").context("the BPF object has no map TAGS")?;
        let tags: SkStorage<_, Tag> = SkStorage::try_from(map)?;
        match tags.get(&Socket(socket), 0) {
            Ok(tag) => Ok(Some(tag)),
            Err(MapError::KeyNotFound) => Ok(None),
            Err(error) => Err(error).context("read a listener's tag"),
        }
    }

    /// Tells the kernel which names a process name stands for until user space has looked.
    ///
    /// # Errors
    /// The table is full.
    pub fn set_comms(&mut self, comms: &[(Comm, NamesId)]) -> Result<()> {
        let map = self.ebpf.map_mut("COMMS").context("the BPF object has no map COMMS")?;
        let mut table: HashMap<_, Comm, NamesId> = HashMap::try_from(map)?;
        let old: Vec<Comm> = table.keys().collect::<Result<_, _>>().context("read the process names")?;
        for (comm, names) in comms {
            table.insert(comm, names, 0).context("write a process name")?;
        }
        let kept: HashSet<&Comm> = comms.iter().map(|(comm, _)| comm).collect();
        for comm in old.iter().filter(|comm| !kept.contains(comm)) {
            table.remove(comm).context("remove a process name")?;
        }
        Ok(())
    }

    /// Answers what the gate asked; a SYN finds it until `expires_ns`, on CLOCK_BOOTTIME. `marks`
    /// say what an accepted connection wants beside.
    ///
    /// # Errors
    /// The kernel refuses the write.
    pub fn answer(&mut self, key: AnswerKey, outcome: u32, marks: u8, expires_ns: u64) -> Result<()> {
        let map = self.ebpf.map_mut("ANSWERS").context("the BPF object has no map ANSWERS")?;
        let mut answers: HashMap<_, AnswerKey, Answer> = HashMap::try_from(map)?;
        let answer = Answer { spare: SPARE_WORDS, expires_ns, outcome, marks: marks.into() };
        answers.insert(key, answer, 0).context("write an answer")
    }

    /// Answers for one attempt alone, by the policy of a generation, until `expires_ns`, on CLOCK_BOOTTIME.
    ///
    /// # Errors
    /// The kernel refuses the write.
    pub fn answer_once(
        &mut self,
        key: AttemptKey,
        generation: u32,
        (outcome, marks): (u32, u8),
        expires_ns: u64,
    ) -> Result<()> {
        let map = self.ebpf.map_mut("ANSWERS_ONCE").context("the BPF object has no map ANSWERS_ONCE")?;
        let mut answers: HashMap<_, AttemptKey, AnswerOnce> = HashMap::try_from(map)?;
        let answer = AnswerOnce { expires_ns, outcome, marks: marks.into(), generation, reserved: 0 };
        answers.insert(key, answer, 0).context("write an answer")
    }

    /// Refuses the next SYN of a flow before it finds its listener, until `expires_ns`, on CLOCK_BOOTTIME.
    ///
    /// # Errors
    /// The kernel refuses the write.
    pub fn reset_once(&mut self, attempt: &AttemptKey, expires_ns: u64) -> Result<()> {
        let map = self.ebpf.map_mut("RESET_ONCE").context("the BPF object has no map RESET_ONCE")?;
        let mut flows: HashMap<_, FlowKey, ResetOnce> = HashMap::try_from(map)?;
        let reset = ResetOnce { expires_ns, isn: attempt.isn, reserved: 0 };
        flows.insert(attempt.flow, reset, 0).context("write a refusal")
    }

    /// Lets an attempt be held once more at once: it was held for another reason before.
    ///
    /// # Errors
    /// The kernel refuses the write.
    pub fn forget_held(&mut self, key: &AttemptKey) -> Result<()> {
        let map = self.ebpf.map_mut("HELD").context("the BPF object has no map HELD")?;
        let mut held: HashMap<_, AttemptKey, u64> = HashMap::try_from(map)?;
        match held.remove(key) {
            // The table drops its oldest.
            Ok(()) | Err(MapError::KeyNotFound) => Ok(()),
            Err(error) => Err(error).context("forget a held attempt"),
        }
    }

    /// Names a listener by its cookie: for sockets that carry no tag.
    ///
    /// # Errors
    /// The table is full.
    pub fn name_socket(&mut self, cookie: u64, tag: Tag) -> Result<()> {
        self.listeners()?.insert(cookie, tag, 0).context("name a listener by its cookie")
    }

    /// Forgets the listeners whose cookie is not among these.
    ///
    /// # Errors
    /// The kernel refuses the write.
    pub fn keep_sockets(&mut self, alive: impl Fn(u64) -> bool) -> Result<()> {
        let mut listeners = self.listeners()?;
        let all: Vec<u64> = listeners.keys().collect::<Result<_, _>>().context("read the named listeners")?;
        for cookie in all.into_iter().filter(|cookie| !alive(*cookie)) {
            listeners.remove(&cookie).context("forget a listener")?;
        }
        Ok(())
    }

    /// Tells the kernel which processes hold listening sockets.
    ///
    /// # Errors
    /// The kernel refuses the write.
    pub fn add_holders(&mut self, pids: impl IntoIterator<Item = u32>) -> Result<()> {
        let map = self.ebpf.map_mut("HOLDERS").context("the BPF object has no map HOLDERS")?;
        let mut holders: HashMap<_, u32, u32> = HashMap::try_from(map)?;
        for pid in pids {
            holders.insert(pid, 0, 0).context("write a holder of listening sockets")?;
        }
        Ok(())
    }

    fn listeners(&mut self) -> Result<HashMap<&mut MapData, u64, Tag>> {
        let map = self.ebpf.map_mut("LISTENERS").context("the BPF object has no map LISTENERS")?;
        Ok(HashMap::try_from(map)?)
    }

    /// The counters by name.
    ///
    /// # Errors
    /// The map cannot be read.
    pub fn counters(&self) -> Result<Vec<(&'static str, u64)>> {
        let map: &Map = self.ebpf.map("COUNTERS").context("the BPF object has no map COUNTERS")?;
        Ok(read_counters(&PerCpuArray::try_from(map)?))
    }
}
