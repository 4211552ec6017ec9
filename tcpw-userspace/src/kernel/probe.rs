//! Runs the kernel's decision on the loaded tables, without a connection.
//!
//! In: questions. Out: what the gate decides about such an attempt. Invariant: nothing is attached, counted or changed.

use std::os::fd::{AsFd as _, OwnedFd};

use anyhow::{Context as _, Result};
use aya::programs::SchedClassifier;
use tcpw_common::{
    key::Query,
    measure::ELSEWHERE,
    probe::{BROKEN, EMPTY, IPV6, PAYLOAD, ProbeAnswer, ProbeInput},
};

use super::{load::Kernel, programs::Hook, slots::Slots, sys};

/// The clients of a measurement: [`tcpw_common::measure`].
#[derive(Clone, Copy, Debug)]
pub struct MeasuredClients {
    /// How many networks there are.
    pub networks: u32,
    /// IPv6 clients.
    pub are_v6: bool,
    /// Clients in other networks.
    pub are_elsewhere: bool,
}

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
        let value = self
            .run(&ProbeInput {
                names: query.names,
                client: query.client,
                server: query.server,
                port: query.port.into(),
                decisions: 0,
                networks: 0,
                flags: 0,
                reserved: [0; 2],
            })?
            .value;
        if value == BROKEN {
            return Ok(None);
        }
        ProbeAnswer::from_value(value).context("the probe answered no outcome").map(Some)
    }

    /// The time of one decision of the kernel, in nanoseconds: the mean of `decisions` about clients of the first
    /// `networks` numbered networks, without what the loop takes.
    ///
    /// # Errors
    /// As for [`Self::ask`].
    pub fn decision_ns(&self, query: &Query, clients: &MeasuredClients, decisions: u32) -> Result<f64> {
        let flags = if clients.are_v6 { IPV6 } else { 0 } | if clients.are_elsewhere { ELSEWHERE } else { 0 };
        let measure = |flags| {
            let run = self.run(&ProbeInput {
                names: query.names,
                client: query.client,
                server: query.server,
                port: query.port.into(),
                decisions,
                networks: clients.networks,
                flags,
                reserved: [0; 2],
            })?;
            anyhow::Ok(run.took.as_secs_f64() * 1e9 / f64::from(decisions))
        };
        Ok(measure(flags)? - measure(flags | EMPTY)?)
    }

    fn run(&self, input: &ProbeInput) -> Result<sys::TestRun> {
        let mut packet = vec![0; PAYLOAD];
        packet.extend(bytes_of(input));
        sys::run_classifier(self.program.as_fd(), &packet).context("run the probe")
    }
}

fn bytes_of(input: &ProbeInput) -> [u8; size_of::<ProbeInput>()] {
    // SAFETY: the struct has no padding, so every byte is initialised.
    unsafe { std::mem::transmute_copy(input) }
}
