//! Which sockets are in scope: those that were made in the guarded cgroup or below it.
//!
//! In: ids of cgroups, of sockets and of directories. Out: inside, outside, or not known. A path in /proc does not
//! decide: it depends on the cgroup namespace of its reader.
//! Invariant: what is not known is judged, and is not called guarded.

use std::{collections::BTreeMap, path::Path};

use super::Listener;
use crate::host::{Cgroups, sock_diag::DiagSocket};

/// IPPROTO_UDPLITE. Source: linux/include/uapi/linux/in.h.
const UDP_LITE: u16 = 136;

/// The sockets the gate guards.
pub(super) enum Guarded {
    All,
    Below(Cgroups),
}

impl Guarded {
    /// Those made in or below this directory; all of them without one.
    pub(super) fn below(cgroup: Option<&Path>) -> Self {
        cgroup.map_or(Self::All, |cgroup| Self::Below(Cgroups::around(cgroup)))
    }

    /// Whether the gate certainly guards a socket: what is said of it, and what is certified, depends on that.
    pub(super) fn has(&self, socket: &DiagSocket) -> bool {
        self.knows(socket) == Some(true)
    }

    /// Whether the gate may guard a socket: it then needs its tag. A cgroup that was removed has no directory any more,
    /// but the gate still guards the sockets that were made in it.
    pub(super) fn may_have(&self, socket: &DiagSocket) -> bool {
        self.knows(socket) != Some(false)
    }

    /// `None` if it is not known.
    fn knows(&self, socket: &DiagSocket) -> Option<bool> {
        match self {
            Self::All => Some(true),
            Self::Below(cgroups) => cgroups.is_inside(socket.cgroup),
        }
    }

    /// Marks each listener, and leaves out those that are out of scope unless they are wanted too. A listener that the
    /// kernel does not list, because it began to listen a moment ago, may be guarded; UDP-Lite is not.
    pub(super) fn decide(&self, listeners: &mut Vec<Listener>, sockets: &[DiagSocket], is_everywhere: bool) {
        listeners.retain_mut(|listener| {
            let is_lite = listener.protocol == UDP_LITE;
            listener.is_guarded &= !is_lite;
            is_everywhere || !is_lite
        });
        if matches!(self, Self::All) {
            return;
        }
        let listed: BTreeMap<u64, &DiagSocket> =
            sockets.iter().map(|socket| (socket.cookie, socket)).collect();
        listeners.retain_mut(|listener| {
            let socket = listed.get(&listener.cookie);
            listener.is_guarded &= socket.is_some_and(|socket| self.has(socket));
            is_everywhere || socket.is_none_or(|socket| self.may_have(socket))
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listeners::{NameSource, scan::tests::listener};

    #[test]
    fn listener_that_the_kernel_does_not_list_yet_is_in_scope_and_not_called_guarded() {
        let guarded = Guarded::Below(Cgroups::default());
        for is_everywhere in [false, true] {
            let mut listeners = vec![listener(1, NameSource::Process)];
            guarded.decide(&mut listeners, &[], is_everywhere);
            assert_eq!(listeners.iter().map(|it| it.is_guarded).collect::<Vec<_>>(), [false]);
        }
    }
}
