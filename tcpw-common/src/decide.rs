//! The lookup order: from a [`Query`] to an outcome.
//!
//! In: one attempt and a set of tables. Out: the outcome, with the policy and
//! generation that gave it. The gate, the probe and user space run this same
//! code on different [`Tables`].
//! Invariant: a constant number of look-ups, whatever the size of the policy,
//! all of them in the one slot that was active when the evaluation began.

use crate::{
    ban::Bans,
    flat::{self, FlatTables},
    key::{Address, NamesId, Query, as_v4},
    layout::{SPARE, Spare},
    outcome::{Outcome, of_entry},
};

/// Fixed facts of the policy in one slot.
///
/// Layout: 6 × 4 bytes, no padding.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Header {
    /// Number of the policy, counted up by every change. 0: the slot is empty.
    pub generation: u32,
    /// [`AUDIT`], [`NO_ALLOW_TABLE`], [`NO_DENY_TABLE`], [`NAMES_COUNT`], [`FLAT_V4`] and [`FLAT_V6`], or 0.
    pub flags: u32,
    /// Client classes: length of one row of the outcome table.
    pub client_classes: u32,
    /// Port classes: 1 if no daemon list names a port and no port is exempt.
    pub port_classes: u32,
    /// Server address classes: 1 if no daemon list has `daemon@server`.
    pub server_classes: u32,
    /// Names classes: 1 if every daemon is treated alike.
    pub names_classes: u32,
    /// 0.
    pub spare: Spare,
}
const _: () = assert!(size_of::<Header>() == 24 + SPARE);

/// Audit mode: nothing is refused; attempts that the policy refuses are reported as such.
pub const AUDIT: u32 = 1;

/// hosts.allow did not exist when the policy was made.
pub const NO_ALLOW_TABLE: u32 = 2;

/// hosts.deny did not exist when the policy was made.
pub const NO_DENY_TABLE: u32 = 4;

/// Rules differ by daemon: the names of a listener matter.
pub const NAMES_COUNT: u32 = 8;

/// The IPv4 clients are in the flat table.
pub const FLAT_V4: u32 = 16;

/// The IPv6 clients are in the flat table.
pub const FLAT_V6: u32 = 32;

/// Port class of an exempt port.
pub const EXEMPT_PORT: u32 = u32::MAX;

#[cfg(feature = "user")]
// SAFETY: `#[repr(C)]`, no padding, every bit pattern valid.
unsafe impl aya::Pod for Header {}

/// The tables of both slots, in the kernel's maps or in user space's memory.
pub trait Tables: FlatTables + Bans + Sized {
    /// Slot of the policy in force.
    fn active(&self) -> Option<u32>;
    /// Header of a slot.
    fn header(&self, slot: u32) -> Option<Header>;
    /// Class of an IPv4 client: longest prefix, with a /0. Not asked with [`FLAT_V4`].
    fn client_v4(&self, slot: u32, client: [u8; 4]) -> Option<u32>;
    /// Class of an IPv6 client: longest prefix, with a /0. Not asked with [`FLAT_V6`].
    fn client_v6(&self, slot: u32, client: Address) -> Option<u32>;
    /// Class of an IPv4 client. Asked with [`FLAT_V4`] alone.
    #[inline(always)]
    fn flat_v4(&self, slot: u32, client: [u8; 4]) -> Option<u32> {
        flat::class_v4(self, slot, client)
    }
    /// Class of an IPv6 client. Asked with [`FLAT_V6`] alone.
    #[inline(always)]
    fn flat_v6(&self, slot: u32, client: Address) -> Option<u32> {
        flat::class_v6(self, slot, &client)
    }
    /// Class of an IPv4 local address: longest prefix, with a /0.
    fn server_v4(&self, slot: u32, server: [u8; 4]) -> Option<u32>;
    /// Class of an IPv6 local address: longest prefix, with a /0.
    fn server_v6(&self, slot: u32, server: Address) -> Option<u32>;
    /// Class of a names-set; absent: class 0, that of a listener without names.
    fn names(&self, slot: u32, names: NamesId) -> Option<u32>;
    /// Class of a port; absent: class 0, that of ports no rule names.
    fn port(&self, slot: u32, port: u16) -> Option<u32>;
    /// Policy of a service, at `(names * port_classes + port) * server_classes + server`.
    fn policy(&self, slot: u32, index: u32) -> Option<u32>;
    /// Outcome byte, with its marks, of a policy and class, at `policy * client_classes + class`.
    fn outcome(&self, slot: u32, index: u32) -> Option<u8>;
}

