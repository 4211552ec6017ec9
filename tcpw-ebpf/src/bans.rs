//! The kernel's side of bans: the tables behind the maps.
//!
//! In: a client. Out: whether it is banned. Invariant: on the stack is next to nothing: the
//! caller has filled it.

use core::{
    mem::offset_of,
    ptr::{addr_of, addr_of_mut, read_volatile},
};

use aya_ebpf::maps::lpm_trie::Key;
use tcpw_common::{
    ban::{Ban, BanKey, Bans, BansInUse, MAX_NESTED_BANS, MAX_SCOPES, SCOPE_BITS, Scopes, family},
    key::{Address, NamesId, Query},
};

use crate::{
    clock::boot_ns,
    maps::{BAN_LOOKUP, BAN_SCOPES, BANS},
    tables::IN_PLACE,
};

static MOST_SCOPES: u32 = MAX_SCOPES;
static MOST_NESTED: u32 = MAX_NESTED_BANS;

/// What a CPU looks bans up by: [`Key`]s whose members are aligned, so that they are written as they are.
#[repr(C)]
pub(crate) struct BanLookup {
    bits: u32,
    scope: u32,
    client: Address,
    family: u32,
    names_bits: u32,
    names: NamesId,
    now_ns: u64,
    entry: u32,
    reserved: u32,
}
const _: () = assert!(offset_of!(BanLookup, client) == 8);
const _: () = assert!(offset_of!(BanLookup, client) == offset_of!(Key<BanKey>, data) + 4);
const _: () = assert!(
    offset_of!(BanLookup, names) - offset_of!(BanLookup, names_bits) == offset_of!(Key<NamesId>, data)
);

/// A look-up on behalf of a process (sock_diag) may be interrupted by one of a packet: then what the process is told may be
/// wrong, and nothing is refused because of it.
struct Lookup(*mut BanLookup);

impl Bans for Lookup {
    #[inline(always)]
    fn ban(&self, scope: u32, _: &Address, bits: u32) -> Option<&Ban> {
        // SAFETY: the pointer is into this CPU's element; the assertions above say that a key begins there. A network that
        // is removed is not reused before the program ends.
        unsafe {
            (*self.0).bits = SCOPE_BITS + bits;
            (*self.0).scope = scope | (*self.0).family;
            BANS.get(&*self.0.cast::<Key<BanKey>>())
        }
    }

    #[inline(always)]
    fn scopes(&self, _: NamesId) -> Option<&Scopes> {
        // SAFETY: as above.
        unsafe { BAN_SCOPES.get(&*addr_of!((*self.0).names_bits).cast::<Key<NamesId>>()) }
    }

    #[inline(always)]
    fn in_use(&self) -> BansInUse {
        IN_PLACE.in_use()
    }

    #[inline(always)]
    fn now_ns(&self) -> u64 {
        // SAFETY: as above; volatile, so that it is not kept on the stack.
        unsafe { addr_of!((*self.0).now_ns).read_volatile() }
    }

    #[inline(always)]
    fn entry(&self, _: u32) -> u32 {
        // SAFETY: as above.
        unsafe { addr_of!((*self.0).entry).read_volatile() }
    }

    #[inline(always)]
    fn most_scopes(&self) -> u32 {
        // SAFETY: a static of .rodata; the kernel knows its value.
        unsafe { read_volatile(&MOST_SCOPES) }
    }

    #[inline(always)]
    fn most_nested(&self) -> u32 {
        // SAFETY: as above.
        unsafe { read_volatile(&MOST_NESTED) }
    }
}

/// See [`Bans::with_bans`].
#[inline(always)]
pub(crate) fn with_bans(entry: u32, query: &Query) -> u64 {
    // SAFETY: as asserted, it is aligned.
    let [first, last] = unsafe { addr_of!(query.client).cast::<[u64; 2]>().read() };
    with_bans_in_maps(entry, first, last, query.names)
}
const _: () = assert!(offset_of!(Query, client).is_multiple_of(8) && align_of::<Query>() == 8);

/// A function that the kernel verifies once for itself, whatever is known where it is called: it is global and takes numbers.
/// The client is given as it lies in memory.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn with_bans_in_maps(entry: u32, first: u64, last: u64, names: NamesId) -> u64 {
    let Some(lookup) = BAN_LOOKUP.get_ptr_mut(0) else {
        return entry.into();
    };
    // SAFETY: the pointer is into this CPU's element, and as asserted the client is aligned.
    unsafe {
        addr_of_mut!((*lookup).client).cast::<[u64; 2]>().write([first, last]);
        (*lookup).family = family(&*addr_of!((*lookup).client));
        (*lookup).names_bits = NamesId::BITS;
        (*lookup).names = names;
        (*lookup).now_ns = boot_ns();
        (*lookup).entry = entry;
        tcpw_common::ban::with_bans(&Lookup(lookup), entry, &*addr_of!((*lookup).client), names)
    }
}
