//! Runs the kernel's decision on the loaded tables, without a connection.
//!
//! In: questions. Out: what the gate decides about such an attempt. Invariant: nothing is attached, counted or changed.

use std::os::fd::{AsFd as _, OwnedFd};

use anyhow::{Context as _, Result};
use aya::{Pod, programs::SchedClassifier};
use tcpw_common::{
    key::Query,
    probe::{BROKEN, PAYLOAD, ProbeAnswer, ProbeInput},
};

use super::{load::Kernel, programs::Hook, slots::Slots, sys};

/// Asks the kernel, in any thread.
pub struct Probe {
    program: OwnedFd,
    slots: Slots,
}

impl Kernel {
    /// Loads the probe program. It is never attached.
    ///
    /// # Errors
    /// The kernel refuses it.
    pub fn load_probe(&mut self) -> Result<Probe> {
        Hook::Probe.load(&mut self.ebpf, &self.links.btf)?;
        let program: &SchedClassifier = Hook::Probe.get(&self.ebpf)?.try_into()?;
        let program = program.fd()?.as_fd().try_clone_to_owned().context("keep the probe")?;
        Ok(Probe { program, slots: Slots::open(&self.ebpf)? })
    }
}

impl Probe {
    /// Number of the policy in force; 0 if none is.
    ///
    /// # Errors
    /// The maps cannot be read.
    pub fn generation(&self) -> Result<u32> {
        Ok(self.slots.header()?.generation)
    }

    /// The kernel's decision; `None` if a look-up failed: no policy was ever applied.
    ///
    /// # Errors
    /// BPF_PROG_TEST_RUN fails.
    pub fn ask(&self, query: &Query) -> Result<Option<ProbeAnswer>> {
        let input = ProbeInput {
            names: query.names,
            client: query.client,
            server: query.server,
            port: query.port.into(),
            reserved: 0,
        };
        let value =
            sys::run_classifier(self.program.as_fd(), &packet(&input)).context("run the probe")?.value;
        if value == BROKEN {
            return Ok(None);
        }
        ProbeAnswer::from_value(value).context("the probe answered no outcome").map(Some)
    }
}

/// A packet with that payload behind an Ethernet header.
pub(super) fn packet<I: Pod>(input: &I) -> Vec<u8> {
    let mut packet = vec![0; PAYLOAD];
    // SAFETY: all bytes of the value: it has no padding.
    let bytes = unsafe { std::slice::from_raw_parts((&raw const *input).cast::<u8>(), size_of::<I>()) };
    packet.extend_from_slice(bytes);
    packet
}
