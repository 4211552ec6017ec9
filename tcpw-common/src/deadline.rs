//! Until when a policy is in force that nobody has confirmed, and the slot that comes back then.
//!
//! In: the slot that was switched to, and the boot clock. Out: the slot of the policy in force.
//! Invariant: the kernel and user space tell the same slot at the same time; no daemon is needed for a policy to end.

/// The deadline of the slot that was switched to last.
///
/// Layout: 8 + 2 × 4 bytes, no padding.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Deadline {
    /// CLOCK_BOOTTIME, nanoseconds; 0: there is none.
    pub until_ns: u64,
    /// From then on this slot is in force.
    pub slot_before: u32,
    /// 0.
    pub reserved: u32,
}
const _: () = assert!(size_of::<Deadline>() == 16);

#[cfg(feature = "user")]
// SAFETY: `#[repr(C)]`, no padding, every bit pattern valid.
unsafe impl aya::Pod for Deadline {}

/// The slot in force, if `active` was switched to last. The clock is read only if there is a deadline.
#[inline(always)]
pub fn slot_in_force(active: u32, deadline: &Deadline, boot_ns: impl FnOnce() -> u64) -> u32 {
    if deadline.until_ns != 0 && boot_ns() >= deadline.until_ns { deadline.slot_before } else { active }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slot_before_is_in_force_from_the_deadline_on() {
        let deadline = Deadline { until_ns: 100, slot_before: 1, reserved: 0 };
        assert_eq!([99, 100, 101].map(|now| slot_in_force(0, &deadline, || now)), [0, 1, 1]);
        let none = Deadline { until_ns: 0, ..deadline };
        assert_eq!(slot_in_force(0, &none, || unreachable!("the clock is read")), 0);
    }
}
