//! Measures what a decision of the kernel takes, on the loaded tables.
//!
//! In: numbered networks, see [`tcpw_common::measure`]. Out: nanoseconds. Invariant: nothing is attached, counted or
//! changed.

use std::os::fd::{AsFd as _, OwnedFd};

use anyhow::{Context as _, Result, ensure};
use aya::programs::SchedClassifier;
use tcpw_common::{
    key::Query,
    measure::{ELSEWHERE, EMPTY, IPV6, MeasureInput},
    probe::BROKEN,
};

use super::{load::Kernel, probe::packet, programs::Hook, sys};

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

/// Source: linux/include/linux/bpf.h, `BPF_MAX_LOOPS`.
const MOST: u32 = 1 << 23;

/// The loaded program.
pub struct Measurement(OwnedFd);

impl Kernel {
    /// Loads the program that measures. It is never attached.
    ///
    /// # Errors
    /// The kernel refuses it.
    pub fn load_measurement(&mut self) -> Result<Measurement> {
        Hook::Measure.load(&mut self.ebpf, &self.links.btf)?;
        let program: &SchedClassifier = Hook::Measure.get(&self.ebpf)?.try_into()?;
        Ok(Measurement(program.fd()?.as_fd().try_clone_to_owned().context("keep the program")?))
    }
}

impl Measurement {
    /// The time of one decision of the kernel, in nanoseconds: the mean of `decisions` about clients of the first
    /// `networks` numbered networks, without what the loop takes. The client of the query is not used.
    ///
    /// # Errors
    /// BPF_PROG_TEST_RUN fails, or there are more decisions than bpf_loop makes.
    pub fn decision_ns(&self, query: &Query, clients: &MeasuredClients, decisions: u32) -> Result<f64> {
        ensure!(decisions <= MOST, "{decisions} decisions, at most {MOST}");
        let flags = if clients.are_v6 { IPV6 } else { 0 } | if clients.are_elsewhere { ELSEWHERE } else { 0 };
        let measure = |flags| {
            let input = MeasureInput {
                names: query.names,
                server: query.server,
                port: query.port.into(),
                decisions,
                networks: clients.networks,
                flags,
            };
            let run = sys::run_classifier(self.0.as_fd(), &packet(&input)).context("measure")?;
            ensure!(run.value != BROKEN, "the program measures nothing");
            anyhow::Ok(run.took.as_secs_f64() * 1e9 / f64::from(decisions))
        };
        Ok(measure(flags)? - measure(flags | EMPTY)?)
    }
}
