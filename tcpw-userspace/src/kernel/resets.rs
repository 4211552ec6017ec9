//! Refusals by sk_lookup: one link per network namespace, and the certified places.
//!
//! In: certified places of a namespace, and an open file of it. Out: a link while there is
//! one, entries in the kernel's table.
//! Invariant: withdrawn certificates are removed before new ones are added; a link does not keep its
//! namespace alive, and is detached with the last place.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    fs::File,
    io,
    os::fd::{AsFd as _, OwnedFd},
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context as _, Result, bail};
use aya::maps::{Array, HashMap, MapData, ProgramArray};
use tcpw_common::{
    certified::{Certified, CertifiedKey, MAY_DROP_EARLY, MAY_RESET, WHOLE_NETNS, change_index},
    key::{Address, as_v4, mapped},
    refusal::ResetLimits,
};

use super::{
    changes::Changes,
    load::Kernel,
    maps::{descriptor, open},
    pins::Pins,
    programs::Hook,
    stub, sys,
    udp_ports::UdpPorts,
};
use crate::config::{Refusal, ResetRates};

const UDP: u16 = 17;

/// The shared program, its maps, and every link.
pub struct Resets {
    places: HashMap<MapData, CertifiedKey, Certified>,
    /// What is in `places`.
    certified: BTreeMap<CertifiedKey, Certified>,
    changes: Arc<Changes>,
    place: OwnedFd,
    /// Holds the shared program: without a holder or a pin the kernel empties it.
    shared: OwnedFd,
    pins: Option<Pins>,
    links: BTreeMap<u64, Link>,
    /// `None`: binds of UDP ports are not reported, so no UDP place can be certified.
    udp_ports: Option<UdpPorts>,
    /// Most namespaces with a link.
    most_links: usize,
    /// Namespaces that were refused a link.
    without_link: BTreeSet<u64>,
}

/// A link; dropping it ends the resets of its namespace.
enum Link {
    Owned { _link: OwnedFd },
    Pinned(PathBuf),
}

impl Kernel {
    /// Prepares resets; nothing is reset before a place is certified. Takes over pinned state.
    ///
    /// # Errors
    /// The kernel refuses the program, or does not report new listeners.
    pub fn start_resets(&mut self, refusal: &Refusal, cgroup: &Path) -> Result<Arc<Changes>> {
        if !self.sees_listeners {
            bail!("this kernel does not report new listeners");
        }
        let changes = Arc::new(Changes::map(descriptor(&self.ebpf, "CHANGES")?.as_fd())?);
        let mut limits: Array<MapData, ResetLimits> = open(&self.ebpf, "RESET_LIMITS")?;
        limits.set(0, limits_of(refusal.rates), 0).context("write the limits of resets")?;
        let mut programs: ProgramArray<MapData> = open(&self.ebpf, "REFUSALS")?;
        Hook::Refuse.load(&mut self.ebpf, &self.links.btf)?;
        let program = Hook::Refuse.get(&self.ebpf)?;
        let program = program.fd().context("the program is not loaded")?;
        programs.set(0, program, 0).context("put program refuse in its place")?;
        let places: HashMap<MapData, CertifiedKey, Certified> = open(&self.ebpf, "CERTIFIED")?;
        let certified: BTreeMap<CertifiedKey, Certified> =
            places.iter().collect::<Result<_, _>>().context("read the certified places")?;
        let watched = match refusal.answers_any() {
            true => UdpPorts::begin(&mut self.ebpf, &mut self.links, cgroup, refusal.watch_udp_binds),
            false => UdpPorts::end(&mut self.links).map(|()| None),
        };
        let (udp_ports, was_watched) = match watched {
            Ok(None) => (None, false),
            Ok(Some((ports, was_watched))) => (Some(ports), was_watched),
            Err(error) => {
                log::warn!("refused datagrams get no answer, binds of UDP ports are not seen: {error:#}");
                (None, false)
            }
        };
        let mut resets = Resets {
            places,
            certified,
            changes: Arc::clone(&changes),
            place: descriptor(&self.ebpf, "PLACE")?,
            shared: descriptor(&self.ebpf, "REFUSALS")?,
            pins: self.links.pins.clone(),
            links: BTreeMap::new(),
            udp_ports,
            most_links: refusal.namespaces,
            without_link: BTreeSet::new(),
        };
        if !was_watched {
            resets.remove(|key| key.protocol == UDP)?;
        }
        resets.adopt()?;
        self.resets = Some(resets);
        Ok(changes)
    }

