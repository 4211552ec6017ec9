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

/// The question.
///
/// Layout: 8 + 16 + 16 + 4 + 4 bytes, no padding.
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
    /// 0.
    pub reserved: u32,
}
const _: () = assert!(size_of::<ProbeInput>() == 48);

#[cfg(feature = "user")]
// SAFETY: `#[repr(C)]`, no padding, every bit pattern valid.
unsafe impl aya::Pod for ProbeInput {}

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
