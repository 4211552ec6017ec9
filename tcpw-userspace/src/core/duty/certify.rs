//! Certifies where refused clients may be reset, answered with ICMP, or redirected.
//!
//! In: the sockets of a network namespace, and the stamps read before it was scanned. Out: certified
//! places in the kernel. Invariant: a listener is certified under the names in its tag, and only after the
//! tag was written.

use std::collections::{BTreeMap, HashSet};

use tcpw_common::{
    certified::{Certified, CertifiedKey, MAY_CLOSE, MAY_DROP_EARLY, MAY_REDIRECT, MAY_RESET, WHOLE_NETNS},
    limits::SETTLED_NS,
};

use super::redirect::Redirect;
use crate::{
    certify::{CertifiedListener as Certain, Identified, LocalEnd, certify_tcp, certify_udp, udp_ports},
    config::{Config, Mode, OnDeny},
    core::{
        action::Action,
        input::NamespaceSeen,
        inventory::KnownListener,
        outbox::{Outbox, Step},
        shared::{SharedState, TCP, UDP},
    },
    events::address,
    listeners::PortSocket,
};

/// What is certified.
#[derive(Default)]
pub(in crate::core) struct Certify {
    /// Clients can be refused before their packet finds a socket.
    is_on: bool,
    /// SYNs to places of this network namespace may be dropped at a device.
    early_netns: Option<u64>,
    certified: BTreeMap<CertifiedKey, Certified>,
    /// How many network namespaces were reported as beyond the bound.
    said_without: usize,
}

impl Certify {
    /// Clients can, or cannot, be refused before their packet finds a socket; an earlier process certified
    /// these places.
    pub(in crate::core) fn start(
        &mut self,
        is_on: bool,
        certified: BTreeMap<CertifiedKey, Certified>,
        early_netns: Option<u64>,
    ) {
        self.is_on = is_on;
        self.certified = certified;
        self.early_netns = early_netns;
    }

    /// The certificate of a place.
    pub(in crate::core) fn get(&self, key: &CertifiedKey) -> Option<&Certified> {
        self.certified.get(key)
    }

    /// Certifies the places in the namespaces that were scanned. After a scan of all namespaces, withdraws the
    /// certificates in all others.
    pub(in crate::core) fn certify(
        &mut self,
        namespaces: &[NamespaceSeen],
        is_all: bool,
        redirect: &mut Redirect,
        shared: &SharedState,
        out: &mut Outbox,
    ) {
        if !self.is_on {
            return;
        }
        for namespace in namespaces {
            if namespace.is_unsteady {
                out.step(Step::LookAtAll);
                continue;
            }
            let places = self.places(namespace, shared);
            self.set(namespace.netns, places, true, redirect, out);
        }
        self.watch_udp_ports(namespaces, out);
        if !is_all {
            return;
        }
        let seen: HashSet<u64> = namespaces.iter().map(|namespace| namespace.netns).collect();
        let gone: HashSet<u64> =
            self.certified.keys().map(|key| key.netns).filter(|netns| !seen.contains(netns)).collect();
        for netns in gone {
            self.set(netns, BTreeMap::new(), false, redirect, out);
        }
    }

    /// Watches the UDP ports that the next scan may certify.
    pub(in crate::core) fn watch_udp_ports(&self, namespaces: &[NamespaceSeen], out: &mut Outbox) {
        if !self.is_on {
            return;
        }
        for namespace in namespaces {
            let ports = udp_ports(&namespace.datagrams, &namespace.given_away);
            out.act(Action::WatchUdpPorts { netns: namespace.netns, ports });
        }
    }

    /// A listener's names change: its certificates are withdrawn, so that no client is refused under the old
    /// names.
    pub(in crate::core) fn withdraw(&mut self, netns: u64, port: u16, out: &mut Outbox) {
        let before = self.certified.len();
        self.certified.retain(|key, _| key.netns != netns || key.port != port);
        if self.is_on && self.certified.len() < before {
            out.act(Action::Withdraw { netns, port });
        }
    }

    /// Certifying in a namespace failed: the next scan certifies everything in it again.
    pub(in crate::core) fn not_certified(&mut self, netns: u64, reason: &str, out: &mut Outbox) {
        self.certified.retain(|key, _| key.netns != netns);
        out.error(format!("refused clients of some listeners are dropped, not reset: {reason}"));
    }

    /// Starts a scan if a certificate is void, and reports namespaces beyond the bound.
    pub(in crate::core) fn second(
        &mut self,
        (is_any_void, without): (bool, usize),
        shared: &SharedState,
        out: &mut Outbox,
    ) {
        if is_any_void {
            out.step(Step::LookAtAll);
        }
        let said = std::mem::replace(&mut self.said_without, without);
        if without > said {
            out.warn(format!(
                "{without} network namespaces with refused clients are beyond the bound of {} ([reset] namespaces): \
                 their clients are dropped, not reset",
                shared.config.refusal.namespaces
            ));
        }
    }

