//! UDP sockets that were bound before the programs ran.
//!
//! In: the open files of every task of this pid namespace. Out: a provisional tag on each UDP socket whose owner bound
//! it to a port, under the cookie of those whose option memory is full. The kernel records that as SOCK_BINDPORT_LOCK,
//! which no system call shows.

use std::io::{self, Read as _};

use anyhow::{Context as _, Result};
use aya::programs::Iter;

use super::{load::Kernel, programs::Hook};

impl Kernel {
    /// Tags them; the next scan finds the tags. Sockets that already carry a tag are skipped. Returns whether some could
    /// not be tagged: their option memory is full, and so is the table of tags by cookie.
    ///
    /// # Errors
    /// The kernel refuses the program.
    pub fn mark_bound(&mut self) -> Result<bool> {
        Hook::OpenFiles.load(&mut self.ebpf, &self.links.btf)?;
        let program = Hook::OpenFiles.get_as::<Iter>(&mut self.ebpf)?;
        let id = program.attach().context("attach program open_files")?;
        let mut files = program.take_link(id)?.into_file()?;
        // It writes nothing: reading it runs it, a few thousand files at a time.
        let mut nothing = [0; 64];
        loop {
            match files.read(&mut nothing) {
                Ok(0) => return self.tags.missed_unmarked(),
                Ok(_) => {}
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock) => {}
                Err(error) => return Err(error).context("run program open_files"),
            }
        }
    }
}
