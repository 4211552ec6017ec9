//! User space's answer to an attempt that the tables do not decide.

use crate::layout::{SPARE, Spare};

/// What an answer says, and how long it holds.
///
/// Layout: 8 + 4 + 4 bytes, no padding.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Nothing.
    pub spare: Spare,
    /// CLOCK_BOOTTIME, nanoseconds: from then on it is asked for anew.
    pub expires_ns: u64,
    /// An [`Outcome`](crate::outcome::Outcome) as number, allow or refuse; or that the user decides:
    /// [`UserDecides`](crate::user::UserDecides).
    pub outcome: u32,
    /// What a connection wants beside: [`REPORT`](crate::outcome::REPORT),
    /// [`KEEPALIVE`](crate::outcome::KEEPALIVE), [`STEER`](crate::outcome::STEER),
    /// [`BANNER`](crate::outcome::BANNER). For one attempt alone, with its generation: [`marks_once`]. Of
    /// a refusal of one attempt that is reset: its initial sequence number.
    pub marks: u32,
}
const _: () = assert!(size_of::<Answer>() == 16 + SPARE);

/// Marks of an answer for one attempt alone, and the generation of the policy that gave it, as far as there
/// is room: such an answer's key does not have it, and another policy may say otherwise.
#[inline(always)]
#[must_use]
pub const fn marks_once(marks: u8, generation: u32) -> u32 {
    generation << 8 | marks as u32
}

/// Expiry of an answer that hangs on nothing but its key.
pub const NEVER: u64 = u64::MAX;

#[cfg(feature = "user")]
// SAFETY: `#[repr(C)]`, no padding, every bit pattern valid.
unsafe impl aya::Pod for Answer {}
