//! Listeners that a scan found: they are tagged, under a policy that knows their names.
//!
//! In: results of scans and of writing tags. Out: tags to write, names for the policy, places to certify.
//! Invariant: a tag is written only after the policy in force knows its names; nothing is certified of a
//! listener before its tag is written.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Instant,
};

use tcpw_common::{
    key::NamesId,
    tag::{BOUND_BEFORE, KERNEL_PORT, Tag},
};

use super::{certify::Certify, link_networks::LinkNetworks, redirect::Redirect, scans::Scans, users::Users};
use crate::{
    core::{
        action::{Action, TagOrder},
        input::{NamespaceSeen, Scanned, Seen, Tagged},
        inventory::KnownListener,
        outbox::{Outbox, Step},
        problems::ProblemSource,
        shared::{SharedState, TCP, UDP},
    },
    listeners::Doubt,
    names::NamesSet,
};

/// Listeners that are not tagged yet.
#[derive(Default)]
pub(in crate::core) struct Listeners {
    /// The scan whose listeners are being tagged.
    scan: Option<InWork>,
    /// Names-sets that the policy in force does not know; a policy with them is being compiled.
    wanted: Vec<NamesSet>,
    /// Listeners that were seen and wait for a policy that knows their names: by cookie, their process and names.
    waiting: HashMap<u64, (u32, NamesId)>,
    /// Names-sets that the policy could not take; its listeners do not wait for it.
    not_taken: HashSet<NamesId>,
    unproven: Unproven,
    marks_bound: Option<bool>,
}

/// A scan whose listeners are being tagged.
struct InWork {
    tagging: Vec<Seen>,
    namespaces: Vec<NamespaceSeen>,
    is_all: bool,
    began: Instant,
    /// Names-sets to add to the live policy.
    names: HashMap<NamesId, NamesSet>,
}

impl Listeners {
    /// The first scan, before any policy is in force: it only collects names.
    pub(in crate::core) fn learn_names(&mut self, scanned: &Scanned, shared: &mut SharedState) {
        for seen in scanned.listeners.iter().filter(|seen| is_service(seen, scanned.marks_bound)) {
            if self.unproven.may_add(seen) {
                shared.inventory.learn(&seen.names);
            }
        }
    }

    /// A scan is over.
    pub(in crate::core) fn scanned(
        &mut self,
        scanned: Scanned,
        (certify, redirect, scans, users): (&mut Certify, &Redirect, &mut Scans, &Users),
        shared: &mut SharedState,
        out: &mut Outbox,
    ) {
        let is_all = scans.finished(&scanned, out);
        let began = scanned.began.unwrap_or(out.now.at);
        if self.marks_bound.replace(scanned.marks_bound) != Some(false) && !scanned.marks_bound {
            out.warn(
                "this kernel does not show which UDP sockets were bound before the start: every UDP socket with a port is judged",
            );
        }
        if is_all {
            forget_others(&scanned, users, shared, out);
            self.waiting.clear();
        }
        let mut in_work = InWork {
            tagging: Vec::new(),
            namespaces: scanned.namespaces,
            is_all,
            began,
            names: HashMap::new(),
        };
        let (mut names, mut names_before) = (Vec::new(), Vec::new());
        let (mut tags, mut unknown) = (Vec::new(), Vec::new());
        for mut seen in scanned.listeners {
            if redirect.is_own(seen.cookie) || !is_service(&seen, scanned.marks_bound) {
                continue;
            }
            if shared.inventory.keeps_names(&seen) {
                continue;
            }
            if let Some(other) = clash(&seen.names, &in_work, shared) {
                out.error(format!(
                    "{} of {}[{}] is not identified: its names {:?} have the id of {other}; start it under another name",
                    seen.local, seen.ident, seen.pid, seen.names.to_string()
                ));
                continue;
            }
            let is_known = |names: &NamesSet, shared: &SharedState| {
                shared.inventory.knows(names) || in_work.names.contains_key(&names.id())
            };
            if !is_known(&seen.names, shared)
                && shared.policies.classes_of(&seen.names).is_none()
                && !self.unproven.may_add(&seen)
            {
                seen.names = seen.names.proven();
            }
            if !is_known(&seen.names, shared) {
                match shared.policies.classes_of(&seen.names) {
                    Some((0, 0)) => shared.inventory.learn(&seen.names),
                    Some((class, class_before)) => {
                        let is_new = |class: &u32| *class != 0;
                        names.extend(Some(class).filter(is_new).map(|class| (seen.names.id(), class)));
                        let class_before = Some(class_before).filter(is_new);
                        names_before.extend(class_before.map(|class| (seen.names.id(), class)));
                        in_work.names.insert(seen.names.id(), seen.names.clone());
                    }
                    // Its provisional tag stays until the policy was compiled with its names.
                    None => {
                        self.wait(&seen);
                        unknown.push(seen.names);
                        continue;
                    }
                }
            }
            if is_news(&seen, shared) {
                certify.withdraw(seen.netns, seen.local.port(), out);
            }
            tags.push(order(&seen));
            in_work.tagging.push(seen);
        }
        self.scan = Some(in_work);
        self.want(unknown, out);
        out.act(Action::Tag { names, names_before, tags });
    }

