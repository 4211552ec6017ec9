//! Bans: clients that are refused whatever the files say, each until a time.
//!
//! In: a client, the scopes that the names of its listener have, and the bans. Out: whether one applies.
//! Invariant: an exempt client or port is never asked about; the number of look-ups is bounded. The kernel honours the times:
//! user space only removes what is over.

use crate::{
    decide::NAMES_COUNT,
    key::{Address, NamesId, Query, as_v4},
    outcome::Outcome,
};

/// The scope of bans for every daemon.
pub const EVERY_DAEMON: u32 = 0;

/// Networks with a ban that may lie in one another, in one scope.
pub const MAX_NESTED_BANS: u32 = 4;

/// Scopes that one names-set can have.
pub const MAX_SCOPES: u32 = 4;

/// Policy index of a decision that a ban made: no policy has it.
pub const BAN_POLICY: u32 = (1 << 24) - 1;

/// An entry of the tables that a ban made: it refuses, without marks; above it is [`BAN_POLICY`].
pub const BANNED: u32 = Outcome::Refuse as u32 | BAN_POLICY << 8;

/// Bits of a key before the address.
pub const SCOPE_BITS: u32 = 32;

/// Bit of [`BanKey::scope`] of networks of IPv4: no network of IPv6 has clients of IPv4, as in the tables.
const OF_IPV4: u32 = 1 << 31;

/// What a ban is found by: a scope and a network within it.
///
/// Layout: 4 + 16 bytes, no padding. Prefix length: [`SCOPE_BITS`] and that of the network, which is one of IPv6 or of mapped
/// IPv4.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BanKey {
    /// [`EVERY_DAEMON`], or the number of a daemon's name; with a bit for IPv4. Only compared as a whole.
    scope: u32,
    /// Address.
    client: Address,
}
const _: () = assert!(size_of::<BanKey>() == 20);

/// The bit that all scopes have for a client.
#[inline(always)]
pub fn family(client: &Address) -> u32 {
    if as_v4(client).is_some() { OF_IPV4 } else { 0 }
}

impl BanKey {
    /// Of a scope, and of a client or the first address of a network.
    #[inline(always)]
    pub fn new(scope: u32, client: Address) -> Self {
        Self { scope: scope | family(&client), client }
    }

    /// Of the network of so many bits that its address is in. User space alone needs it.
    #[must_use]
    pub fn trunc(self, bits: u8) -> Self {
        let mask = u128::MAX.checked_shl(128 - u32::from(bits.min(128))).unwrap_or(0);
        Self { client: (u128::from_be_bytes(self.client) & mask).to_be_bytes(), ..self }
    }

    /// As the kernel's table has it.
    pub fn to_bytes(self) -> [u8; 20] {
        let mut bytes = [0; 20];
        bytes[..4].copy_from_slice(&self.scope.to_ne_bytes());
        bytes[4..].copy_from_slice(&self.client);
        bytes
    }
}

/// A ban.
///
/// Layout: 8 + 4 bytes, no padding. Of words of 4 bytes, because the kernel puts it behind a key of 20.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ban {
    /// Until when: CLOCK_BOOTTIME, nanoseconds, the low half first; all ones: for good.
    until_ns: [u32; 2],
    /// Bits of its network's address.
    bits: u32,
}
const _: () = assert!(size_of::<Ban>() == 12);

impl Ban {
    /// Of a network of so many bits, until a time; `u64::MAX`: for good.
    pub fn new(bits: u8, until_ns: u64) -> Self {
        Self { until_ns: [(until_ns & 0xffff_ffff) as u32, (until_ns >> 32) as u32], bits: bits.into() }
    }

    /// As the kernel's table has it.
    pub fn to_bytes(self) -> [u8; 12] {
        let mut bytes = [0; 12];
        let words = [self.until_ns[0], self.until_ns[1], self.bits];
        for (place, word) in bytes.chunks_exact_mut(4).zip(words) {
            place.copy_from_slice(&word.to_ne_bytes());
        }
        bytes
    }

    #[inline(always)]
    fn until_ns(&self) -> u64 {
        u64::from(self.until_ns[1]) << 32 | u64::from(self.until_ns[0])
    }
}

/// Whether there are bans.
///
/// Layout: 4 + 4 bytes, no padding.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BansInUse {
    /// 1: there are some.
    pub any: u32,
    /// 1: some are for one daemon only.
    pub scoped: u32,
}

