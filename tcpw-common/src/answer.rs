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
    /// [`BANNER`](crate::outcome::BANNER). Of a refusal of one attempt that is reset: its initial sequence
    /// number.
    pub marks: u32,
}
const _: () = assert!(size_of::<Answer>() == 16 + SPARE);

/// Expiry of an answer that hangs on nothing but its key.
pub const NEVER: u64 = u64::MAX;

#[cfg(feature = "user")]
// SAFETY: `#[repr(C)]`, no padding, every bit pattern valid.
unsafe impl aya::Pod for Answer {}
