//! Host patterns and client lists to regions.
//!
//! In: patterns of a client list, or of the server's end. Out: the addresses they
//! match, with every name and user unknown; or, where these are looked up, the
//! addresses they match whatever the look-ups say, and those they match if one says so.
//! Source: tcp_wrappers 7.6.q `hosts_access.c`, `host_match`, `client_match`.

use std::{
    collections::{HashMap, HashSet},
    net::{Ipv4Addr, Ipv6Addr},
    path::Path,
    rc::Rc,
};

use super::{
    Names,
    automaton::Glob,
    region::{AddressNumber, Collector, Regions},
    service::Truth,
    text::{self, Effort, MAX_INTERVALS},
    text_v6::text_v6,
};
use crate::parse::{
    number,
    rule::{ClientPattern, HostPattern, List, PlainRule, RuleEntry, Tables, TextPattern},
};

/// Blocks that all text patterns of a policy may cost to spell out with full
/// effort, and again with less: about a second. Past that they stay doubtful.
const TEXT_BUDGET: usize = 1 << 18;

/// What libwrap calls a name or user it does not know.
const UNKNOWN: &[u8] = b"unknown";

/// IPv6 networks inside of this one match no client: a v4-mapped client is an IPv4 one.
const MAPPED: u128 = 0xffff_0000_0000;

/// Turns patterns into regions; each pattern file is read once.
pub(super) struct PatternRegions<'a> {
    tables: &'a Tables,
    names: Names,
    files: HashMap<&'a Path, Rc<Regions>>,
    files_unknown: HashMap<&'a Path, Truth>,
    spent: usize,
}

impl<'a> PatternRegions<'a> {
    /// For the patterns of these tables.
    pub(super) fn new(tables: &'a Tables, names: Names) -> Self {
        Self { tables, names, files: HashMap::new(), files_unknown: HashMap::new(), spent: 0 }
    }

    /// Where a client list matches.
    pub(super) fn list(&mut self, list: &'a List<ClientPattern>) -> Rc<Regions> {
        let own = match list.patterns.as_slice() {
            // A list that is one file shares the file's region.
            [only] => match self.passes(only) {
                Truth::Yes => self.host(&only.host),
                Truth::Perhaps => Rc::new(self.host(&only.host).in_doubt()),
                Truth::No => Rc::default(),
            },
            patterns => {
                let mut out = Collector::default();
                for pattern in patterns {
                    match self.passes(pattern) {
                        Truth::Yes => self.collect(&pattern.host, &mut out),
                        Truth::Perhaps => out.add(&self.host(&pattern.host).in_doubt()),
                        Truth::No => {}
                    }
                }
                Rc::new(out.finish())
            }
        };
        match &list.except {
            Some(except) if !own.is_empty() => Rc::new(own.except(&self.list(except))),
            Some(_) | None => own,
        }
    }

    /// Where the client list of a rule matches.
    pub(super) fn rule(&mut self, rule: RuleEntry<'a>) -> Rc<Regions> {
        match rule {
            RuleEntry::Kept(rule) => self.list(&rule.clients),
            RuleEntry::Plain(rule) => Rc::new(plain(rule)),
        }
    }

    /// Where one host pattern matches.
    pub(super) fn host(&mut self, pattern: &'a HostPattern) -> Rc<Regions> {
        if let HostPattern::File(path) = pattern {
            return self.file(path);
        }
        let mut out = Collector::default();
        self.collect(pattern, &mut out);
        Rc::new(out.finish())
    }

    /// Whether a client list matches a client whose address is not known either.
    pub(super) fn list_without_address(&mut self, list: &'a List<ClientPattern>) -> Truth {
        let parts: Vec<_> = std::iter::successors(Some(list), |list| list.except.as_deref()).collect();
        parts.iter().rev().fold(Truth::No, |except, part| {
            let one = |pattern| self.passes(pattern).and(self.without_address(&pattern.host));
            part.patterns.iter().map(one).max().unwrap_or(Truth::No).and(except.not())
        })
    }

    /// Whether a pattern matches an end of which the address is not known either.
    pub(super) fn without_address(&mut self, pattern: &'a HostPattern) -> Truth {
        match pattern {
            HostPattern::Text { pattern, .. } if pattern.matches(UNKNOWN) => Truth::Yes,
            HostPattern::Text { .. } | HostPattern::Netgroup(_) | HostPattern::Local
                if hangs_on_name(pattern) =>
            {
                self.doubt()
            }
            HostPattern::Text { .. }
            | HostPattern::Netgroup(_)
            | HostPattern::Local
            | HostPattern::Known
            | HostPattern::NetV4 { .. }
            | HostPattern::NetV6 { .. }
            | HostPattern::Never => Truth::No,
            HostPattern::File(path) => match self.files_unknown.get(path.as_path()) {
                Some(&known) => known,
                None => {
                    let patterns = self.patterns_of(path);
                    let best = patterns.into_iter().map(|it| self.without_address(it)).max();
                    self.files_unknown.insert(path, best.unwrap_or(Truth::No));
                    best.unwrap_or(Truth::No)
                }
            },
        }
    }

