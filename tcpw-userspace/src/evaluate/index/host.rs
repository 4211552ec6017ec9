//! Host patterns by keys: whole texts, prefixes, suffixes, networks.
//!
//! In: patterns, each with its position. Out: for one end of a connection, lists of positions.

use std::collections::BTreeSet;

use super::{
    super::{host::Host, text::reduced},
    keys::{Folded, HashedPosition, IndexKey, KeyMap, KeyMapBuilder},
};
use crate::parse::{
    number,
    rule::{HostPattern, TextPattern},
};

/// Every bit of an IPv6 address.
const WHOLE_V6: u8 = 128;

/// How a host pattern is found.
#[derive(Clone, Copy, Debug)]
pub(super) enum FoundBy<'a> {
    /// It matches only hosts with this key.
    ByKey(IndexKey<'a>),
    /// It matches no host.
    Never,
    /// It has no key, and always has to be tried.
    Always,
}

/// How a host pattern is found, once the host's name is known.
pub(super) fn found_by(pattern: &HostPattern) -> FoundBy<'_> {
    match pattern {
        HostPattern::NetV4 { net, mask } => {
            FoundBy::ByKey(IndexKey::NetV4 { mask: mask.to_bits(), net: net.to_bits() })
        }
        HostPattern::NetV6 { net, prefix_bits } => FoundBy::ByKey(net_v6(net.to_bits(), *prefix_bits)),
        HostPattern::Text { pattern, .. } => text_found_by(pattern),
        HostPattern::Never => FoundBy::Never,
        HostPattern::Known | HostPattern::Local | HostPattern::Netgroup(_) | HostPattern::File(_) => {
            FoundBy::Always
        }
    }
}

/// Whether matching a pattern may need the name of the host.
pub(super) fn may_ask(pattern: &HostPattern) -> bool {
    match pattern {
        HostPattern::NetV4 { .. } | HostPattern::NetV6 { .. } | HostPattern::Never => false,
        HostPattern::Text { numeric, .. } => !numeric,
        HostPattern::Known | HostPattern::Local | HostPattern::Netgroup(_) | HostPattern::File(_) => true,
    }
}

fn text_found_by(pattern: &TextPattern) -> FoundBy<'_> {
    match pattern {
        TextPattern::Exact(text) => FoundBy::ByKey(IndexKey::Exact(Folded(text))),
        TextPattern::Prefix(text) => FoundBy::ByKey(IndexKey::Prefix(Folded(text))),
        TextPattern::Suffix(text) => FoundBy::ByKey(IndexKey::Suffix(Folded(text))),
        TextPattern::Bracketed(Some(address)) => FoundBy::ByKey(net_v6(address.to_bits(), WHOLE_V6)),
        TextPattern::Bracketed(None) => FoundBy::Never,
        TextPattern::Glob(glob) => {
            let is_wild = |byte: &u8| matches!(byte, b'*' | b'?');
            let head = glob.iter().position(is_wild).unwrap_or(0);
            let tail = glob.iter().rposition(is_wild).map_or(0, |last| last + 1);
            match (&glob[..head], &glob[tail..]) {
                ([], []) => FoundBy::Always,
                ([], tail) => FoundBy::ByKey(IndexKey::Suffix(Folded(tail))),
                (head, _) => FoundBy::ByKey(IndexKey::Prefix(Folded(head))),
            }
        }
        TextPattern::All | TextPattern::Known => FoundBy::Always,
    }
}

fn net_v6(address: u128, prefix_bits: u8) -> IndexKey<'static> {
    let mask = u128::MAX.checked_shl(128 - u32::from(prefix_bits)).unwrap_or(0);
    IndexKey::NetV6 { prefix_bits, net: address & mask }
}

/// Lengths of prefixes or suffixes: bit n stands for n bytes. libwrap keeps 127 bytes of a text, so a
/// longer pattern matches nothing.
#[derive(Clone, Copy, Debug, Default)]
struct Lengths(u128);

impl Lengths {
    fn add(&mut self, length: usize) {
        let bit = u32::try_from(length).ok().and_then(|length| 1u128.checked_shl(length));
        self.0 |= bit.unwrap_or(0);
    }

    /// The lengths up to `longest`, in order.
    fn up_to(self, longest: usize) -> impl Iterator<Item = usize> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let length = usize::try_from(rest.trailing_zeros()).ok().filter(|_| rest != 0)?;
            rest &= rest - 1;
            (length <= longest).then_some(length)
        })
    }
}

