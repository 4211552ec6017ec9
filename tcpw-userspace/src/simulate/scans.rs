//! Looks for listeners: what they find, and what may have changed meanwhile.
//!
//! In: the host's listeners, stamps. Out: what a scan says.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use tcpw_common::certified::WHOLE_NETNS;

use super::{
    history::{History, instant},
    host,
    plan::LISTENERS,
};
use crate::{
    core::{
        action::Scan,
        input::{NamespaceSeen, Scanned, Seen},
    },
    host::Incomplete,
    listeners::NameSource,
};

/// Stamps by network namespace, protocol and port.
pub(super) type PortStamps = BTreeMap<(u64, u16, u16), u64>;

/// When listeners of each port last came or went, by namespace, protocol and port; 0 is the whole namespace.
pub(super) fn stamps(history: &History) -> PortStamps {
    let mut stamps = BTreeMap::new();
    for listener in 0..LISTENERS {
        let (netns, port, protocol) = host::place_of(listener);
        let of = |port: u16| history.kernel.stamp(netns, protocol, port.into());
        stamps.insert((netns, protocol, port), of(port));
        stamps.insert((netns, protocol, 0), history.kernel.stamp(netns, protocol, WHOLE_NETNS));
    }
    stamps
}

/// Listeners as a look would see them now.
pub(super) fn seen(history: &History, is_wanted: impl Fn(usize) -> bool) -> Vec<Seen> {
    let host = &history.host;
    let all = (0..LISTENERS).filter(|listener| is_wanted(*listener) && !host.hidden[*listener]);
    all.filter_map(|listener| {
        let cookie = host.cookies[listener]?;
        let socket = history.kernel.sockets.get(&cookie)?;
        Some(Seen {
            cookie,
            netns: socket.netns,
            pid: socket.pid,
            resident: socket.pid,
            holders: vec![socket.pid],
            protocol: socket.protocol,
            local: socket.local,
            names: host.names(listener),
            claims: Vec::new(),
            ident: host.name(listener).into(),
            found: NameSource::Process,
            parts: Vec::new(),
            is_guarded: true,
            is_tunnel: false,
            service: None,
            is_shown: true,
            tag: Ok(socket.tag),
        })
    })
    .collect()
}

/// What a look finds that began some time ago, with the stamps of then.
pub(super) fn scanned(history: &History, scan: &Scan, began_ns: u64, before: &PortStamps) -> Scanned {
    let is_all = *scan == Scan::All;
    let listeners = match scan {
        Scan::All => seen(history, |_| true),
        Scan::Processes(pids) => seen(history, |listener| pids.contains(&host::pid_of(listener))),
    };
    let fails = is_all && (history.host.do_scans_fail || history.fails(&[68, began_ns]));
    let incomplete = fails.then(|| match history.chance(&[69, began_ns]).percent(50) {
        true => Incomplete::Blind("no /proc".into()),
        false => Incomplete::Namespace("no netlink".into()),
    });
    let found: BTreeSet<u64> =
        if is_all { history.netns_of_listeners() } else { listeners.iter().map(|seen| seen.netns).collect() };
    let namespaces = if history.plan.conditions.has_refusals {
        found.into_iter().map(|netns| namespace(history, netns, before, began_ns)).collect()
    } else {
        Vec::new()
    };
    Scanned { listeners, is_all, incomplete, began: Some(instant(began_ns)), namespaces, marks_bound: true }
}

fn namespace(history: &History, netns: u64, before: &PortStamps, began_ns: u64) -> NamespaceSeen {
    let of_it = before.iter().filter(|((other, ..), _)| *other == netns);
    let stamps: HashMap<(u16, u16), u64> =
        of_it.map(|((_, protocol, port), stamp)| ((*protocol, *port), *stamp)).collect();
    let is_other = |((protocol, port), stamp): (&(u16, u16), &u64)| {
        *protocol == 6 && history.kernel.stamp(netns, *protocol, (*port).into()) != *stamp
    };
    NamespaceSeen {
        netns,
        sockets: history.kernel.port_sockets(netns, 6),
        datagrams: history.kernel.port_sockets(netns, 17),
        given_away: 32768..=60999,
        link_networks: None,
        is_unsteady: stamps.iter().any(is_other),
        stamped_ns: began_ns,
        watched: history.kernel.watched(netns).collect(),
        stamps,
    }
}
