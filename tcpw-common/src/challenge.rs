//! What is remembered of a challenge.

/// The challenge of a flow.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// Sequence number of the reset that answers it, host order.
    pub answer: u32,
    /// Resets with another sequence number so far.
    pub wrong: u32,
}
const _: () = assert!(size_of::<Challenge>() == 8);

/// After so many wrong resets a challenge is forgotten: nobody can try all sequence numbers.
pub const MOST_WRONG: u32 = 8;

#[cfg(feature = "user")]
mod pod {
    // SAFETY: plain data without padding.
    unsafe impl aya::Pod for super::Challenge {}
}
