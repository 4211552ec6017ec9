//! The known listeners, by the cookie of their socket.
//!
//! In: results of scans. Out: names and processes for judging, lines and status.
//! Invariant: a listener is added only after its tag was written, or could not be; a names-set that is known
//! here is known to the policy in force.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    net::SocketAddr,
};

use tcpw_common::key::NamesId;

use super::{
    input::Seen,
    shared::{TCP, UDP},
};
use crate::{
    listeners::{Claim, NamePart, NameSource, XinetdService},
    names::NamesSet,
};

/// A listener as last seen.
#[derive(Clone, Debug)]
pub(super) struct KnownListener {
    pub(super) pid: u32,
    pub(super) resident: u32,
    pub(super) ident: String,
    pub(super) names: NamesSet,
    pub(super) claims: Vec<Claim>,
    pub(super) names_id: NamesId,
    pub(super) netns: u64,
    pub(super) protocol: u16,
    pub(super) local: SocketAddr,
    pub(super) found: NameSource,
    pub(super) parts: Vec<NamePart>,
    pub(super) service: Option<XinetdService>,
    /// A UDP socket whose datagrams the kernel itself consumes before any filter sees them.
    pub(super) is_tunnel: bool,
    /// A process was found that holds its socket.
    pub(super) is_shown: bool,
    /// Why its tag could not be written.
    pub(super) untagged: Option<String>,
}

impl KnownListener {
    pub(super) fn new(seen: Seen, untagged: Option<String>) -> Self {
        Self {
            pid: seen.pid,
            resident: seen.resident,
            ident: seen.ident,
            names_id: seen.names.id(),
            names: seen.names,
            claims: seen.claims,
            netns: seen.netns,
            protocol: seen.protocol,
            local: seen.local,
            found: seen.found,
            parts: seen.parts,
            service: seen.service,
            is_tunnel: seen.is_tunnel,
            is_shown: seen.is_shown,
            untagged,
        }
    }

    /// The one name that `%d` expands to.
    pub(super) fn daemon(&self) -> &str {
        self.service.as_ref().map_or(&self.ident, |service| &service.id)
    }
}

/// All listeners by socket cookie, and every names-set that the policy in force knows.
#[derive(Default)]
pub(super) struct Inventory {
    listeners: HashMap<u64, KnownListener>,
    /// Cookies by process and port: events of accepted connections have no cookie of the listener.
    by_process: HashMap<(u32, u16), BTreeSet<u64>>,
    names: HashMap<NamesId, NamesSet>,
}

impl Inventory {
    /// Names-sets that the policy must contain, always in the same order.
    pub(super) fn names_sets(&self) -> Vec<NamesSet> {
        let mut all: Vec<NamesSet> = self.names.values().cloned().collect();
        all.sort_unstable();
        all
    }

    /// The set behind an id; 0 is the empty one.
    pub(super) fn names_of(&self, id: NamesId) -> Option<NamesSet> {
        if id == 0 { Some(NamesSet::default()) } else { self.names.get(&id).cloned() }
    }

    /// Whether a names-set is known.
    pub(super) fn knows(&self, names: &NamesSet) -> bool {
        self.names.get(&names.id()) == Some(names)
    }

    /// Another names-set that has the same id.
    pub(super) fn clash(&self, names: &NamesSet) -> Option<&NamesSet> {
        self.names.get(&names.id()).filter(|known| *known != names)
    }

    /// Adds a names-set that the policy in force knows. One that is known keeps its id.
    pub(super) fn learn(&mut self, names: &NamesSet) {
        self.names.entry(names.id()).or_insert_with(|| names.clone());
    }

    /// The listener of a cookie.
    pub(super) fn get(&self, cookie: u64) -> Option<&KnownListener> {
        self.listeners.get(&cookie)
    }

    /// A process in a network namespace: `pid`, or, if that is 0, the process of any listener there.
    pub(super) fn resident_of(&self, netns: u64, pid: u32) -> u32 {
        let other = || self.listeners.values().find(|known| known.netns == netns).map(|known| known.resident);
        if pid == 0 { other().unwrap_or_default() } else { pid }
    }

    /// The listener of an event: by cookie, or by process and port where there is no cookie.
    pub(super) fn find(&self, cookie: u64, pid: u32, port: u16) -> Option<&KnownListener> {
        self.listeners.get(&cookie).or_else(|| {
            let cookies = self.by_process.get(&(pid, port))?;
            cookies.iter().find_map(|cookie| self.listeners.get(cookie))
        })
    }

