//! Injects frames on a device.
//!
//! In: a frame and an interface. Out: the kernel receives it there, as if it had arrived: it passes netfilter
//! and the gate.
//! Minimum kernel version: 5.18.

use std::{
    io,
    os::fd::{AsFd as _, OwnedFd},
};

use anyhow::{Context as _, Result};

use super::{load::Kernel, programs::Hook, sys};

/// The program that passes injected frames. It is attached to no device.
#[derive(Debug)]
pub struct Frames {
    program: OwnedFd,
}

impl Kernel {
    /// Loads the program that passes injected frames.
    ///
    /// # Errors
    /// The kernel refuses it.
    pub fn load_frames(&mut self) -> Result<Frames> {
        Hook::Receive.load(&mut self.ebpf, &self.links.btf)?;
        let program = Hook::Receive
            .get(&self.ebpf)?
            .fd()?
            .as_fd()
            .try_clone_to_owned()
            .context("keep program receive")?;
        Ok(Frames { program })
    }
}

impl Frames {
    /// Injects a frame on an interface of the calling thread's network namespace.
    ///
    /// # Errors
    /// No such interface, or the kernel is too old.
    pub fn receive(&self, ifindex: u32, frame: &[u8]) -> io::Result<()> {
        sys::receive_frame(self.program.as_fd(), ifindex, frame)
    }
}