/// An outcome, and the policy that gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The outcome of the attempt.
    pub outcome: Outcome,
    /// Marks of the outcome: [`REPORT`](crate::outcome::REPORT),
    /// [`KEEPALIVE`](crate::outcome::KEEPALIVE), [`REDIRECT`](crate::outcome::REDIRECT),
    /// [`BANNER`](crate::outcome::BANNER).
    pub marks: u8,
    /// Generation of the policy that decided.
    pub generation: u32,
    /// Policy index within that generation; 0 for an exempt port, [`BAN_POLICY`](crate::ban::BAN_POLICY) if a ban decided.
    pub policy: u32,
    /// Flags of that policy's header.
    pub flags: u32,
}

/// Decides one attempt.
///
/// `None` if a look-up that must succeed did not: no policy was ever loaded, or the tables are broken.
#[inline(always)]
pub fn decide<T: Tables>(tables: &T, query: &Query) -> Option<Decision> {
    let slot = tables.active()?;
    decide_in(tables, slot, &tables.header(slot)?, query, true)
}

/// As [`decide`], if the policy treats all names alike and there are no bans; else `None`. The names in the query are not
/// used.
#[inline(always)]
pub fn decide_for_any_names<T: Tables>(tables: &T, query: &Query) -> Option<Decision> {
    let slot = tables.active()?;
    let header = tables.header(slot)?;
    let is_open = header.names_classes > 1 || tables.in_use().any != 0;
    if is_open { None } else { decide_in(tables, slot, &header, query, false) }
}

#[inline(always)]
fn decide_in<T: Tables>(
    tables: &T,
    slot: u32,
    header: &Header,
    query: &Query,
    bans: bool,
) -> Option<Decision> {
    let mut port = 0;
    if header.port_classes > 1 {
        port = tables.port(slot, query.port).unwrap_or(0);
        if port == EXEMPT_PORT {
            return Some(Decision {
                outcome: Outcome::Exempt,
                marks: 0,
                generation: header.generation,
                policy: 0,
                flags: header.flags,
            });
        }
    }
    let mut names = 0;
    if header.names_classes > 1 {
        names = tables.names(slot, query.names).unwrap_or(0);
    }
    let mut server = 0;
    if header.server_classes > 1 {
        server = match as_v4(&query.server) {
            Some(v4) => tables.server_v4(slot, v4)?,
            None => tables.server_v6(slot, query.server)?,
        };
    }
    let service = names
        .wrapping_mul(header.port_classes)
        .wrapping_add(port)
        .wrapping_mul(header.server_classes)
        .wrapping_add(server);
    let policy = tables.policy(slot, service)?;
    let class = match as_v4(&query.client) {
        Some(v4) if header.flags & FLAT_V4 != 0 => tables.flat_v4(slot, v4)?,
        Some(v4) => tables.client_v4(slot, v4)?,
        None if header.flags & FLAT_V6 != 0 => tables.flat_v6(slot, query.client)?,
        None => tables.client_v6(slot, query.client)?,
    };
    let index = policy.wrapping_mul(header.client_classes).wrapping_add(class);
    let entry = u32::from(tables.outcome(slot, index)?);
    // No branch: the verifier would follow all that comes after for both.
    let entry = if bans { tables.with_bans(entry, query) } else { entry.into() };
    let (outcome, marks) = of_entry((entry & 0xff) as u8)?;
    Some(Decision {
        outcome,
        marks,
        generation: header.generation,
        policy: policy | ((entry & 0xffff_ffff) >> 8) as u32,
        flags: header.flags | (entry >> 32) as u32,
    })
}
