//! Which networks are on the links of interfaces: from there come replies to multicast.
//!
//! In: the network namespaces that a scan found. Out: the whole table of the kernel, if it changes.
//! Invariant: of older namespaces no network is left out for those of younger ones. The table is bounded; what is
//! left out is said once.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use tcpw_common::limits::MAX_ON_LINK;

use crate::{
    core::{action::Action, input::NamespaceSeen, outbox::Outbox},
    host::LinkNetwork,
};

/// The networks by network namespace; a younger namespace has a higher cookie.
#[derive(Default)]
pub(in crate::core) struct LinkNetworks {
    known: BTreeMap<u64, BTreeSet<LinkNetwork>>,
    /// What the kernel was told last; `None` if it is not certain what it has.
    written: Option<Arc<BTreeSet<(u64, LinkNetwork)>>>,
    /// Networks were left out.
    are_too_many: bool,
    /// Why the last ones could not be written.
    failure: Option<String>,
}

impl LinkNetworks {
    /// A scan found these namespaces; all there are, if `is_all`.
    pub(in crate::core) fn scanned(&mut self, found: &[NamespaceSeen], is_all: bool, out: &mut Outbox) {
        if is_all {
            let there: BTreeSet<u64> = found.iter().map(|namespace| namespace.netns).collect();
            self.known.retain(|netns, _| there.contains(netns));
        }
        for namespace in found {
            if let Some(networks) = &namespace.link_networks {
                self.known.insert(namespace.netns, networks.clone());
            }
        }
        self.write(MAX_ON_LINK as usize, out);
    }

    /// They could not be written: the next scan tries it again.
    pub(in crate::core) fn not_written(&mut self, reason: String, out: &mut Outbox) {
        self.written = None;
        if self.failure.as_ref() != Some(&reason) {
            out.error(format!("replies to some multicast questions are judged by the tables: {reason}"));
        }
        self.failure = Some(reason);
    }

    fn write(&mut self, most: usize, out: &mut Outbox) {
        let all = self.known.iter().flat_map(|(netns, of_it)| of_it.iter().map(|network| (*netns, *network)));
        let wanted: BTreeSet<(u64, LinkNetwork)> = all.take(most).collect();
        let are_too_many = self.known.values().map(BTreeSet::len).sum::<usize>() > most;
        if are_too_many && !self.are_too_many {
            out.warn(format!(
                "the interfaces of this host have more than {most} networks: replies to multicast questions from those \
                 of the youngest network namespaces are judged by the tables"
            ));
        }
        self.are_too_many = are_too_many;
        if self.written.as_deref() != Some(&wanted) {
            let wanted = Arc::new(wanted);
            self.written = Some(Arc::clone(&wanted));
            out.act(Action::WriteLinkNetworks(wanted));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::tests::now;

    fn namespace(netns: u64, networks: Option<&[&str]>) -> NamespaceSeen {
        let of = |text: &&str| LinkNetwork::new(2, text.parse().unwrap(), 24).unwrap();
        NamespaceSeen {
            netns,
            sockets: Vec::new(),
            datagrams: Vec::new(),
            given_away: 0..=0,
            link_networks: networks.map(|texts| texts.iter().map(of).collect()),
            is_unsteady: false,
            stamped_ns: 0,
            stamps: Default::default(),
            watched: BTreeSet::new(),
        }
    }

    /// How many networks of which namespaces are written; `None` if nothing is.
    fn written(out: Outbox) -> Option<Vec<u64>> {
        out.actions.into_iter().find_map(|action| {
            let Action::WriteLinkNetworks(all) = action else { return None };
            Some(all.iter().map(|(netns, _)| *netns).collect())
        })
    }

    fn scanned(networks: &mut LinkNetworks, found: &[NamespaceSeen], is_all: bool) -> Option<Vec<u64>> {
        let mut out = Outbox::new(now());
        networks.scanned(found, is_all, &mut out);
        written(out)
    }

    #[test]
    fn only_changes_are_written_and_a_namespace_that_is_gone_is_forgotten() {
        let mut networks = LinkNetworks::default();
        let [one, two] = [namespace(1, Some(&["192.0.2.0"])), namespace(2, Some(&["192.0.2.0", "10.0.0.0"]))];
        assert_eq!(scanned(&mut networks, &[], true), Some(vec![]), "an earlier daemon may have left some");
        assert_eq!(scanned(&mut networks, &[one.clone(), two.clone()], true), Some(vec![1, 2, 2]));
        assert_eq!(scanned(&mut networks, &[one.clone(), two.clone()], true), None);
        assert_eq!(scanned(&mut networks, std::slice::from_ref(&one), false), None, "the scan of a process");
        assert_eq!(scanned(&mut networks, &[one.clone(), namespace(2, None)], true), None, "not known");
        assert_eq!(scanned(&mut networks, &[one], true), Some(vec![1]));
    }

    #[test]
    fn what_could_not_be_written_is_written_again_and_said_once() {
        let mut networks = LinkNetworks::default();
        let one = [namespace(1, Some(&["192.0.2.0"]))];
        assert!(scanned(&mut networks, &one, true).is_some());
        for is_first in [true, false] {
            let mut out = Outbox::new(now());
            networks.not_written("full".into(), &mut out);
            assert_eq!(out.actions.len(), usize::from(is_first));
            assert!(scanned(&mut networks, &one, true).is_some());
        }
    }

    #[test]
    fn networks_of_the_youngest_namespaces_are_left_out() {
        let mut networks = LinkNetworks::default();
        let mut out = Outbox::new(now());
        networks.known.insert(7, namespace(7, Some(&["192.0.2.0"])).link_networks.unwrap());
        networks.known.insert(3, namespace(3, Some(&["192.0.2.0", "10.0.0.0"])).link_networks.unwrap());
        networks.write(2, &mut out);
        assert!(matches!(out.actions.first(), Some(Action::Say(..))));
        assert_eq!(written(out), Some(vec![3, 3]));
    }
}
