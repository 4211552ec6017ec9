//! Runs the kernel's decision on the loaded tables, without a connection.

use std::time::Duration;

use anyhow::{Context as _, Result};
use aya::programs::{SchedClassifier, TestRun as _, TestRunOptions};
use tcpw_common::{
    key::Query,
    measure::ELSEWHERE,
    outcome::Outcome,
    probe::{BROKEN, EMPTY, IPV6, PAYLOAD, ProbeInput},
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
        let (value, _) = self.run_probe(&ProbeInput {
            names: query.names,
            client: query.client,
            server: query.server,
            port: query.port.into(),
            decisions: 0,
            networks: 0,
            flags: 0,
            reserved: [0; 2],
        })?;
        if value == BROKEN {
            return Ok(None);
        }
        let outcome = Outcome::from_byte(value.to_le_bytes()[0]).context("the probe answered no outcome")?;
        Ok(Some(ProbeAnswer { outcome, policy: value >> 8 }))
    }

    /// The time of one decision of the kernel, in nanoseconds: the mean of `decisions` about clients of the first
    /// `networks` numbered networks, without what the loop takes.
    ///
    /// # Errors
    /// As for [`Self::probe`].
    pub fn decision_ns(&self, query: &Query, clients: &MeasuredClients, decisions: u32) -> Result<f64> {
        let flags = if clients.are_v6 { IPV6 } else { 0 } | if clients.are_elsewhere { ELSEWHERE } else { 0 };
        let measure = |flags| {
            let (_, took) = self.run_probe(&ProbeInput {
                names: query.names,
                client: query.client,
                server: query.server,
                port: query.port.into(),
                decisions,
                networks: clients.networks,
                flags,
                reserved: [0; 2],
            })?;
            anyhow::Ok(took.as_secs_f64() * 1e9 / f64::from(decisions))
        };
        Ok(measure(flags)? - measure(flags | EMPTY)?)
    }

    fn run_probe(&self, input: &ProbeInput) -> Result<(u32, Duration)> {
        let probe: &SchedClassifier = Hook::Probe.get(&self.ebpf)?.try_into()?;
        let mut packet = vec![0; PAYLOAD];
        packet.extend(bytes_of(input));
        let mut options = TestRunOptions::new();
        options.data_in = Some(&packet);
        options.repeat = 1;
        let result = probe.test_run(options).context("run the probe")?;
        Ok((result.return_value, result.duration))
    }
}

fn bytes_of(input: &ProbeInput) -> [u8; size_of::<ProbeInput>()] {
    // SAFETY: the struct has no padding, so every byte is initialised.
    unsafe { std::mem::transmute_copy(input) }
}
