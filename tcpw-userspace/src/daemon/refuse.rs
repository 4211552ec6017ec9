//! Certifies where refused clients may be reset, or told by ICMP.
//!
//! In: what listens in a network namespace, and the stamps read before it was looked at. Out:
//! certified services in the kernel. Invariant: a listener is certified under the names its tag
//! carries, and never before it carries them.

use std::{
    collections::{BTreeMap, HashSet},
    fs::File,
    net::IpAddr,
    sync::Arc,
};

use tcpw_common::{
    key::mapped,
    limits::SETTLED_NS,
    service::{ANY_PORT, RESET, STEER, Service, ServiceKey, WHOLE_NETNS, change_index},
};

use super::{Daemon, registry::Known};
use crate::{
    certify::{Certified, Identified, LocalEnd, certify_tcp, certify_udp, udp_ports},
    config::{Config, Mode},
    host::boot_ns,
    kernel::{Changes, Kernel, Stamps},
    listeners::Namespace,
    listeners::PortSocket,
};

const TCP: u16 = 6;
const UDP: u16 = 17;

/// Network namespaces, as a scan found them.
#[derive(Default)]
pub(super) struct Looked {
    namespaces: Vec<Namespace>,
    /// In these somebody began or ended to listen meanwhile: a list of sockets may lack one.
    unsteady: HashSet<u64>,
    stamps: Stamps,
}

impl Looked {
    /// `stamps` were read before the namespaces were looked at.
    pub(super) fn new(namespaces: Vec<Namespace>, stamps: Stamps, changes: &Changes) -> Self {
        let is_unsteady = |netns: &u64| {
            let index = change_index(*netns, TCP, ANY_PORT);
            changes.get(index) != stamps.get(index)
        };
        let unsteady = namespaces.iter().map(|namespace| namespace.netns).filter(is_unsteady).collect();
        Self { namespaces, unsteady, stamps }
    }
}

impl Daemon {
    /// Gets ready to reset clients, or to lead them to us, unless nobody is refused and if the kernel can.
    pub(super) fn start_resets(kernel: &mut Kernel, config: &Config) -> Option<Arc<Changes>> {
        // Without resets, some may be led to what their rule has for them.
        let started = if config.mode == Mode::Enforce {
            kernel.start_resets(&config.refusal, &config.cgroup).map(Some)
        } else {
            kernel.end_resets().map(|()| None)
        };
        started.unwrap_or_else(|error| {
            log::warn!(
                "refused clients are not reset, their SYNs are dropped, and twist and banners do nothing: {error:#}"
            );
            None
        })
    }

    /// Certifies what is certain in the namespaces looked at; if these are all, nothing in others.
    pub(super) fn certify(&mut self, looked: &Looked, is_all: bool) {
        for namespace in &looked.namespaces {
            if looked.unsteady.contains(&namespace.netns) {
                self.scans.look_at_all();
                continue;
            }
            let wanted = self.services(namespace, &looked.stamps);
            self.set_services(namespace.netns, Some(&namespace.file), &wanted);
            self.see_to_takers(namespace.netns, Some(&namespace.file));
        }
        self.watch_udp_ports(looked);
        if !is_all {
            return;
        }
        let seen: HashSet<u64> = looked.namespaces.iter().map(|namespace| namespace.netns).collect();
        let known = self.kernel.resets().map(|resets| resets.namespaces()).unwrap_or_default();
        for gone in known.into_iter().filter(|netns| !seen.contains(netns)) {
            self.set_services(gone, None, &BTreeMap::new());
            self.see_to_takers(gone, None);
        }
    }

    /// A listener's names change: nobody is reset on behalf of the old ones.
    pub(super) fn withdraw(&mut self, netns: u64, port: u16) {
        let withdrawn = self.kernel.resets().map_or(Ok(()), |resets| resets.withdraw(netns, port));
        if let Err(error) = withdrawn {
            log::error!("{error:#}");
        }
    }

    /// Watches the UDP ports of which something may become certain: at the next look.
    pub(super) fn watch_udp_ports(&mut self, looked: &Looked) {
        let Some(resets) = self.kernel.resets() else { return };
        for namespace in &looked.namespaces {
            let ports = udp_ports(&namespace.datagrams, &namespace.given_away);
            if let Err(error) = resets.watch_udp_ports(namespace.netns, &ports) {
                log::error!("refused datagrams of some services get no answer: {error:#}");
            }
        }
    }