    /// Ends the resets an earlier process left pinned.
    ///
    /// # Errors
    /// A pin cannot be removed.
    pub fn end_resets(&mut self) -> Result<()> {
        let Some(pins) = &self.links.pins else { return Ok(()) };
        for (_, path) in pins.links_of_resets()? {
            std::fs::remove_file(&path).with_context(|| format!("remove {}", path.display()))?;
        }
        Ok(())
    }
}

impl Resets {
    /// Whether a packet for a local address and port meets a certified place, and its listener is that socket.
    #[must_use]
    pub fn is_for(&self, netns: u64, local: (Address, u16), protocol: u16, cookie: u64) -> bool {
        let (local, port) = local;
        let key = CertifiedKey { netns, local, port, protocol, reserved: 0 };
        let found = place_at(&self.certified, key);
        found.is_some_and(|(key, place)| place.cookie == cookie && self.is_reset(key))
    }

    /// Whether the refused clients of a place are reset at present.
    #[must_use]
    pub fn is_reset(&self, key: &CertifiedKey) -> bool {
        self.certified.get(key).is_some_and(|place| place.flags & MAY_RESET != 0) && self.is_in_force(key)
    }

    /// Everything that is certified.
    #[must_use]
    pub fn all_certified(&self) -> &BTreeMap<CertifiedKey, Certified> {
        &self.certified
    }

    /// Places whose refused clients are reset at present.
    pub fn places_in_force(&self) -> impl Iterator<Item = CertifiedKey> {
        self.certified.keys().copied().filter(|key| self.is_reset(key))
    }

    /// Takes over the pinned links whose namespace is alive, and removes the others.
    fn adopt(&mut self) -> Result<()> {
        let Some(pins) = &self.pins else { return Ok(()) };
        for (netns, path) in pins.links_of_resets()? {
            let is_alive = sys::open_pin(&path).and_then(|link| sys::is_netns_alive(link.as_fd()));
            if is_alive.with_context(|| format!("open {}", path.display()))? {
                self.links.insert(netns, Link::Pinned(path));
            } else {
                std::fs::remove_file(&path).with_context(|| format!("remove {}", path.display()))?;
            }
        }
        Ok(())
    }

    /// What is certified in a namespace.
    pub fn certified(&self, netns: u64) -> impl Iterator<Item = (&CertifiedKey, &Certified)> {
        self.certified.iter().filter(move |(key, _)| key.netns == netns)
    }

    /// Namespaces with a certified service or a link.
    pub fn namespaces(&self) -> std::collections::BTreeSet<u64> {
        self.certified.keys().map(|key| key.netns).chain(self.links.keys().copied()).collect()
    }

    /// Watches UDP ports of a namespace: these and, as long as something of them is certified, no others.
    ///
    /// # Errors
    /// The kernel refuses a write.
    pub fn watch_udp_ports(&mut self, netns: u64, ports: &BTreeSet<u16>) -> Result<()> {
        let certified = self.certified.keys().filter(|key| key.netns == netns && key.protocol == UDP);
        let ports = certified.map(|key| key.port).chain(ports.iter().copied()).collect();
        self.udp_ports.as_mut().map_or(Ok(()), |watched| watched.watch(netns, &ports))
    }

    /// Whether a UDP port was watched already at that time, on CLOCK_BOOTTIME.
    pub fn was_udp_port_watched(&self, netns: u64, port: u16, at_ns: u64) -> bool {
        self.udp_ports.as_ref().is_some_and(|watched| watched.was_watched(netns, port, at_ns))
    }

    /// How many namespaces have a link, and how many have none because of the bound.
    pub fn links(&self) -> (usize, usize) {
        (self.links.len(), self.without_link.len())
    }

    /// Withdraws every certificate of a port.
    ///
    /// # Errors
    /// The kernel refuses the write.
    pub fn withdraw(&mut self, netns: u64, port: u16) -> Result<()> {
        self.remove(|key| key.netns == netns && key.port == port)
    }

