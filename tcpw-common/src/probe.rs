//! Question and answer of the probe program.

use crate::{
    decide::Decision,
    key::{Address, NamesId},
    outcome::Outcome,
};

/// Offset of the question in the probe's packet: behind an Ethernet header.
pub const PAYLOAD: usize = 14;

/// The probe's return value when a look-up failed.
pub const BROKEN: u32 = u32::MAX;

/// The question, or a measurement: that many decisions about clients of the numbered networks.
///
/// Layout: 8 + 16 + 16 + 6 × 4 bytes, no padding.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProbeInput {
    /// Names of the listener.
    pub names: NamesId,
    /// Client address.
    pub client: Address,
    /// Local address.
    pub server: Address,
    /// Local port.
    pub port: u32,
    /// Decisions of a measurement; 0: one question, about `client`.
    pub decisions: u32,
    /// Of a measurement: how many networks there are.
    pub networks: u32,
    /// Of a measurement: [`IPV6`], [`ELSEWHERE`](crate::measure::ELSEWHERE) and [`EMPTY`].
    pub flags: u32,
    /// 0.
    pub reserved: [u32; 2],
}
const _: () = assert!(size_of::<ProbeInput>() == 64);

/// A measurement is about IPv6 clients.
pub const IPV6: u32 = 1;

/// A measurement decides nothing: what the loop itself takes.
pub const EMPTY: u32 = 2;

/// The kernel's decision about one question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProbeAnswer {
    /// The outcome.
    pub outcome: Outcome,
    /// Policy index in the generation in force; 0 for an exempt port.
    pub policy: u32,
}

impl ProbeAnswer {
    /// From the return value; `None` if it is no answer.
    pub fn from_value(value: u32) -> Option<Self> {
        let [outcome, ..] = value.to_le_bytes();
        Some(Self { outcome: Outcome::from_byte(outcome)?, policy: value >> 8 })
    }
}

/// The return value: outcome in the low byte, policy index above it.
#[inline(always)]
pub const fn answer(decision: &Decision) -> u32 {
    decision.outcome as u32 | (decision.policy << 8)
}
