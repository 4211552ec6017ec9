//! Which rules of a long table a client may match.
//!
//! In: parsed tables. Out: for a client, the rules worth looking at, in order.
//! Invariant: a rule that is left out does not match, and finding that out would have asked
//! nobody and warned of nothing.

use std::{iter::Peekable, ops::Range, slice};

use fnv::FnvHashMap;

use super::{host::Host, text::reduced};
use crate::parse::{
    number,
    rule::{ClientPattern, HostPattern, Rule, Table, TableKind, Tables, Text, TextPattern},
};

/// Below this, reading all rules is quicker than looking them up.
const WORTHWHILE: usize = 32;

/// The rules of both tables by what their client lists name.
#[derive(Clone, Debug, Default)]
pub struct Index {
    allow: Option<TableIndex>,
    deny: Option<TableIndex>,
}

impl Index {
    /// The index of these tables.
    pub fn new(tables: &Tables) -> Self {
        let index = |table: &Table| (table.rules.len() >= WORTHWHILE).then(|| TableIndex::new(table));
        Self { allow: index(&tables.allow), deny: index(&tables.deny) }
    }

    /// The rules of a table, of `rules` in all, that a client may match.
    pub(super) fn candidates(&self, table: TableKind, rules: usize, client: &Host<'_>) -> Candidates<'_> {
        let index = match table {
            TableKind::Allow => &self.allow,
            TableKind::Deny => &self.deny,
        };
        match (index, client.known_name()) {
            (Some(index), Some(name)) => index.candidates(client, name),
            // Reading a rule may ask for the name.
            _ => Candidates::All(0..rules),
        }
    }
}

/// Rules, in order.
pub(super) enum Candidates<'a> {
    /// Every one.
    All(Range<usize>),
    /// Those that are always looked at, and those a look-up found.
    Found(Peekable<slice::Iter<'a, usize>>, Peekable<std::vec::IntoIter<usize>>),
}

impl Iterator for Candidates<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        match self {
            Self::All(rules) => rules.next(),
            Self::Found(always, found) => match (always.peek(), found.peek()) {
                (Some(first), Some(second)) if second < *first => found.next(),
                (Some(_), _) => always.next().copied(),
                (None, _) => found.next(),
            },
        }
    }
}

/// The rules of one table.
#[derive(Clone, Debug, Default)]
struct TableIndex {
    always: Vec<usize>,
    /// By a whole subject, a prefix up to a dot, and a suffix from a dot; lower case.
    exact: FnvHashMap<Text, Vec<usize>>,
    prefix: FnvHashMap<Text, Vec<usize>>,
    suffix: FnvHashMap<Text, Vec<usize>>,
    /// By mask and network.
    v4: FnvHashMap<u32, FnvHashMap<u32, Vec<usize>>>,
    v6: FnvHashMap<u128, FnvHashMap<u128, Vec<usize>>>,
}

impl TableIndex {
    fn new(table: &Table) -> Self {
        let mut index = Self::default();
        for (number, rule) in table.rules.iter().enumerate() {
            if is_selective(rule) {
                for token in &rule.clients.patterns {
                    index.insert(&token.host, number);
                }
            } else {
                index.always.push(number);
            }
        }
        index
    }

    fn insert(&mut self, pattern: &HostPattern, rule: usize) {
        let rules = match pattern {
            HostPattern::NetV4 { net, mask } => {
                self.v4.entry(mask.to_bits()).or_default().entry(net.to_bits()).or_default()
            }
            HostPattern::NetV6 { net, prefix_bits } => {
                let mask = mask_v6(*prefix_bits);
                self.v6.entry(mask).or_default().entry(net.to_bits() & mask).or_default()
            }
            HostPattern::Text { pattern: TextPattern::Bracketed(Some(address)), .. } => {
                self.v6.entry(u128::MAX).or_default().entry(address.to_bits()).or_default()
            }
            HostPattern::Text { pattern: TextPattern::Exact(text), .. } => {
                self.exact.entry(lower(text)).or_default()
            }
            HostPattern::Text { pattern: TextPattern::Prefix(text), .. } => {
                self.prefix.entry(lower(text)).or_default()
            }
            HostPattern::Text { pattern: TextPattern::Suffix(text), .. } => {
                self.suffix.entry(lower(text)).or_default()
            }
            HostPattern::Text { .. }
            | HostPattern::Never
            | HostPattern::Known
            | HostPattern::Local
            | HostPattern::Netgroup(_)
            | HostPattern::File(_) => return,
        };
        rules.push(rule);
    }