    /// Tags were written, except those that failed.
    pub(in crate::core) fn tagged(
        &mut self,
        tagged: &Tagged,
        (certify, redirect, scans, links): (&mut Certify, &mut Redirect, &mut Scans, &mut LinkNetworks),
        shared: &mut SharedState,
        out: &mut Outbox,
    ) {
        let Some(in_work) = self.scan.take() else { return };
        let left_out: HashSet<NamesId> = tagged.names_left_out.iter().copied().collect();
        for (id, names) in &in_work.names {
            if !left_out.contains(id) {
                shared.inventory.learn(names);
            }
        }
        let failed: HashMap<u64, &String> =
            tagged.failed.iter().map(|(cookie, reason)| (*cookie, reason)).collect();
        let mut unknown = Vec::new();
        for seen in in_work.tagging {
            if left_out.contains(&seen.names.id()) {
                self.wait(&seen);
                unknown.push(seen.names);
                continue;
            }
            self.waiting.remove(&seen.cookie);
            let untagged = failed.get(&seen.cookie).map(|reason| (*reason).clone());
            let before = shared.inventory.get(seen.cookie).map(|known| &known.untagged);
            if let Some(reason) = untagged.as_ref().filter(|_| before != Some(&untagged)) {
                out.warn(format!(
                    "{} of {}[{}] cannot be tagged: it is judged by the rules that match any daemon: {reason}",
                    seen.local, seen.ident, seen.pid
                ));
            }
            shared.inventory.add(seen.cookie, KnownListener::new(seen, untagged));
        }
        self.want(unknown, out);
        links.scanned(&in_work.namespaces, in_work.is_all, out);
        certify.certify(&in_work.namespaces, in_work.is_all, redirect, shared, out);
        out.step(Step::ListenersTagged { is_all: in_work.is_all, began: in_work.began });
        scans.done(out);
    }

    /// A listener waits for a policy that knows its names.
    fn wait(&mut self, seen: &Seen) {
        let names = seen.names.id();
        if !self.not_taken.contains(&names) {
            self.waiting.insert(seen.cookie, (seen.pid, names));
        }
    }

    /// Whether a listener was seen and waits for a policy that knows its names.
    pub(in crate::core) fn is_waiting(&self, cookie: u64) -> bool {
        self.waiting.contains_key(&cookie)
    }

    /// The policy has to be compiled with these names.
    fn want(&mut self, names: Vec<NamesSet>, out: &mut Outbox) {
        let before = self.wanted.len();
        for set in names {
            if !self.wanted.contains(&set) {
                self.wanted.push(set);
            }
        }
        if self.wanted.len() > before {
            out.step(Step::PrepareAgain);
        }
    }

    /// Whether the policy in force does not know all names.
    pub(in crate::core) fn are_names_wanted(&self) -> bool {
        !self.wanted.is_empty()
    }

    /// Every names-set that the next policy must contain.
    pub(in crate::core) fn names_sets(&self, shared: &SharedState) -> Vec<NamesSet> {
        let mut all = shared.inventory.names_sets();
        all.extend(self.wanted.iter().filter(|set| !shared.inventory.knows(set)).cloned());
        all
    }

    /// A policy that knows these names is in force: the listeners that waited for it are scanned again.
    pub(in crate::core) fn names_known(
        &mut self,
        known: &[NamesSet],
        shared: &mut SharedState,
        out: &mut Outbox,
    ) {
        for set in known {
            shared.inventory.learn(set);
        }
        self.not_taken.clear();
        let before = self.wanted.len();
        self.wanted.retain(|set| !known.contains(set));
        if self.wanted.len() < before {
            shared.problems.clear(ProblemSource::Names);
        }
        let inventory = &shared.inventory;
        for (pid, _) in self.waiting.values().filter(|(_, names)| inventory.names_of(*names).is_some()) {
            // No process shows a listener of the kernel.
            out.step(if *pid != 0 { Step::LookAt(*pid) } else { Step::LookAtAll });
        }
    }

