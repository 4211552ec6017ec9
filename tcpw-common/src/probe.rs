//! Question and answer of the probe program.

use crate::{
    decide::Decision,
    key::{Address, NamesId},
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

/// The return value: outcome in the low byte, policy index above it.
#[inline(always)]
pub const fn answer(decision: &Decision) -> u32 {
    decision.outcome as u32 | (decision.policy << 8)
}