    fn candidates(&self, client: &Host<'_>, name: &[u8]) -> Candidates<'_> {
        let mut found: Vec<usize> = Vec::new();
        let mut add = |rules: Option<&Vec<usize>>| found.extend(rules.into_iter().flatten());
        for subject in [client.address(), name] {
            let subject = lower(reduced(subject));
            add(self.exact.get(&subject));
            if let Some(exact) = self.v6.get(&u128::MAX)
                && let Some((address, _)) = number::ipv6(&subject)
            {
                // A name, too, may have the form of an address.
                add(exact.get(&address.to_bits()));
            }
            for dot in subject.iter().enumerate().filter(|(_, byte)| **byte == b'.').map(|(at, _)| at) {
                add(self.prefix.get(&subject[..=dot]));
                add(self.suffix.get(&subject[dot..]));
            }
        }
        if let Some(address) = client.v4() {
            self.v4.iter().for_each(|(mask, nets)| add(nets.get(&(address & mask))));
        }
        if let Some(address) = client.v6() {
            self.v6.iter().for_each(|(mask, nets)| add(nets.get(&(address.to_bits() & mask))));
        }
        found.sort_unstable();
        found.dedup();
        Candidates::Found(self.always.iter().peekable(), found.into_iter().peekable())
    }
}

/// Whether the rule matches only clients that the index finds it for.
fn is_selective(rule: &Rule) -> bool {
    let daemons = std::iter::successors(Some(&rule.daemons), |list| list.except.as_deref());
    // A server's name may have to be looked up, and its files be warned of.
    let names_no_server = daemons.flat_map(|list| &list.patterns).all(|token| token.server.is_none());
    names_no_server && rule.clients.patterns.iter().all(is_indexed)
}

fn is_indexed(token: &ClientPattern) -> bool {
    match &token.host {
        HostPattern::NetV4 { .. } | HostPattern::NetV6 { .. } | HostPattern::Never => true,
        HostPattern::Text { pattern, .. } => match pattern {
            TextPattern::Exact(_) | TextPattern::Bracketed(_) => true,
            // They end, or begin, with a dot: that is where subjects are cut.
            TextPattern::Prefix(_) | TextPattern::Suffix(_) => true,
            TextPattern::All | TextPattern::Known | TextPattern::Glob(_) => false,
        },
        HostPattern::Known | HostPattern::Local | HostPattern::Netgroup(_) | HostPattern::File(_) => false,
    }
}

fn mask_v6(prefix_bits: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(prefix_bits)).unwrap_or(0)
}

