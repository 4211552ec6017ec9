//! The rules of one table by keys.
//!
//! A rule is found by the keys of its client list if every pattern of the list has one; else by its daemon
//! list. A rule whose client list may need the client's name is also found by its daemon list until that name
//! is known.

use super::{
    super::{subject::Subject, text::reduced},
    Candidates, Index,
    host::{FoundBy, HostIndex, HostIndexBuilder, found_by, may_ask},
    keys::{Folded, IndexKey, Use},
};
use crate::parse::rule::{
    ClientPattern, Daemon, DaemonPattern, HostPattern, List, PlainRule, Rule, RuleEntry, Rules, Table,
    TextPattern,
};

/// The rules of one table.
#[derive(Clone, Debug)]
pub(in crate::evaluate) struct TableIndex(HostIndex);

impl TableIndex {
    pub(super) fn new(table: &Table) -> Self {
        let mut builder = HostIndexBuilder::with_capacity(table.rules.len());
        for (position, rule) in table.rules.entries().enumerate() {
            match rule {
                RuleEntry::Kept(rule) => add(&mut builder, rule, position),
                RuleEntry::Plain(rule) => {
                    let client = table.rules.plain_client(position).unwrap_or_default();
                    builder.add(plain_key(rule, client), position);
                }
            }
        }
        Self(builder.build())
    }

    pub(super) fn keys(&self) -> &HostIndex {
        &self.0
    }

    fn next<'a>(&'a self, candidates: &mut Candidates<'a>, subject: &Subject<'_>) -> Option<usize> {
        let is_named = subject.client.known_name().is_some();
        candidates.next(is_named, |lists| {
            let mut add = |key: IndexKey<'_>| {
                let list = self.0.find(key);
                if !list.is_empty() {
                    lists.push(list);
                }
            };
            let uses = if is_named { &[Use::Always][..] } else { &[Use::Always, Use::MayAsk] };
            for used in uses.iter().filter(|_| self.0.has_daemons()) {
                add(IndexKey::AnyDaemon(*used));
                for name in subject.daemons() {
                    add(IndexKey::Daemon(*used, Folded(reduced(name))));
                }
                if let Some(port) = subject.request.server_port {
                    add(IndexKey::Port(*used, port));
                }
            }
            self.0.find_host(&subject.client, lists);
        })
    }
}

/// The rules of a table that may match, in order.
pub(in crate::evaluate) enum CandidateRules<'a> {
    /// All of them.
    All(usize, &'a Rules),
    /// Those that the index finds.
    Found(&'a TableIndex, Candidates<'a>, &'a Rules),
}

impl<'a> CandidateRules<'a> {
    pub(in crate::evaluate) fn new(table: &'a Table, index: &'a Index) -> Self {
        match index.table(table.kind) {
            Some(index) => Self::Found(index, Candidates::new(), &table.rules),
            None => Self::All(0, &table.rules),
        }
    }

    /// The next rule that the request may match, and its index in the table.
    pub(in crate::evaluate) fn next(&mut self, subject: &Subject<'_>) -> Option<(usize, RuleEntry<'a>)> {
        match self {
            Self::All(next, rules) => {
                *next += 1;
                Some((*next - 1, rules.entry_at(*next - 1)?))
            }
            Self::Found(index, candidates, rules) => {
                let position = index.next(candidates, subject)?;
                Some((position, rules.entry_at(position)?))
            }
        }
    }
}

fn add(builder: &mut HostIndexBuilder, rule: &Rule, position: usize) {
    let clients = &rule.clients.patterns;
    let is_found_by_client = is_silent(&rule.daemons)
        && !clients.iter().any(|token| matches!(found_by(&token.host), FoundBy::Always));
    if !is_found_by_client {
        return add_daemons(builder, Use::Always, &rule.daemons, position);
    }
    for ClientPattern { host, .. } in clients {
        match found_by(host) {
            FoundBy::ByKey(key) => builder.add(key, position),
            FoundBy::Never | FoundBy::Always => {}
        }
    }
    if clients.iter().any(|token| may_ask(&token.host)) {
        add_daemons(builder, Use::MayAsk, &rule.daemons, position);
    }
}

/// The key of a plain rule, with its client as it is written: that of its only pattern.
fn plain_key<'a>(PlainRule { net, bits, is_address, .. }: PlainRule<'_>, client: &'a [u8]) -> IndexKey<'a> {
    if is_address {
        return IndexKey::Exact(Folded(client));
    }
    let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
    IndexKey::NetV4 { mask, net: net.to_bits() }
}

/// Whether matching a daemon list never needs a look-up and never warns.
fn is_silent(daemons: &List<DaemonPattern>) -> bool {
    let lists = std::iter::successors(Some(daemons), |list| list.except.as_deref());
    lists.flat_map(|list| &list.patterns).all(|token| token.server.as_ref().is_none_or(is_host_silent))
}

/// A file may be unreadable, which gives a warning, and its patterns may need a look-up.
fn is_host_silent(pattern: &HostPattern) -> bool {
    !may_ask(pattern)
}

fn add_daemons(builder: &mut HostIndexBuilder, used: Use, daemons: &List<DaemonPattern>, position: usize) {
    // If no token of the list itself matches, its EXCEPT part is not evaluated.
    let is_key = |token: &DaemonPattern| match &token.daemon {
        Daemon::Name(pattern) => matches!(pattern, TextPattern::Exact(_)),
        Daemon::Port(_) | Daemon::Never => true,
    };
    if !daemons.patterns.iter().all(is_key) {
        return builder.add(IndexKey::AnyDaemon(used), position);
    }
    for token in &daemons.patterns {
        match &token.daemon {
            Daemon::Name(TextPattern::Exact(name)) => {
                builder.add(IndexKey::Daemon(used, Folded(name)), position);
            }
            Daemon::Port(port) => builder.add(IndexKey::Port(used, *port), position),
            Daemon::Name(_) | Daemon::Never => {}
        }
    }
}
