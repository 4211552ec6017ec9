//! The result for a packet.

/// The result for a packet.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Passage {
    Pass,
    Drop,
}

impl Passage {
    /// The return value of cgroup_skb, and of sk_lookup.
    #[inline(always)]
    pub(crate) const fn verdict(self) -> u32 {
        match self {
            Self::Pass => 1,
            Self::Drop => 0,
        }
    }
}