    /// Certifies these places of a namespace, and withdraws all others of it.
    ///
    /// # Errors
    /// The kernel refuses a write or the link: only the places written so far are certified.
    pub fn certify(
        &mut self,
        netns: u64,
        file: Option<&File>,
        wanted: &BTreeMap<CertifiedKey, Certified>,
    ) -> Result<()> {
        let has_any = wanted.values().any(|service| service.flags & !MAY_DROP_EARLY != 0);
        let has_link = match file {
            Some(file) if has_any => self.link(netns, file)?,
            Some(_) | None => {
                self.without_link.remove(&netns);
                false
            }
        };
        if has_link {
            return self.write(netns, wanted);
        }
        // The early drop needs no link.
        let mut early = wanted.clone();
        early.values_mut().for_each(|service| service.flags &= MAY_DROP_EARLY);
        if early.values().all(|service| service.flags == 0) {
            early.clear();
        }
        self.write(netns, &early)?;
        self.unlink(netns)
    }

    /// Withdraws what is not wanted in a namespace, and writes what is.
    fn write(&mut self, netns: u64, wanted: &BTreeMap<CertifiedKey, Certified>) -> Result<()> {
        self.remove(|key| key.netns == netns && !wanted.contains_key(key))?;
        // An entry without flags hides the entry for all addresses: it is written first.
        let mut order: Vec<_> = wanted.iter().collect();
        order.sort_by_key(|(_, service)| service.flags != 0);
        for (key, service) in order {
            if self.certified.get(key) != Some(service) {
                self.places.insert(*key, *service, 0).context("certify a service")?;
                self.certified.insert(*key, *service);
            }
        }
        Ok(())
    }

    /// Whether a certificate is void: user space has to scan again.
    pub fn are_any_void(&self) -> bool {
        self.certified.iter().any(|(key, service)| service.flags != 0 && !self.is_in_force(key))
    }

    fn is_in_force(&self, key: &CertifiedKey) -> bool {
        let stamp = |port| self.changes.get(change_index(key.netns, key.protocol, port));
        self.certified.get(key).is_some_and(|service| {
            service.flags != 0
                && stamp(key.port.into()) == Some(service.port_stamp)
                && stamp(WHOLE_NETNS) == Some(service.netns_stamp)
        })
    }

    fn remove(&mut self, is_over: impl Fn(&CertifiedKey) -> bool) -> Result<()> {
        let mut over: Vec<CertifiedKey> = self.certified.keys().filter(|key| is_over(key)).copied().collect();
        // For the same reason it is removed last.
        over.sort_by_key(|key| self.certified.get(key).is_some_and(|service| service.flags == 0));
        for key in over {
            self.places.remove(&key).context("withdraw a service")?;
            self.certified.remove(&key);
        }
        Ok(())
    }

    /// Makes or removes a namespace's link; false if there are too many.
    fn link(&mut self, netns: u64, file: &File) -> Result<bool> {
        let count = self.links.len();
        let Entry::Vacant(place) = self.links.entry(netns) else {
            return Ok(true);
        };
        if count >= self.most_links {
            self.without_link.insert(netns);
            return Ok(false);
        }
        self.without_link.remove(&netns);
        let program = stub::load(netns, self.place.as_fd(), self.shared.as_fd())
            .context("load the program of a network namespace")?;
        let link =
            sys::attach_sk_lookup(program.as_fd(), file.as_fd()).context("attach to a network namespace")?;
        place.insert(match &self.pins {
            None => Link::Owned { _link: link },
            Some(pins) => {
                let path = pins.link_of_resets(netns);
                sys::pin(link.as_fd(), &path).with_context(|| format!("pin {}", path.display()))?;
                Link::Pinned(path)
            }
        });
        Ok(true)
    }

    fn unlink(&mut self, netns: u64) -> Result<()> {
        match self.links.remove(&netns) {
            Some(Link::Pinned(path)) => match std::fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    Err(error).with_context(|| format!("remove {}", path.display()))
                }
                Ok(()) | Err(_) => Ok(()),
            },
            Some(Link::Owned { .. }) | None => Ok(()),
        }
    }
}

/// What is certified at a place: an entry for its address hides that for all addresses.
pub(super) fn place_at(
    certified: &BTreeMap<CertifiedKey, Certified>,
    key: CertifiedKey,
) -> Option<(&CertifiedKey, &Certified)> {
    let any = if as_v4(&key.local).is_some() { mapped([0; 4]) } else { [0; 16] };
    certified.get_key_value(&key).or_else(|| certified.get_key_value(&CertifiedKey { local: any, ..key }))
}

fn limits_of(rates: ResetRates) -> ResetLimits {
    ResetLimits { per_source: rates.per_source.into(), total: rates.total.into() }
}