    fn set(
        &mut self,
        netns: u64,
        places: BTreeMap<CertifiedKey, Certified>,
        is_there: bool,
        redirect: &mut Redirect,
        out: &mut Outbox,
    ) {
        self.certified.retain(|key, _| key.netns != netns);
        self.certified.extend(places.iter().map(|(key, certified)| (*key, *certified)));
        redirect.see_to_listeners(netns, &places, is_there, out);
        out.act(Action::Certify { netns, places, is_there });
    }

    /// The entries the kernel's table should have for a namespace.
    fn places(&self, namespace: &NamespaceSeen, shared: &SharedState) -> BTreeMap<CertifiedKey, Certified> {
        let netns = namespace.netns;
        let stamp =
            |protocol: u16, port: u16| namespace.stamps.get(&(protocol, port)).copied().unwrap_or(u64::MAX);
        let inventory = &shared.inventory;
        let identified = |socket: &PortSocket| {
            let known = inventory.get(socket.cookie)?;
            let is_certain = known.untagged.is_none() && known.netns == netns && !known.is_tunnel;
            is_certain.then_some(Identified { names: known.names_id, pid: known.pid })
        };
        let is_watched = |port: u16| {
            let is_settled = stamp(UDP, port).saturating_add(SETTLED_NS) < namespace.stamped_ns;
            is_settled && namespace.watched.contains(&port)
        };
        let datagrams = certify_udp(&namespace.datagrams, is_watched, identified);
        let found = [(TCP, certify_tcp(&namespace.sockets, identified)), (UDP, datagrams)];
        let may_redirect = if shared.redirects() { MAY_REDIRECT } else { 0 };
        let early = if self.early_netns == Some(netns) { MAY_DROP_EARLY } else { 0 };
        let flags = |one: Certain, protocol, port| {
            let names = inventory.get(one.cookie).map(|known| &known.names);
            let on_deny = names.map_or(OnDeny::Drop, |names| shared.config.refusal.of(names, port));
            let answers = match on_deny {
                OnDeny::Close if protocol == TCP => MAY_RESET | MAY_CLOSE,
                OnDeny::Close | OnDeny::Reset => MAY_RESET,
                OnDeny::Drop => 0,
            };
            (if protocol == TCP { may_redirect | early } else { 0 }) | answers
        };
        let certified = |protocol: u16, (local, port): LocalEnd, one: Option<Certain>| {
            let key = CertifiedKey { netns, local, port, protocol, reserved: 0 };
            let names = one.map_or(0, |one| one.names);
            let certified = Certified {
                names,
                cookie: one.map_or(0, |one| one.cookie),
                port_stamp: stamp(protocol, port),
                netns_stamp: stamp(protocol, WHOLE_NAMESPACE),
                pid: one.map_or(0, |one| one.pid),
                family: one.map_or(0, |one| one.family),
                flags: one.map_or(0, |one| flags(one, protocol, port)),
                reserved: 0,
            };
            (key, certified)
        };
        let all = found.into_iter().flat_map(|(protocol, places)| {
            places.into_iter().map(move |(place, one)| (protocol, place, one))
        });
        all.map(|(protocol, place, one)| certified(protocol, place, one)).collect()
    }
}

/// The port number that denotes the whole namespace among the stamps.
const WHOLE_NAMESPACE: u16 = 0;
const _: () = assert!(WHOLE_NETNS == WHOLE_NAMESPACE as u32);

/// How the clients of a listener are refused; `is_answered` returns whether a place is certified for it.
pub(in crate::core) fn on_deny(
    known: &KnownListener,
    config: &Config,
    is_answered: impl Fn(&CertifiedKey) -> bool,
) -> &'static str {
    let (netns, port) = (known.netns, known.local.port());
    // The clients of an MPTCP listener reach its TCP subflow.
    let protocol = if known.protocol == UDP { UDP } else { TCP };
    let key = CertifiedKey { netns, local: address(known.local.ip()), port, protocol, reserved: 0 };
    match (config.mode, config.refusal.of(&known.names, port)) {
        (Mode::Audit, _) => "pass",
        (Mode::Enforce, _) if !is_answered(&key) => "drop",
        (Mode::Enforce, _) if protocol == UDP => "icmp",
        (Mode::Enforce, OnDeny::Close) => "close",
        (Mode::Enforce, OnDeny::Reset | OnDeny::Drop) => "reset",
    }
}
