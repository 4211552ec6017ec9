//! User space's answers to attempts that the tables do not decide.

use crate::{
    key::NamesId,
    layout::{SPARE, Spare},
};

/// An answer for every attempt of a client under a policy, and its expiry.
///
/// Layout: 8 + 4 + 4 bytes, no padding.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// 0.
    pub spare: Spare,
    /// CLOCK_BOOTTIME, nanoseconds: from then on user space is asked again.
    pub expires_ns: u64,
    /// An [`Outcome`](crate::outcome::Outcome) as number, allow or refuse; or that the user decides:
    /// [`UserDecides`](crate::user::UserDecides).
    pub outcome: u32,
    /// Marks of the outcome: [`REPORT`](crate::outcome::REPORT),
    /// [`KEEPALIVE`](crate::outcome::KEEPALIVE), [`REDIRECT`](crate::outcome::REDIRECT),
    /// [`BANNER`](crate::outcome::BANNER).
    pub marks: u32,
}
const _: () = assert!(size_of::<Answer>() == 16 + SPARE);

/// An answer for one attempt only: the result of a command decided, or its banner is ready.
///
/// Layout: 2 × 8 + 4 × 4 bytes, no padding.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnswerOnce {
    /// CLOCK_BOOTTIME, nanoseconds: from then on user space is asked again.
    pub expires_ns: u64,
    /// Names of the listener it was given for: a listener that executed another program has others.
    pub names: NamesId,
    /// As in [`Answer`].
    pub outcome: u32,
    /// As in [`Answer`].
    pub marks: u32,
    /// Generation of the policy that gave it: another policy may decide otherwise.
    pub generation: u32,
    /// 0.
    pub reserved: u32,
}
const _: () = assert!(size_of::<AnswerOnce>() == 32);

/// A flow whose next SYN is answered with a reset, because an answer for that attempt only refuses it.
///
/// Layout: 2 × 8 + 2 × 4 bytes, no padding.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResetOnce {
    /// CLOCK_BOOTTIME, nanoseconds: the entry expires then.
    pub expires_ns: u64,
    /// As in [`AnswerOnce`].
    pub names: NamesId,
    /// The attempt's initial sequence number, host order.
    pub isn: u32,
    /// As in [`AnswerOnce`].
    pub generation: u32,
}
const _: () = assert!(size_of::<ResetOnce>() == 24);

/// Expiry of an answer that depends on nothing but its key.
pub const NEVER: u64 = u64::MAX;

#[cfg(feature = "user")]
mod plain {
    // SAFETY: `#[repr(C)]`, no padding, every bit pattern valid.
    unsafe impl aya::Pod for super::Answer {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::AnswerOnce {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::ResetOnce {}
}
