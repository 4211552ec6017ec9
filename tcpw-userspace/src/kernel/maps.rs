//! Every map of the BPF object: the one table of them.
//!
//! In: the BPF object. Out: maps, opened by the parts of [`Kernel`](super::Kernel) that use them.
//! A new map is one line here and one in tcpw-ebpf's maps.rs; a test compares both.

use std::os::fd::{AsFd as _, OwnedFd};

use anyhow::{Context as _, Result, bail};
use aya::{
    Ebpf,
    maps::{Map, MapData, MapError},
};

use self::{
    Life::{Pinned, Process, Scratch},
    MapKind::{
        Array, ArrayOfMaps, Hash, LruHash, PerCpuArray, ProgramArray, Ring, SockHash, SocketStorage, Trie,
    },
};

/// Kind of a map. Source: linux/include/uapi/linux/bpf.h, `enum bpf_map_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MapKind {
    Hash = 1,
    Array = 2,
    ProgramArray = 3,
    PerCpuArray = 6,
    LruHash = 9,
    Trie = 11,
    ArrayOfMaps = 12,
    SockHash = 18,
    SocketStorage = 24,
    Ring = 27,
}

/// How long a map lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    /// As long as the pins: an adopted policy keeps it.
    Pinned,
    /// As long as the programs: it holds data that does not fit their stack.
    Scratch,
    /// As long as the process: it is about links that are not pinned.
    Process,
}

/// A map of the BPF object.
#[derive(Clone, Copy, Debug)]
pub(super) struct MapEntry {
    /// At most 15 bytes: the kernel keeps no more.
    pub(super) name: &'static str,
    #[cfg_attr(not(test), expect(dead_code, reason = "documents the map; a test compares it"))]
    pub(super) kind: MapKind,
    pub(super) life: Life,
    /// What it is for.
    #[cfg_attr(not(test), expect(dead_code, reason = "documents the map; a test asks for it"))]
    pub(super) help: &'static str,
}

const fn map(name: &'static str, kind: MapKind, life: Life, help: &'static str) -> MapEntry {
    assert!(name.len() <= 15, "the kernel would cut the map's name");
    MapEntry { name, kind, life, help }
}

/// The maps of a policy's tables come first, then those that listeners, attempts, held packets, datagrams,
/// resets, users, banners, reports and the early drop need.
pub(super) const MAPS: &[MapEntry] = &[
    map("ACTIVE", Array, Pinned, "slot of the policy in force"),
    map("DEADLINE", Array, Pinned, "until when it is, and the slot that comes back then"),
    map("HEADERS", Array, Pinned, "facts of the policy in each slot"),
    map("CLIENTS_V4", ArrayOfMaps, Pinned, "IPv4 client address to class"),
    map("CLIENTS_V6", ArrayOfMaps, Pinned, "IPv6 client address to class"),
    map("FLAT_V4", ArrayOfMaps, Pinned, "first 16 bits of an IPv4 client address to bucket"),
    map("FLAT_V4_CHUNKS", ArrayOfMaps, Pinned, "chunks of IPv4 ranges"),
    map("FLAT_V6", ArrayOfMaps, Pinned, "nodes of the tree of IPv6 ranges"),
    map("FLAT_V6_LOWS", ArrayOfMaps, Pinned, "last 64 bits of their keys"),
    map("SERVERS_V4", ArrayOfMaps, Pinned, "IPv4 local address to class"),
    map("SERVERS_V6", ArrayOfMaps, Pinned, "IPv6 local address to class"),
    map("NAMES", ArrayOfMaps, Pinned, "names-set to class"),
    map("PORTS", ArrayOfMaps, Pinned, "local port to class"),
    map("BANS", Trie, Pinned, "banned networks by scope"),
    map("BANS_IN_USE", Array, Pinned, "whether there are bans"),
    map("BAN_SCOPES", Trie, Pinned, "names-set to the scopes of bans that its names have"),
    map("POLICIES", ArrayOfMaps, Pinned, "class of names, port and server to policy"),
    map("OUTCOMES", ArrayOfMaps, Pinned, "policy and client class to outcome"),
    map("GRACE", ArrayOfMaps, Pinned, "written to wait until no older program runs"),
    map("TAGS", SocketStorage, Pinned, "tags of listeners"),
    map("BINDS", SocketStorage, Pinned, "what was asked of bind(2) for UDP sockets"),
    map("COMMS", Hash, Pinned, "process name to names-set"),
    map("ATTEMPTS", Array, Pinned, "refused attempts over TCP"),
    map("UDP_ATTEMPTS", Array, Pinned, "attempts of UDP clients"),
    map("SEEN_NUMBERS", Array, Pinned, "random numbers that these are found by"),
    map("ANSWERS", LruHash, Pinned, "answers of user space"),
    map("ANSWERS_ONCE", LruHash, Pinned, "answers for one attempt alone"),
    map("RESET_ONCE", LruHash, Pinned, "flows of which one attempt is reset"),
    map("HANDSHAKES", LruHash, Pinned, "allowed handshakes that are not complete yet"),
    map("EVENTS", Ring, Pinned, "events"),
    map("COUNTERS", PerCpuArray, Pinned, "counters"),
    map("LISTENERS", Hash, Pinned, "tags of listeners by socket cookie"),
    map("UNMARKED", Array, Pinned, "whether UDP sockets of before the start cannot carry a tag"),
    map("ALIVE", Array, Pinned, "the daemon's last sign of life"),
    map("HOLDERS", LruHash, Pinned, "processes that hold listening sockets"),
    map("HELD", LruHash, Pinned, "held attempts"),
    map("CHALLENGES", LruHash, Pinned, "flows of held SYNs whose client was challenged"),
    map("SOURCES", LruHash, Pinned, "holds of a source"),
    map("HOLDS", Ring, Pinned, "held packets"),
    map("WROTE", LruHash, Pinned, "peers that a UDP listener's socket wrote to first"),
    map("HEARD", LruHash, Pinned, "peers whose datagrams were judged"),
    map("ON_LINK", Trie, Pinned, "networks that are on the link of an interface"),
    map("BINDERS", LruHash, Pinned, "processes whose UDP binds were reported"),
    map("WATCHING", Array, Pinned, "since when the gate judges"),
    map("CERTIFIED", Hash, Pinned, "certified places"),
    map("UDP_PORTS", Hash, Pinned, "UDP ports whose binds leave a stamp"),
    map("CHANGES", Array, Pinned, "when listeners came or went"),
    map("RESET_LIMITS", Array, Pinned, "limits of resets"),
    map("RESETS", Array, Pinned, "resets in this second"),
    map("RESET_SOURCES", LruHash, Pinned, "resets of a source in a second"),
    map("FLOWS", LruHash, Pinned, "refused flows"),
    map("PLACE", PerCpuArray, Pinned, "the namespace whose program runs on this CPU"),
    map("REFUSALS", ProgramArray, Pinned, "the program that those of all namespaces call"),
    map("REDIRECT_LISTEN", SockHash, Pinned, "redirect listeners"),
    map("USERS", Array, Pinned, "since when users decide"),
    map("USER_HANDSHAKES", LruHash, Pinned, "handshakes while users decide"),
    map("DATA_REPORTED", LruHash, Pinned, "those whose last ACK had data"),
    map("WAITING", Hash, Pinned, "connections that wait for their client's user"),
    map("MARKS", SocketStorage, Pinned, "marks of such connections' sockets"),
    map("BANNERS", Hash, Pinned, "banners of allowed handshakes"),
    map("BANNER_TEXTS", SocketStorage, Pinned, "the banner in a connection's socket"),
    map("BANNER_SOCKETS", SockHash, Pinned, "sockets that send their banner first"),
    map("EARLY_PLACES", Hash, Process, "places of devices at which SYNs may be dropped"),
    map("EARLY_ALIVE", Array, Process, "the daemon's last sign of life, for these"),
    map("EARLY_REPORTED", PerCpuArray, Process, "SYNs that a CPU dropped early and reported"),
    map("EARLY_SYN", PerCpuArray, Scratch, "the SYN that a CPU judges at a device"),
    map("BAN_LOOKUP", PerCpuArray, Scratch, "the ban that a CPU looks up"),
    map("PEERS", PerCpuArray, Scratch, "the peer that a CPU looks up"),
    map("LOOKUP", PerCpuArray, Scratch, "the look-up that a CPU judges"),
    map("SCRATCH", PerCpuArray, Scratch, "the attempt that a CPU judges"),
];