    /// The policy could not be compiled with the missing names.
    pub(in crate::core) fn names_not_taken(
        &mut self,
        reason: &str,
        shared: &mut SharedState,
        out: &mut Outbox,
    ) {
        self.waiting.clear();
        for set in std::mem::take(&mut self.wanted) {
            self.not_taken.insert(set.id());
            let problem = format!(
                "listeners named {set} are judged by their process name alone: the policy cannot be compiled with their names: {reason}"
            );
            out.error(problem.clone());
            shared.problems.report(ProblemSource::Names, problem);
        }
        // What is held for them goes on.
        out.step(Step::LookAtAll);
    }
}

/// Another names-set with the same id.
fn clash<'a>(names: &NamesSet, in_work: &'a InWork, shared: &'a SharedState) -> Option<&'a NamesSet> {
    let other = in_work.names.get(&names.id()).filter(|other| *other != names);
    other.or_else(|| shared.inventory.clash(names))
}

/// Most names-sets with unproven names for which the policy is compiled, of one user. A user chooses such names: it
/// must not make the policy too large. Beyond that the proven names alone count.
const MOST_UNPROVEN: usize = 64;

/// Names-sets with unproven names for which the policy was compiled, by user.
#[derive(Default)]
struct Unproven(HashMap<u32, HashSet<NamesId>>);

impl Unproven {
    /// Whether the policy may be compiled for the names of a listener.
    fn may_add(&mut self, seen: &Seen) -> bool {
        if seen.names.is_proven() {
            return true;
        }
        let user = seen.claims.iter().find_map(|claim| match claim.proof {
            Err(
                Doubt::User(user) | Doubt::Users(user) | Doubt::SocketOf(user) | Doubt::UserNamespace(user),
            ) => Some(user),
            Err(Doubt::Changing | Doubt::SetId | Doubt::File(_) | Doubt::Cgroup) | Ok(_) => None,
        });
        let sets = self.0.entry(user.unwrap_or(u32::MAX)).or_default();
        sets.contains(&seen.names.id()) || sets.len() < MOST_UNPROVEN && sets.insert(seen.names.id())
    }
}

/// Whether a socket is judged: a UDP socket only if its owner chose the port.
pub(in crate::core) fn is_service(seen: &Seen, marks_bound: bool) -> bool {
    if seen.protocol != UDP || !seen.is_shown {
        return true;
    }
    match seen.tag {
        Ok(Some(tag)) => tag.flags & KERNEL_PORT == 0,
        Ok(None) => !marks_bound,
        // It is gone.
        Err(()) => false,
    }
}

/// Whether the tag of a listener differs from the one to be written.
fn is_news(seen: &Seen, shared: &SharedState) -> bool {
    if !seen.is_shown || !is_taggable(seen.protocol) {
        return shared.inventory.get(seen.cookie).is_none_or(|known| known.names != seen.names);
    }
    let unmarked = |tag: Tag| Tag { flags: tag.flags & !BOUND_BEFORE, ..tag };
    seen.tag.is_ok_and(|tag| tag.map(unmarked) != Some(tag_of(seen)))
}

/// Forgets listeners that a full scan did not find.
fn forget_others(scanned: &Scanned, users: &Users, shared: &mut SharedState, out: &mut Outbox) {
    let mut cookies: HashSet<u64> = scanned.listeners.iter().map(|seen| seen.cookie).collect();
    shared.inventory.keep_only(&cookies);
    let in_use = shared.inventory.iter().map(|(_, known)| known.netns).chain(users.namespaces());
    out.act(Action::KeepNamespaces(Arc::new(in_use.collect())));
    // The tag of a UDP socket that is on its way from one process to another may stand under its cookie alone.
    let datagrams = scanned.namespaces.iter().flat_map(|namespace| &namespace.datagrams);
    cookies.extend(datagrams.map(|socket| socket.cookie));
    let listed = Arc::new(scanned.namespaces.iter().map(|namespace| namespace.netns).collect());
    out.act(Action::KeepListeners { cookies: Arc::new(cookies), listed });
}

fn order(seen: &Seen) -> TagOrder {
    TagOrder {
        cookie: seen.cookie,
        tag: tag_of(seen),
        // The gate sees the subflow of an MPTCP listener, and no descriptor refers to that socket.
        by_cookie: !seen.is_shown || !is_taggable(seen.protocol),
        holders: seen.holders.clone(),
    }
}

fn is_taggable(protocol: u16) -> bool {
    protocol == TCP || protocol == UDP
}

fn tag_of(seen: &Seen) -> Tag {
    Tag { names: seen.names.id(), netns: seen.netns, pid: seen.pid, flags: 0 }
}