    /// What a pattern that depends on a name does.
    fn doubt(&self) -> Truth {
        match self.names {
            Names::Unknown => Truth::No,
            Names::HostsLookedUp | Names::LookedUp => Truth::Perhaps,
        }
    }

    /// Whether any pattern of the tables may match because of a name.
    pub(super) fn hang_on_names(&self) -> bool {
        // No name matters to a plain rule.
        let rules = || self.tables.allow.rules.kept().chain(self.tables.deny.rules.kept());
        let clients = rules().flat_map(|rule| tokens(&rule.clients)).map(|token| &token.host);
        let servers =
            rules().flat_map(|rule| tokens(&rule.daemons)).filter_map(|token| token.server.as_ref());
        let files = self.tables.files.values().flat_map(|file| &file.patterns).map(|(_, pattern)| pattern);
        clients.chain(servers).chain(files).any(hangs_on_name)
    }

    fn file(&mut self, path: &'a Path) -> Rc<Regions> {
        if let Some(known) = self.files.get(path) {
            return Rc::clone(known);
        }
        let mut out = Collector::default();
        for pattern in self.patterns_of(path) {
            self.collect(pattern, &mut out);
        }
        let regions = Rc::new(out.finish());
        self.files.insert(path, Rc::clone(&regions));
        regions
    }

    /// The patterns of a file and of those it names. Files may name each other, and
    /// themselves: each counts once.
    pub(super) fn patterns_of(&self, path: &'a Path) -> Vec<&'a HostPattern> {
        let mut patterns = Vec::new();
        let mut seen = HashSet::from([path]);
        let mut open = vec![path];
        while let Some(path) = open.pop() {
            for (_, pattern) in self.tables.files.get(path).map_or(&[][..], |file| &file.patterns) {
                if let HostPattern::File(inner) = pattern {
                    if seen.insert(inner) {
                        open.push(inner);
                    }
                } else {
                    patterns.push(pattern);
                }
            }
        }
        patterns
    }

    fn collect(&mut self, pattern: &'a HostPattern, out: &mut Collector) {
        if let HostPattern::File(path) = pattern {
            out.add(&self.file(path));
            return;
        }
        match self.names {
            Names::Unknown if matches_unknown_name(pattern) => out.add_all(),
            Names::HostsLookedUp | Names::LookedUp if hangs_on_name(pattern) => out.doubt_all(),
            Names::Unknown | Names::HostsLookedUp | Names::LookedUp => {}
        }
        self.by_address(pattern, out);
    }

    /// The addresses a pattern that is no file matches, whatever their names.
    pub(super) fn by_address(&mut self, pattern: &HostPattern, out: &mut Collector) {
        match pattern {
            HostPattern::NetV4 { net, mask } => net_v4(*net, *mask, out),
            HostPattern::NetV6 { net, prefix_bits } => net_v6(*net, *prefix_bits, out),
            HostPattern::Text { pattern, .. } => self.text(pattern, out),
            HostPattern::Netgroup(_)
            | HostPattern::Known
            | HostPattern::Local
            | HostPattern::File(_)
            | HostPattern::Never => {}
        }
    }

    fn text(&mut self, pattern: &TextPattern, out: &mut Collector) {
        match pattern {
            TextPattern::All | TextPattern::Known => out.add_all(),
            TextPattern::Bracketed(address) => {
                if let Some(address) = address {
                    net_v6(*address, 128, out);
                }
            }
            TextPattern::Exact(text) => exact(text, out),
            TextPattern::Prefix(text) if is_dotted(text) => prefix_v4(text, out),
            TextPattern::Prefix(_) | TextPattern::Suffix(_) | TextPattern::Glob(_) => {
                if let Some(glob) = Glob::new(pattern) {
                    self.spent += text::collect(&glob, self.effort(), out);
                }
            }
        }
    }
}

/// Where the client of a plain rule matches: one network, and no name matters.
fn plain(rule: PlainRule<'_>) -> Regions {
    Collector { v4: vec![network(rule)], ..Collector::default() }.finish()
}

/// The addresses of a plain rule. 255.255.255.255 is no address to libwrap: it is in no network.
pub(super) fn network(PlainRule { net, bits, .. }: PlainRule<'_>) -> (u32, u32) {
    let first = net.to_bits();
    (first, first.prefix_last(bits).min(u32::MAX - 1))
}

/// Every token of a list, those behind EXCEPT too.
fn tokens<P>(list: &List<P>) -> impl Iterator<Item = &P> {
    std::iter::successors(Some(list), |list| list.except.as_deref()).flat_map(|list| &list.patterns)
}

/// Whether a pattern matches every host whose name is unknown.
fn matches_unknown_name(pattern: &HostPattern) -> bool {
    matches!(pattern, HostPattern::Text { pattern, numeric: false } if pattern.matches(UNKNOWN))
}

/// Whether a pattern that is no file may match a host because of its name, be it "unknown" or "paranoid".
///
/// A name that reads as an address is none: to libwrap such a client is paranoid.
pub(super) fn hangs_on_name(pattern: &HostPattern) -> bool {
    match pattern {
        HostPattern::Netgroup(_) | HostPattern::Known | HostPattern::Local => true,
        HostPattern::Text { pattern, numeric: false } => match pattern {
            TextPattern::All | TextPattern::Bracketed(_) => false,
            TextPattern::Exact(text) => number::ipv6(text).is_none(),
            TextPattern::Glob(_) | TextPattern::Suffix(_) | TextPattern::Known | TextPattern::Prefix(_) => {
                true
            }
        },
        HostPattern::Text { .. }
        | HostPattern::File(_)
        | HostPattern::NetV4 { .. }
        | HostPattern::NetV6 { .. }
        | HostPattern::Never => false,
    }
}

/// Whether a client passes a user part.
pub(super) fn user_passes(user: Option<&TextPattern>, names: Names) -> Truth {
    match (user, names) {
        (None, _) => Truth::Yes,
        (Some(user), Names::Unknown | Names::HostsLookedUp) if user.matches(UNKNOWN) => Truth::Yes,
        (Some(_), Names::Unknown | Names::HostsLookedUp) => Truth::No,
        (Some(user), Names::LookedUp) if user.matches_every_name() => Truth::Yes,
        (Some(TextPattern::Bracketed(None)), Names::LookedUp) => Truth::No,
        (Some(_), Names::LookedUp) => Truth::Perhaps,
    }
}

impl PatternRegions<'_> {
    /// Whether a client passes the user part of a pattern.
    pub(super) fn passes(&self, pattern: &ClientPattern) -> Truth {
        user_passes(pattern.user.as_ref(), self.names)
    }