    /// Looks again where a certificate is void, and says where there can be none.
    pub(super) fn watch_resets(&mut self) {
        let Some(resets) = self.kernel.resets() else { return };
        let (_, without) = resets.links();
        if resets.are_any_void() {
            self.scans.look_at_all();
        }
        let said = std::mem::replace(&mut self.namespaces_without_resets, without);
        if without > said {
            log::warn!(
                "{without} network namespaces with refused clients are beyond the bound of {} ([reset] namespaces): \
                 their clients are dropped, not reset",
                self.config.refusal.namespaces
            );
        }
    }

    fn set_services(&mut self, netns: u64, file: Option<&File>, wanted: &BTreeMap<ServiceKey, Service>) {
        let certified = self.kernel.resets().map_or(Ok(()), |resets| resets.certify(netns, file, wanted));
        if let Err(error) = certified {
            log::error!("refused clients of some listeners are dropped, not reset: {error:#}");
        }
    }

    /// What the kernel's table should hold of a namespace.
    fn services(&mut self, namespace: &Namespace, stamps: &Stamps) -> BTreeMap<ServiceKey, Service> {
        let netns = namespace.netns;
        let stamp = |protocol, port| stamps.get(change_index(netns, protocol, port)).unwrap_or(u64::MAX);
        let (registry, resets) = (&self.registry, self.kernel.resets());
        let identified = |socket: &PortSocket| {
            let known = registry.get(socket.cookie)?;
            let is_certain = known.untagged.is_none() && known.netns == netns && !known.is_tunnel;
            is_certain.then_some(Identified { names: known.names.id(), pid: known.pid })
        };
        let is_watched = |port: u16| {
            let settled = stamp(UDP, port.into()).saturating_add(SETTLED_NS) < stamps.at_ns();
            let resets = resets.as_ref();
            settled && resets.is_some_and(|it| it.was_udp_port_watched(netns, port, stamps.at_ns()))
        };
        let datagrams = certify_udp(&namespace.datagrams, is_watched, identified);
        let found = [(TCP, certify_tcp(&namespace.sockets, identified)), (UDP, datagrams)];
        let before: BTreeMap<ServiceKey, Service> = self
            .kernel
            .resets()
            .map(|resets| resets.certified(netns).map(|(key, service)| (*key, *service)).collect())
            .unwrap_or_default();
        let steers = if self.steers() { STEER } else { 0 };
        let flags = |one: Certified, protocol, port| {
            let names = self.registry.get(one.cookie).map(|known| &known.names);
            let is_reset = names.is_some_and(|names| self.config.refusal.resets(names, port));
            (if protocol == TCP { steers } else { 0 }) | if is_reset { RESET } else { 0 }
        };
        let service = |protocol: u16, (local, port): LocalEnd, one: Option<Certified>| {
            let key = ServiceKey { netns, local, port, protocol, reserved: 0 };
            let names = one.map_or(0, |one| one.names);
            let since = before.get(&key).filter(|service| service.names == names && service.flags != 0);
            let service = Service {
                names,
                cookie: one.map_or(0, |one| one.cookie),
                port_stamp: stamp(protocol, port.into()),
                netns_stamp: stamp(protocol, WHOLE_NETNS),
                since_ns: since.map_or_else(boot_ns, |service| service.since_ns),
                pid: one.map_or(0, |one| one.pid),
                family: one.map_or(0, |one| one.family),
                flags: one.map_or(0, |one| flags(one, protocol, port)),
                reserved: 0,
            };
            (key, service)
        };
        let all = found.into_iter().flat_map(|(protocol, places)| {
            places.into_iter().map(move |(place, one)| (protocol, place, one))
        });
        all.map(|(protocol, place, one)| service(protocol, place, one)).collect()
    }

    /// How the refused clients of a listener are refused, as things stand.
    pub(super) fn on_deny(&self, known: &Known) -> &'static str {
        let address = match known.local.ip() {
            IpAddr::V4(v4) => mapped(v4.octets()),
            IpAddr::V6(v6) => v6.octets(),
        };
        let (netns, port) = (known.netns, known.local.port());
        // An MPTCP listener's clients meet a TCP listener.
        let protocol = if known.protocol == UDP { UDP } else { TCP };
        let key = ServiceKey { netns, local: address, port, protocol, reserved: 0 };
        match self.config.mode {
            Mode::Audit => "pass",
            Mode::Enforce if !self.kernel.is_reset(&key) => "drop",
            Mode::Enforce if protocol == UDP => "icmp",
            Mode::Enforce => "reset",
        }
    }
}

/// Whether any client may be reset: then the gate remembers whom it let pass.
pub(super) fn wants_resets(config: &Config) -> bool {
    config.mode == Mode::Enforce && config.refusal.resets_any()
}