/// Names of the maps that outlive a process when pinned.
pub(super) fn pinned() -> impl Iterator<Item = &'static str> {
    MAPS.iter().filter(|map| map.life == Pinned).map(|map| map.name)
}

/// Opens a map by a descriptor of its own: the object keeps its descriptor, which programs that are loaded
/// later name.
pub(super) fn open<T: TryFrom<Map, Error = MapError>>(ebpf: &Ebpf, name: &str) -> Result<T> {
    let map = ebpf.map(name).with_context(|| format!("the BPF object has no map {name}"))?;
    let again = duplicate(map).with_context(|| format!("open map {name}"))?;
    T::try_from(again).with_context(|| format!("open map {name}"))
}

macro_rules! duplicate {
    ($($kind:ident)*) => {
        /// A map of the kinds that the object has, by another descriptor.
        fn duplicate(map: &Map) -> Result<Map> {
            $(if let Map::$kind(data) = map {
                let descriptor = data.fd().as_fd().try_clone_to_owned()?;
                return Ok(Map::$kind(MapData::from_fd(descriptor)?));
            })*
            bail!("a map of an unknown kind")
        }

        /// Another descriptor of a map.
        pub(super) fn descriptor(ebpf: &Ebpf, name: &str) -> Result<OwnedFd> {
            let map = ebpf.map(name).with_context(|| format!("the BPF object has no map {name}"))?;
            $(if let Map::$kind(data) = map {
                return data.fd().as_fd().try_clone_to_owned().with_context(|| format!("open map {name}"));
            })*
            bail!("map {name} is of an unknown kind")
        }
    };
}

duplicate! { Array ArrayOfMaps HashMap LpmTrie LruHashMap PerCpuArray ProgramArray SkStorage SockHash }

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use aya_obj::Object;

    use super::*;
    use crate::kernel::load::OBJECT;

    #[test]
    fn table_has_every_map_of_the_object() -> Result<()> {
        let object = Object::parse(OBJECT)?;
        for entry in MAPS {
            let map = object.maps.get(entry.name).with_context(|| format!("no map {}", entry.name))?;
            assert_eq!(map.map_type(), entry.kind as u32, "{}", entry.name);
            assert!(!entry.help.is_empty(), "{}", entry.name);
        }
        let in_table: BTreeSet<&str> = MAPS.iter().map(|map| map.name).collect();
        let is_ours = |name: &&str| !name.starts_with('.') && !name.starts_with("AYA_LOG");
        let in_object: BTreeSet<&str> = object.maps.keys().map(String::as_str).filter(is_ours).collect();
        assert_eq!(in_object, in_table);
        Ok(())
    }
}