    /// Whether it is certain that a listener accepts plain TCP sockets. A socket that an MPTCP listener accepts
    /// looks like one, but the kernel mistakes its type once it is in a map of sockets.
    /// Source: linux net/mptcp/protocol.c, `mptcp_is_tcpsk`.
    pub(super) fn is_plain_tcp(&self, listener: &KnownListener) -> bool {
        let mut others = self
            .listeners
            .values()
            .filter(|other| other.netns == listener.netns && other.local.port() == listener.local.port());
        listener.is_shown && others.all(|other| other.protocol == TCP || other.protocol == UDP)
    }

    /// Whether a listener keeps the names it has: now no process is found that holds it, but one was. Its socket may be
    /// on its way to another process, in a message that was not received yet.
    pub(super) fn keeps_names(&self, seen: &Seen) -> bool {
        seen.found == NameSource::NoProcess
            && self.listeners.get(&seen.cookie).is_some_and(|known| known.is_shown)
    }

    /// Adds or updates a listener.
    pub(super) fn add(&mut self, cookie: u64, known: KnownListener) {
        self.remove(cookie);
        self.by_process.entry((known.pid, known.local.port())).or_default().insert(cookie);
        self.listeners.insert(cookie, known);
    }

    /// Forgets every listener but these.
    pub(super) fn keep_only(&mut self, cookies: &HashSet<u64>) {
        let gone: Vec<u64> =
            self.listeners.keys().copied().filter(|cookie| !cookies.contains(cookie)).collect();
        for cookie in gone {
            self.remove(cookie);
        }
    }

    fn remove(&mut self, cookie: u64) {
        let Some(before) = self.listeners.remove(&cookie) else { return };
        let key = (before.pid, before.local.port());
        if let Some(cookies) = self.by_process.get_mut(&key) {
            cookies.remove(&cookie);
            if cookies.is_empty() {
                self.by_process.remove(&key);
            }
        }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.listeners.len()
    }

    /// Every listener with its cookie, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, &KnownListener)> {
        self.listeners.iter().map(|(cookie, known)| (*cookie, known))
    }

    /// Every listener with its cookie, by port and process.
    pub(super) fn sorted(&self) -> Vec<(u64, &KnownListener)> {
        let mut all: Vec<(u64, &KnownListener)> = self.iter().collect();
        all.sort_by_key(|(_, known)| (known.local.port(), known.pid, known.local));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(pid: u32, found: NameSource, names: &NamesSet) -> Seen {
        Seen {
            cookie: 7,
            netns: 1,
            pid,
            resident: 1,
            holders: Vec::new(),
            protocol: TCP,
            local: ([127, 0, 0, 1], 22).into(),
            names: names.clone(),
            claims: Vec::new(),
            ident: "it".into(),
            found,
            parts: Vec::new(),
            is_guarded: true,
            is_tunnel: false,
            service: None,
            is_shown: pid != 0,
            tag: Ok(None),
        }
    }

    #[test]
    fn listener_whose_socket_is_on_its_way_to_another_process_keeps_its_names() {
        let mut inventory = Inventory::default();
        let hidden = seen(0, NameSource::NoProcess, &NamesSet::default());
        assert!(!inventory.keeps_names(&hidden), "one of the kernel");
        inventory.add(7, KnownListener::new(hidden.clone(), None));
        assert!(!inventory.keeps_names(&hidden));
        let shown = seen(2, NameSource::Process, &NamesSet::new(["sshd"]));
        inventory.add(7, KnownListener::new(shown.clone(), None));
        assert!(inventory.keeps_names(&hidden));
        assert!(!inventory.keeps_names(&shown));
        assert!(!inventory.keeps_names(&seen(0, NameSource::Settings, &NamesSet::new(["sshd"]))));
    }

    #[test]
    fn names_set_with_the_id_of_another_changes_nothing() {
        let [sshd, liar] = [["sshd"], ["xqz"]].map(NamesSet::new);
        let mut inventory = Inventory::default();
        assert_eq!(inventory.clash(&liar), None);
        // As if both had one id.
        inventory.names.insert(liar.id(), sshd.clone());
        assert!(!inventory.knows(&liar));
        assert_eq!(inventory.clash(&liar), Some(&sshd));
        inventory.learn(&liar);
        assert_eq!(inventory.names_of(liar.id()), Some(sshd));
    }
}