/// The scopes of the names of a listener; places that are not used come last, and are [`EVERY_DAEMON`].
pub type Scopes = [u32; MAX_SCOPES as usize];

#[cfg(feature = "user")]
// SAFETY: `#[repr(C)]`, no padding, every bit pattern valid.
unsafe impl aya::Pod for BanKey {}
#[cfg(feature = "user")]
// SAFETY: as above.
unsafe impl aya::Pod for Ban {}
#[cfg(feature = "user")]
// SAFETY: as above.
unsafe impl aya::Pod for BansInUse {}

/// The bans in force, in the kernel's maps or in user space's memory; none, if an implementation says nothing.
pub trait Bans {
    /// Whether there are any.
    #[inline(always)]
    fn in_use(&self) -> BansInUse {
        BansInUse { any: 0, scoped: 0 }
    }
    /// The ban in a scope of the longest network that a client is in, of at most so many bits.
    #[inline(always)]
    fn ban(&self, _scope: u32, _client: &Address, _bits: u32) -> Option<&Ban> {
        None
    }
    /// The scopes of a names-set.
    #[inline(always)]
    fn scopes(&self, _names: NamesId) -> Option<&Scopes> {
        None
    }
    /// CLOCK_BOOTTIME, nanoseconds.
    #[inline(always)]
    fn now_ns(&self) -> u64 {
        0
    }
    /// [`MAX_SCOPES`]; the kernel's compiler must not know it, or it writes each look-up out.
    #[inline(always)]
    fn most_scopes(&self) -> u32 {
        MAX_SCOPES
    }
    /// [`MAX_NESTED_BANS`]; likewise.
    #[inline(always)]
    fn most_nested(&self) -> u32 {
        MAX_NESTED_BANS
    }
    /// The entry that [`with_bans`] was given: the kernel has put it where it takes no room on the stack.
    #[inline(always)]
    fn entry(&self, entry: u32) -> u32 {
        entry
    }
    /// As [`with_bans`].
    #[inline(always)]
    fn with_bans(&self, entry: u32, query: &Query) -> u64
    where
        Self: Sized,
    {
        with_bans(self, entry, &query.client, query.names)
    }
}

/// The entry of the tables, or [`BANNED`] if a ban applies; above these 32 bits the flags that the decision has besides those of
/// its header: [`NAMES_COUNT`] if some bans are for one daemon.
#[inline(always)]
pub fn with_bans<T: Bans>(bans: &T, entry: u32, client: &Address, names: NamesId) -> u64 {
    let in_use = bans.in_use();
    if in_use.any == 0 || !may_pass(entry) {
        return entry.into();
    }
    // Asked last: what is kept meanwhile would be on the kernel's stack.
    let entry = if is_banned(bans, client, names) { BANNED } else { bans.entry(entry) };
    u64::from(bans.in_use().scoped * NAMES_COUNT) << 32 | u64::from(entry)
}

/// Whether an entry lets clients pass, or may do so: what the tables refuse is refused already, and what is exempt stays so.
#[inline(always)]
const fn may_pass(entry: u32) -> bool {
    const PASSES: u32 = Outcome::Allow as u32;
    const _: () = assert!(Outcome::Ask as u32 & PASSES != 0 && Outcome::Refuse as u32 & PASSES == 0);
    const _: () = assert!(Outcome::Exempt as u32 & PASSES == 0);
    entry & PASSES != 0
}

/// Whether a ban applies to a client of a listener with these names.
#[inline(always)]
fn is_banned<T: Bans>(bans: &T, client: &Address, names: NamesId) -> bool {
    let mut scopes = None;
    let mut at = 0;
    while at <= bans.most_scopes() {
        let mut scope = EVERY_DAEMON;
        if at > 0 {
            if at == 1 {
                scopes = if bans.in_use().scoped != 0 { bans.scopes(names) } else { None };
            }
            match scopes {
                Some(scopes) if at <= MAX_SCOPES => scope = scopes[at as usize - 1],
                _ => return false,
            }
            if scope == EVERY_DAEMON {
                return false;
            }
        }
        let mut bits = 128;
        let mut nested = 0;
        while nested < bans.most_nested() {
            let Some(ban) = bans.ban(scope, client, bits) else { break };
            if bans.now_ns() < ban.until_ns() {
                return true;
            }
            // One that is over may lie in one that is not.
            if ban.bits == 0 || ban.bits > 128 {
                break;
            }
            bits = ban.bits - 1;
            nested += 1;
        }
        at += 1;
    }
    false
}
