//! UDP sockets that were bound before anybody watched.
//!
//! In: the open files of every task we see. Out: a provisional tag on each UDP socket whose owner
//! chose its port; the kernel keeps that as SOCK_BINDPORT_LOCK, which no system call tells.

use std::io::{self, Read as _};

use anyhow::{Context as _, Result};
use aya::programs::Iter;

use super::load::Kernel;

impl Kernel {
    /// Marks them: the scan after it finds the tags. Those that carry one are left alone.
    ///
    /// # Errors
    /// The kernel refuses the program.
    pub fn mark_bound(&mut self) -> Result<()> {
        let program: &mut Iter =
            self.ebpf.program_mut("open_files").context("not in the BPF object")?.try_into()?;
        if program.fd().is_err() {
            program.load("task_file", &self.btf).context("load program open_files")?;
        }
        let id = program.attach().context("attach program open_files")?;
        let mut files = program.take_link(id)?.into_file()?;
        // It writes nothing: reading it runs it, a few thousand files at a time.
        let mut nothing = [0; 64];
        loop {
            match files.read(&mut nothing) {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock) => {}
                Err(error) => return Err(error).context("run program open_files"),
            }
        }
    }
}