/// Which keys of a kind occur: only those are asked for.
#[derive(Clone, Debug, Default)]
struct Occurring {
    prefixes: Lengths,
    suffixes: Lengths,
    masks: BTreeSet<u32>,
    prefix_bits: BTreeSet<u8>,
    has_exact: bool,
    has_daemons: bool,
}

/// Collects host patterns.
#[derive(Debug)]
pub(super) struct HostIndexBuilder {
    keys: KeyMapBuilder,
    occurring: Occurring,
}

impl HostIndexBuilder {
    /// For about so many patterns.
    pub(super) fn with_capacity(patterns: usize) -> Self {
        Self { keys: KeyMapBuilder::with_capacity(patterns), occurring: Occurring::default() }
    }

    /// A position is found by a key.
    pub(super) fn add(&mut self, key: IndexKey<'_>, position: usize) {
        let occurring = &mut self.occurring;
        match key {
            IndexKey::Prefix(text) => occurring.prefixes.add(text.0.len()),
            IndexKey::Suffix(text) => occurring.suffixes.add(text.0.len()),
            IndexKey::NetV4 { mask, .. } => {
                occurring.masks.insert(mask);
            }
            IndexKey::NetV6 { prefix_bits, .. } => {
                occurring.prefix_bits.insert(prefix_bits);
            }
            IndexKey::Exact(_) => occurring.has_exact = true,
            IndexKey::Daemon(..) | IndexKey::Port(..) | IndexKey::AnyDaemon(_) => {
                occurring.has_daemons = true;
            }
            IndexKey::Always | IndexKey::MayAsk => {}
        }
        self.keys.add(key, position);
    }

    pub(super) fn build(self) -> HostIndex {
        HostIndex { keys: self.keys.build(), occurring: self.occurring }
    }
}

/// Positions by the keys of host patterns, and by other keys.
#[derive(Clone, Debug)]
pub(super) struct HostIndex {
    keys: KeyMap,
    occurring: Occurring,
}

impl HostIndex {
    /// The positions of one key.
    pub(super) fn find(&self, key: IndexKey<'_>) -> &[HashedPosition] {
        self.keys.find(key)
    }

    /// The positions of every key of a host: of its address, and of its name if that is known.
    pub(super) fn find_host<'a>(&'a self, host: &Host<'_>, lists: &mut Vec<&'a [HashedPosition]>) {
        self.each_key(host, |key| {
            let list = self.keys.find(key);
            if !list.is_empty() {
                lists.push(list);
            }
        });
    }

    /// Whether a position is found by its daemons.
    pub(super) fn has_daemons(&self) -> bool {
        self.occurring.has_daemons
    }

    /// The map of all keys.
    pub(super) fn keys(&self) -> &KeyMap {
        &self.keys
    }

    /// Every key that a host may have: of its address, and of its name if that is known.
    pub(super) fn each_key(&self, host: &Host<'_>, mut add: impl FnMut(IndexKey<'_>)) {
        for subject in [Some(host.address()), host.known_name()].into_iter().flatten() {
            let subject = reduced(subject);
            if self.occurring.has_exact {
                add(IndexKey::Exact(Folded(subject)));
            }
            for length in self.occurring.prefixes.up_to(subject.len()) {
                add(IndexKey::Prefix(Folded(&subject[..length])));
            }
            for length in self.occurring.suffixes.up_to(subject.len()) {
                add(IndexKey::Suffix(Folded(&subject[subject.len() - length..])));
            }
        }
        let masks = &self.occurring.masks;
        if let Some(address) = (!masks.is_empty()).then(|| host.v4()).flatten() {
            for mask in masks {
                add(IndexKey::NetV4 { mask: *mask, net: address & mask });
            }
        }
        if self.occurring.prefix_bits.is_empty() {
            return;
        }
        if let Some(address) = host.v6() {
            for prefix_bits in &self.occurring.prefix_bits {
                add(net_v6(address.to_bits(), *prefix_bits));
            }
        }
        // A name, too, may have the form of an address.
        if let Some((address, _)) = host.known_name().and_then(|name| number::ipv6(reduced(name))) {
            add(net_v6(address.to_bits(), WHOLE_V6));
        }
    }
}