    fn effort(&self) -> Effort {
        match self.spent / TEXT_BUDGET {
            0 => Effort::Full,
            1 => Effort::Brief,
            _ => Effort::None,
        }
    }
}

fn net_v4(net: Ipv4Addr, mask: Ipv4Addr, out: &mut Collector) {
    let (net, mut mask) = (net.to_bits(), mask.to_bits());
    if net & !mask != 0 {
        return;
    }
    // Every combination of the free bits above the lowest masked one is an
    // interval of its own; the lowest masked bits give way if these are too many.
    let exact = mask;
    while mask != 0 && 1usize << (mask.count_zeros() - mask.trailing_zeros()) > MAX_INTERVALS {
        mask &= mask - 1;
    }
    let into = if mask == exact { &mut out.v4 } else { &mut out.v4_doubtful };
    let tail = u32::MAX.checked_shr(u32::BITS - mask.trailing_zeros()).unwrap_or(0);
    let free = !mask & !tail;
    let mut bits = 0u32;
    loop {
        let first = (net & mask) | bits;
        let last = first | tail;
        // inet_addr(3) returns 255.255.255.255 for an error: libwrap never matches it.
        if first < u32::MAX {
            into.push((first, last.min(u32::MAX - 1)));
        }
        bits = bits.wrapping_sub(free) & free;
        if bits == 0 {
            break;
        }
    }
}

fn net_v6(net: Ipv6Addr, prefix_bits: u8, out: &mut Collector) {
    let host = u128::MAX.checked_shr(prefix_bits.into()).unwrap_or(0);
    let first = net.to_bits() & !host;
    if prefix_bits >= 96 && first >> 32 == MAPPED >> 32 {
        return;
    }
    out.v6.push((first, first | host));
}

/// An address by its text; most patterns are this or a name.
fn exact(text: &[u8], out: &mut Collector) {
    let Ok(text) = std::str::from_utf8(text) else { return };
    if let Some(address) = text.parse::<Ipv4Addr>().ok().filter(|address| address.to_string() == text) {
        out.v4.push((address.to_bits(), address.to_bits()));
    } else if text.contains(':')
        && let Ok(address) = text.parse::<Ipv6Addr>()
        && address.to_ipv4_mapped().is_none()
        && text_v6(address.to_bits()).eq_ignore_ascii_case(text)
    {
        out.v6.push((address.to_bits(), address.to_bits()));
    }
}

fn is_dotted(text: &[u8]) -> bool {
    text.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.')
}

/// `1.2.3.`: whole octets, spelled as the address spells them.
fn prefix_v4(text: &[u8], out: &mut Collector) {
    let mut first = 0;
    let mut bits = 0u8;
    for octet in text.strip_suffix(b".").unwrap_or(text).split(|byte| *byte == b'.') {
        let Some(value) = std::str::from_utf8(octet).ok().and_then(|octet| octet.parse::<u8>().ok()) else {
            return;
        };
        if bits == 24 || value.to_string().as_bytes() != octet {
            return;
        }
        first |= u32::from(value) << (24 - bits);
        bits += 8;
    }
    out.v4.push((first, first.prefix_last(bits)));
}
