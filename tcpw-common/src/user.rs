//! Connections that wait until their client's user is known.
//!
//! The user is asked for (ident, RFC 1413) once the handshake is complete: until then no data
//! passes, either way.

use crate::{key::FlowKey, outcome::Outcome, tag::Tag};

/// User space's answer to [`Outcome::Ask`] where the user decides: the handshake may go on,
/// its data wait. A bit of the answer's number; the outcome is in the low byte.
const WAIT: u32 = 1 << 31;

/// How the time limit of the look-up is packed into an answer, in seconds.
const TIMEOUT_SHIFT: u32 = 8;
const TIMEOUT_MASK: u32 = 0xffff;

/// [`Pending::answer`] of a handshake whose connection need not wait.
pub const NO_USER: u32 = Outcome::Allow as u32;

/// Element of the table `USERS`: since when users decide, CLOCK_BOOTTIME, nanoseconds; 0: they do not.
pub const SINCE: u32 = 0;

/// Another element: not 0 if some socket that has to wait could not be marked.
pub const UNMARKED: u32 = 1;

/// The user decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserDecides {
    /// The outcome where the user is unknown: allow or refuse; or ask: more has to be found out once the user is
    /// known, and until then nothing but the connection may be decided by this.
    pub if_unknown: Outcome,
    /// Time limit of the look-up, in seconds.
    pub timeout_s: u16,
}

impl UserDecides {
    /// The answer's number.
    #[inline(always)]
    pub const fn to_answer(self) -> u32 {
        WAIT | ((self.timeout_s as u32) << TIMEOUT_SHIFT) | self.if_unknown as u32
    }

    /// The answer of a number; `None` if it is an outcome alone.
    #[inline(always)]
    pub const fn from_answer(answer: u32) -> Option<Self> {
        if answer & WAIT == 0 {
            return None;
        }
        let timeout_s = ((answer >> TIMEOUT_SHIFT) & TIMEOUT_MASK) as u16;
        let if_unknown = if answer & 3 == Outcome::Allow as u32 {
            Outcome::Allow
        } else if answer & 3 == Outcome::Ask as u32 {
            Outcome::Ask
        } else {
            Outcome::Refuse
        };
        Some(Self { if_unknown, timeout_s })
    }
}

/// A handshake under a policy in which users decide: the facts the gate has.
///
/// Layout: 24 + 8 × 4 bytes, no padding.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pending {
    /// Tag of the listener.
    pub tag: Tag,
    /// The answer: a [`UserDecides`] as number if its connection will wait; [`NO_USER`]; a refusal if nothing of its
    /// connection may pass. The other members matter only in the first case.
    pub answer: u32,
    /// Generation of the policy that asked.
    pub generation: u32,
    /// Policy index within that generation.
    pub policy: u32,
    /// Address family of the listening socket: 2 (AF_INET) or 10 (AF_INET6).
    pub family: u32,
    /// Interface the client's packet came in on.
    pub ifindex: u32,
    /// Sequence number of that packet, host order.
    pub seq: u32,
    /// Acknowledgement number, host order.
    pub ack: u32,
    /// Its window, as it stands in the header.
    pub window: u32,
}
const _: () = assert!(size_of::<Pending>() == 56);

impl Pending {
    /// Of a connection that nothing of may pass.
    pub const REFUSED: Self = Self {
        tag: Tag { names: 0, netns: 0, pid: 0, flags: 0 },
        answer: Outcome::Refuse as u32,
        generation: 0,
        policy: 0,
        family: 0,
        ifindex: 0,
        seq: 0,
        ack: 0,
        window: 0,
    };
}

/// A connection that waits. User space removes the entry to let its data pass.
///
/// Layout: 48 + 8 + 56 + 2 × 8 + 2 × 4 bytes, no padding.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Its flow.
    pub flow: FlowKey,
    /// Cookie of the connection's own socket.
    pub socket: u64,
    /// The facts the gate had.
    pub pending: Pending,
    /// When the handshake was complete: CLOCK_BOOTTIME, nanoseconds.
    pub since_ns: u64,
    /// When the kernel takes the user as unknown, likewise.
    pub deadline_ns: u64,
    /// Not 0: user space has refused it; no data pass until its socket is closed.
    pub refused: u32,
    /// 0.
    pub reserved: u32,
}
const _: () = assert!(size_of::<Waiting>() == 136);

/// The mark of a waiting connection's socket.
///
/// Layout: 2 × 8 + 2 × 4 bytes, no padding.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Mark {
    /// Cookie of the socket.
    pub cookie: u64,
    /// As in [`Waiting`].
    pub deadline_ns: u64,
    /// An [`Outcome`] as number: where the user is unknown.
    pub if_unknown: u32,
    /// Not 0: the deadline has passed, and was counted.
    pub expired: u32,
}
const _: () = assert!(size_of::<Mark>() == 24);

#[cfg(feature = "user")]
mod plain {
    // SAFETY: `#[repr(C)]`, no padding, every bit pattern valid.
    unsafe impl aya::Pod for super::Waiting {}
    // SAFETY: likewise.
    unsafe impl aya::Pod for super::Pending {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answer_keeps_what_it_says() {
        for if_unknown in [Outcome::Allow, Outcome::Refuse, Outcome::Ask] {
            for timeout_s in [1, 10, u16::MAX] {
                let answer = UserDecides { if_unknown, timeout_s };
                assert_eq!(UserDecides::from_answer(answer.to_answer()), Some(answer));
            }
        }
    }

    #[test]
    fn outcome_is_no_such_answer() {
        for outcome in [Outcome::Exempt, Outcome::Allow, Outcome::Refuse, Outcome::Ask] {
            assert_eq!(UserDecides::from_answer(outcome as u32), None);
        }
    }
}
