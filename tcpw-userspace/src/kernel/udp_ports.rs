//! UDP ports that are watched: a bind(2) of one, anywhere on the host, leaves a stamp.
//!
//! In: ports of a network namespace. Out: since when each is watched.
//! Invariant: a port is watched as long as a place of it is certified, and since before the scan that found
//! its socket. The programs that watch cover the whole host, allow every call, and outlive the process like the
//! certificates.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use aya::{
    Ebpf,
    maps::{HashMap, MapData},
};
use tcpw_common::certified::PortKey;

use super::{
    links::{HookState, Links},
    maps::open,
    pins::cgroup_id,
    programs::{Hook, Want, When},
};
use crate::host::boot_ns;

/// The ports that are watched.
pub(super) struct UdpPorts {
    table: HashMap<MapData, PortKey, u64>,
    /// Since when: CLOCK_BOOTTIME, nanoseconds.
    since: BTreeMap<PortKey, u64>,
}

impl UdpPorts {
    /// Begins to watch. Also returns whether an earlier process already watched without a gap. `None`: a cgroup below
    /// the root is guarded, and the host outside it is not to be watched.
    ///
    /// # Errors
    /// The kernel refuses a program, or the root of the cgroups is not mounted here.
    pub(super) fn begin(
        ebpf: &mut Ebpf,
        links: &mut Links,
        cgroup: &Path,
        watches_outside: bool,
    ) -> Result<Option<(Self, bool)>> {
        let root = root_above(cgroup).context("the root of cgroup2 is not mounted here")?;
        if cgroup_id(&root)? != cgroup_id(cgroup)? {
            if !watches_outside {
                log::info!(
                    "refused datagrams are dropped: a socket outside of {} may take a UDP port, and nothing is attached there; watch-udp-binds = true watches, by four programs at the root of all cgroups",
                    cgroup.display()
                );
                return Self::end(links).map(|()| None);
            }
            log::info!(
                "four programs are attached to the root of all cgroups ({}) besides {}: they see which UDP ports are bound outside it, and allow every call",
                root.display(),
                cgroup.display()
            );
        }
        let mut was_watched = true;
        for hook in Hook::of(When::Wanted(Want::UdpPorts)) {
            was_watched &= links.attach(ebpf, hook, &root)? == HookState::Adopted;
        }
        let table: HashMap<MapData, PortKey, u64> = open(ebpf, "UDP_PORTS")?;
        let known: Vec<PortKey> = table.keys().collect::<Result<_, _>>().context("read the watched ports")?;
        let since = known.into_iter().map(|key| (key, 0)).collect();
        let mut ports = Self { table, since };
        if !was_watched {
            ports.keep_only(|_| false)?;
        }
        Ok(Some((ports, was_watched)))
    }

    /// Detaches the programs that an earlier process left pinned.
    ///
    /// # Errors
    /// A pin cannot be removed.
    pub(super) fn end(links: &mut Links) -> Result<()> {
        Hook::of(When::Wanted(Want::UdpPorts)).try_for_each(|hook| links.forget(hook))
    }

    /// Watches these ports of a namespace, and no other of it.
    ///
    /// # Errors
    /// The kernel refuses a write.
    pub(super) fn watch(&mut self, netns: u64, ports: &BTreeSet<u16>) -> Result<()> {
        self.keep_only(|key| {
            key.netns != netns || u16::try_from(key.port).is_ok_and(|port| ports.contains(&port))
        })?;
        for port in ports {
            let key = PortKey { netns, port: (*port).into(), reserved: 0 };
            if !self.since.contains_key(&key) {
                self.table.insert(key, 0, 0).context("watch a UDP port")?;
                self.since.insert(key, boot_ns());
            }
        }
        Ok(())
    }

    /// Whether a port was watched already at that time.
    pub(super) fn was_watched(&self, netns: u64, port: u16, at_ns: u64) -> bool {
        let key = PortKey { netns, port: port.into(), reserved: 0 };
        self.since.get(&key).is_some_and(|since| *since < at_ns)
    }

    fn keep_only(&mut self, is_kept: impl Fn(&PortKey) -> bool) -> Result<()> {
        let gone: Vec<PortKey> = self.since.keys().filter(|key| !is_kept(key)).copied().collect();
        for key in gone {
            self.table.remove(&key).context("watch a UDP port no more")?;
            self.since.remove(&key);
        }
        Ok(())
    }
}

/// The root of all cgroups above a directory; that of a container is none.
fn root_above(cgroup: &Path) -> Option<PathBuf> {
    /// Source: linux/fs/kernfs/dir.c, `kernfs_create_root`.
    const ROOT_INODE: u64 = 1;
    let is_cgroup2 = |dir: &&Path| {
        nix::sys::statfs::statfs(*dir)
            .is_ok_and(|found| found.filesystem_type() == nix::sys::statfs::CGROUP2_SUPER_MAGIC)
    };
    let mut above = cgroup.ancestors().take_while(is_cgroup2);
    above.find(|dir| cgroup_id(dir).is_ok_and(|id| id == ROOT_INODE)).map(Path::to_path_buf)
}