fn lower(text: &[u8]) -> Text {
    text.to_ascii_lowercase().into()
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

    use super::*;
    use crate::{
        evaluate::{
            Unknown, evaluate, evaluate_indexed,
            request::{HostName, Known, Request},
        },
        parse::{
            parse,
            text::{FileText, Texts},
        },
    };

    const TOKENS: [&str; 44] = [
        "10.1.2.3",
        "10.1.2.",
        "10.",
        ".3",
        ".2.3",
        "10.0.0.0/8",
        "10.0.0.0/255.0.0.255",
        "0.0.0.0/0.0.0.0",
        "10.1.2.3/16",
        "010.0.0.0/8",
        "[::1]",
        "[2001:db8::]/32",
        "[2001:DB8::5]",
        "[::]/0",
        "[fe80::1%lo]",
        "::ffff:10.1.2.3",
        "1.2.3.04",
        "255.255.255.255",
        "host",
        "HOST.example.com",
        ".example.com",
        ".EXAMPLE.com",
        "www.",
        "host.",
        "UNKNOWN",
        "PARANOID",
        "KNOWN",
        "LOCAL",
        "ALL",
        "*.example.com",
        "10.*",
        "joe@10.1.2.3",
        "@group",
        "/file",
        "10.9. EXCEPT 10.1.",
        "10. EXCEPT .3",
        "unknown",
        "[x]",
        "2001:db8",
        "10.1.2.3/255.255.255.255",
        "[::ffff:10.1.2.3]",
        "a@",
        "10.1",
        ".",
    ];

    const ADDRESSES: [&str; 13] = [
        "10.1.2.3",
        "8.1.2.3",
        "::ffff:10.1.2.3",
        "::FFFF:10.1.2.3",
        "2001:db8::5",
        "2001:db9::5",
        "::1",
        "unknown",
        "10.1.2.evil",
        "1.2.3.04",
        "255.255.255.255",
        "fe80::1%2",
        "",
    ];

    const NAMES: [&str; 12] = [
        "host",
        "host.example.com",
        "Host.Example.Com",
        "www.example.org",
        "10.1.2.3.evil.test",
        "::1",
        "2001:db8::5",
        "::ffff:10.1.2.3",
        "example.com",
        ".example.com",
        "a..b.",
        "..",
    ];

    fn tables(rules: &[String]) -> Tables {
        let table = |text: String| (Arc::new(PathBuf::from("t")), FileText::Bytes(text.into_bytes().into()));
        let texts = Texts {
            allow: table(rules.concat()),
            deny: table("ALL: ALL: spawn x\n".into()),
            files: BTreeMap::from([
                ("/file".into(), FileText::Bytes((*b"10.1.2.3").into())),
                ("/sys/class/net/lo".into(), FileText::Bytes([].into())),
            ]),
        };
        parse(&texts).tables
    }

    /// Every address and name, with and without the index.
    fn agrees(tables: &Tables) {
        let index = Index::new(tables);
        let names = NAMES.iter().map(|name| HostName::Known(name.as_bytes().into()));
        for name in names.chain([HostName::Unknown, HostName::Paranoid]) {
            for address in ADDRESSES {
                let known = Known { client_name: Some(&name), client_user: Some(b"joe"), ..Known::default() };
                let daemons = [Text::from(*b"sshd")];
                let request =
                    Request { daemons: &daemons, client_address: Some(address), known, ..Request::default() };
                let indexed = evaluate_indexed(tables, &index, &request, &Unknown);
                assert_eq!(indexed, evaluate(tables, &request, &Unknown), "{address} {name:?}");
            }
        }
    }

    #[test]
    fn finds_what_reading_every_rule_finds() {
        // Rotated, so that every token comes first once; repeated, so that the index is used.
        for turn in 0..TOKENS.len() {
            let mut rules: Vec<String> = TOKENS.iter().map(|token| format!("sshd: {token}\n")).collect();
            rules.rotate_left(turn);
            agrees(&tables(&rules));
        }
    }

    #[test]
    fn every_token_alone() {
        for token in TOKENS {
            let mut rules = vec![String::from("vsftpd: 10.\n"); WORTHWHILE];
            rules.extend([format!("sshd: {token}\n"), format!("x: {token}\n"), "nosuch\n".into()]);
            let tables = tables(&rules);
            assert!(Index::new(&tables).allow.is_some());
            agrees(&tables);
        }
    }

    #[test]
    fn name_that_must_be_looked_up_is_looked_up() {
        let mut rules = vec![String::from("vsftpd: 11.\n"); WORTHWHILE];
        rules.push("ALL: .example.com\n".into());
        let tables = tables(&rules);
        let request = Request { client_address: Some("10.1.2.3"), ..Request::default() };
        let judgement = evaluate_indexed(&tables, &Index::new(&tables), &request, &Unknown);
        assert_eq!(judgement, evaluate(&tables, &request, &Unknown));
    }
}
