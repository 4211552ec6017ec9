//! Runs the kernel's decision on the loaded tables, without a connection.

use anyhow::{Context as _, Result};
use aya::programs::{SchedClassifier, TestRun as _, TestRunOptions};
use tcpw_common::{
    key::Query,
    outcome::Outcome,
    probe::{BROKEN, PAYLOAD, ProbeInput},
};

use super::{load::Kernel, programs::Hook};

/// The kernel's decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProbeAnswer {
    /// The outcome.
    pub outcome: Outcome,
    /// Policy index in the generation in force.
    pub policy: u32,
}

impl Kernel {
    /// Loads the probe program. It is never attached.
    ///
    /// # Errors
    /// The kernel refuses it.
    pub fn load_probe(&mut self) -> Result<()> {
        Hook::Probe.load(&mut self.ebpf, &self.links.btf)
    }

    /// The kernel's decision; `None` if a look-up failed: no policy was ever applied.
    ///
    /// # Errors
    /// The probe is not loaded, or BPF_PROG_TEST_RUN fails.
    pub fn probe(&self, query: &Query) -> Result<Option<ProbeAnswer>> {
        let probe: &SchedClassifier = Hook::Probe.get(&self.ebpf)?.try_into()?;
        let mut packet = vec![0; PAYLOAD];
        packet.extend(bytes_of(&ProbeInput {
            names: query.names,
            client: query.client,
            server: query.server,
            port: query.port.into(),
            reserved: 0,
        }));
        let mut options = TestRunOptions::new();
        options.data_in = Some(&packet);
        options.repeat = 1;
        let value = probe.test_run(options).context("run the probe")?.return_value;
        if value == BROKEN {
            return Ok(None);
        }
        let outcome = Outcome::from_byte(value.to_le_bytes()[0]).context("the probe answered no outcome")?;
        Ok(Some(ProbeAnswer { outcome, policy: value >> 8 }))
    }
}

fn bytes_of(input: &ProbeInput) -> [u8; size_of::<ProbeInput>()] {
    // SAFETY: the struct has no padding, so every byte is initialised.
    unsafe { std::mem::transmute_copy(input) }
}
