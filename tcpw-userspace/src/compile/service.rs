//! Daemon lists: which of them a service matches.
//!
//! In: the daemon lists of all rules. Out: for names, a port and a server address
//! class, the lists that match, surely or perhaps.
//! Invariant: names enter only through the set of daemon patterns they match, so
//! names-sets with the same matches are one class.

use std::{
    collections::{BTreeSet, HashMap},
    net::Ipv6Addr,
    rc::Rc,
};

use crate::{
    names::NamesSet,
    parse::rule::{Daemon, DaemonPattern, HostPattern, List, Text, TextPattern},
};

/// Does it match?
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Truth {
    /// It does not.
    No,
    /// Only the evaluator can tell.
    Perhaps,
    /// It does.
    Yes,
}

impl Truth {
    /// Both.
    pub(super) fn and(self, other: Self) -> Self {
        self.min(other)
    }

    /// The contrary.
    pub(super) fn not(self) -> Self {
        match self {
            Self::No => Self::Yes,
            Self::Perhaps => Self::Perhaps,
            Self::Yes => Self::No,
        }
    }
}

/// The daemon patterns a names-set matches: their numbers, sorted.
pub(super) type Matches = Box<[u32]>;

/// What a listener's names match: all of them, and the proven ones alone.
///
/// Where the two differ, an unproven name closes and never opens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct NameMatches {
    pub(super) all: Matches,
    pub(super) proven: Matches,
}

/// Every daemon name pattern of the tables, each with a number.
#[derive(Clone, Debug, Default)]
pub(super) struct NamePatterns {
    numbers: HashMap<TextPattern, u32>,
    /// Literal names by their lower case; others have to be tried one by one.
    pub(super) literal: HashMap<Text, u32>,
    pub(super) others: Vec<(TextPattern, u32)>,
}

impl NamePatterns {
    fn number(&mut self, pattern: &TextPattern) -> u32 {
        let folded = match pattern {
            TextPattern::Exact(text) => TextPattern::Exact(text.to_ascii_lowercase().into()),
            other @ (TextPattern::Glob(_)
            | TextPattern::Suffix(_)
            | TextPattern::All
            | TextPattern::Known
            | TextPattern::Prefix(_)
            | TextPattern::Bracketed(_)) => other.clone(),
        };
        if let Some(&number) = self.numbers.get(&folded) {
            return number;
        }
        let number = u32::try_from(self.numbers.len()).unwrap_or(u32::MAX);
        if let TextPattern::Exact(text) = &folded {
            self.literal.insert(text.clone(), number);
        } else {
            self.others.push((folded.clone(), number));
        }
        self.numbers.insert(folded, number);
        number
    }

    /// Whether a pattern matches every name there can be.
    pub(super) fn matches_every_name(&self, number: u32) -> bool {
        self.others.iter().any(|(pattern, own)| *own == number && pattern.matches_every_name())
    }

    /// Whether some name would match what another one does not.
    pub(super) fn tell_apart(&self) -> bool {
        !self.literal.is_empty() || self.others.iter().any(|(pattern, _)| !pattern.matches_every_name())
    }

    /// Of some patterns those that not every name matches, as daemon lists spell them; `KNOWN` every name but one does.
    pub(super) fn distinctive(&self, matches: &Matches) -> Vec<Text> {
        let is_one = |(pattern, number): &&(TextPattern, u32)| {
            matches.binary_search(number).is_ok()
                && *pattern != TextPattern::Known
                && !pattern.matches_every_name()
        };
        let text = |pattern: &TextPattern| match pattern {
            TextPattern::Glob(text)
            | TextPattern::Suffix(text)
            | TextPattern::Prefix(text)
            | TextPattern::Exact(text) => text.clone(),
            TextPattern::All => b"ALL"[..].into(),
            TextPattern::Known => b"KNOWN"[..].into(),
            TextPattern::Bracketed(address) => {
                format!("[{}]", address.unwrap_or(Ipv6Addr::UNSPECIFIED)).into_bytes().into()
            }
        };
        self.others.iter().filter(is_one).map(|(pattern, _)| text(pattern)).collect()
    }

    /// What all the names match, and the proven ones alone.
    pub(super) fn name_matches(&self, names: &NamesSet) -> NameMatches {
        let all = self.matches(names);
        let proven = if names.is_proven() { all.clone() } else { self.matches(&names.proven()) };
        NameMatches { all, proven }
    }

    /// The patterns that match any of the names; of no names, those that match every name.
    pub(super) fn matches(&self, names: &NamesSet) -> Matches {
        let matches = |pattern: &TextPattern| {
            if names.is_empty() {
                pattern.matches_every_name()
            } else {
                names.iter().any(|name| pattern.matches(name))
            }
        };
        let mut found: Vec<u32> =
            self.others.iter().filter(|(pattern, _)| matches(pattern)).map(|(_, number)| *number).collect();
        for name in names.iter() {
            found.extend(self.literal.get(name.to_ascii_lowercase().as_slice()));
        }
        // A name that is a v4-mapped address is compared without its beginning.
        if names.iter().any(|name| name.starts_with(b"::")) {
            let numbers = self.numbers.iter();
            found = numbers.filter(|(pattern, _)| matches(pattern)).map(|(_, number)| *number).collect();
        }
        found.sort_unstable();
        found.dedup();
        found.into()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum DaemonPart {
    Port(u16),
    Name(u32),
    Never,
}

/// One token: the daemon part and the number of its server pattern.
type DaemonToken = (DaemonPart, Option<usize>);

/// A daemon list, cut at EXCEPT.
type Groups = Vec<Vec<DaemonToken>>;

/// Every distinct daemon list of the tables.
#[derive(Default)]
pub(super) struct DaemonLists<'a> {
    /// The name patterns in them.
    pub names: NamePatterns,
    /// The server patterns in them.
    pub servers: Vec<&'a HostPattern>,
    /// The literal names in them, as spelled.
    pub literals: BTreeSet<&'a Text>,
    /// The ports in them.
    pub ports: BTreeSet<u16>,
    lists: Vec<Rc<Groups>>,
    numbers: HashMap<Rc<Groups>, usize>,
    known: HashMap<*const List<DaemonPattern>, usize, fnv::FnvBuildHasher>,
}

impl<'a> DaemonLists<'a> {
    /// The number of a list: equal lists have one number.
    pub(super) fn number(&mut self, list: &'a List<DaemonPattern>) -> usize {
        // Plain rules share their list.
        if let Some(&number) = self.known.get(&std::ptr::from_ref(list)) {
            return number;
        }
        let number = self.number_of(list);
        self.known.insert(list, number);
        number
    }

    fn number_of(&mut self, list: &'a List<DaemonPattern>) -> usize {
        let mut groups = Vec::new();
        let mut rest = Some(list);
        while let Some(list) = rest {
            groups.push(list.patterns.iter().map(|pattern| self.token(pattern)).collect());
            rest = list.except.as_deref();
        }
        let groups = Rc::new(groups);
        if let Some(&number) = self.numbers.get(&groups) {
            return number;
        }
        let number = self.lists.len();
        self.lists.push(Rc::clone(&groups));
        self.numbers.insert(groups, number);
        number
    }

    /// The lists that match a service, or may.
    ///
    /// `servers` holds, for every server pattern, whether it matches the server address.
    pub(super) fn matched(
        &self,
        names: &Matches,
        port: Option<u16>,
        servers: &[Truth],
    ) -> Vec<(usize, Truth)> {
        (0..self.lists.len())
            .map(|list| (list, self.truth(list, names, port, servers)))
            .filter(|(_, truth)| *truth != Truth::No)
            .collect()
    }

    /// How many distinct lists there are.
    pub(super) fn len(&self) -> usize {
        self.lists.len()
    }

    /// Whether a list has EXCEPT.
    pub(super) fn has_except(&self, list: usize) -> bool {
        self.lists[list].len() > 1
    }

    /// Whether a list matches every service, whatever its names, port and server: `ALL`.
    pub(super) fn matches_everything(&self, list: usize) -> bool {
        let everything = |token: &DaemonToken| match token {
            (DaemonPart::Name(number), None) => self.names.matches_every_name(*number),
            (DaemonPart::Name(_), Some(_)) | (DaemonPart::Port(_) | DaemonPart::Never, _) => false,
        };
        !self.has_except(list) && self.lists[list].iter().flatten().any(everything)
    }

    /// The name patterns behind an EXCEPT.
    pub(super) fn excepted(&self) -> BTreeSet<u32> {
        names_of(self.lists.iter().flat_map(|groups| groups.iter().skip(1)))
    }

    /// The name patterns of a list.
    pub(super) fn names_in(&self, list: usize) -> BTreeSet<u32> {
        names_of(self.lists[list].iter())
    }

    fn truth(&self, list: usize, names: &Matches, port: Option<u16>, servers: &[Truth]) -> Truth {
        let group = |tokens: &Vec<DaemonToken>| {
            let mut best = Truth::No;
            for &(daemon, server) in tokens {
                let matched = match daemon {
                    DaemonPart::Port(number) => port == Some(number),
                    DaemonPart::Name(number) => names.binary_search(&number).is_ok(),
                    DaemonPart::Never => false,
                };
                if matched {
                    best = best.max(server.map_or(Truth::Yes, |server| servers[server]));
                }
            }
            best
        };
        let mut groups = self.lists[list].iter().rev().map(group);
        let last = groups.next().unwrap_or(Truth::No);
        groups.fold(last, |except, group| group.and(except.not()))
    }

    fn token(&mut self, pattern: &'a DaemonPattern) -> DaemonToken {
        let daemon = match &pattern.daemon {
            Daemon::Port(port) => {
                self.ports.insert(*port);
                DaemonPart::Port(*port)
            }
            Daemon::Name(name) => {
                if let TextPattern::Exact(text) = name {
                    self.literals.insert(text);
                }
                DaemonPart::Name(self.names.number(name))
            }
            Daemon::Never => DaemonPart::Never,
        };
        let server = pattern.server.as_ref().map(|server| {
            self.servers.iter().position(|known| *known == server).unwrap_or_else(|| {
                self.servers.push(server);
                self.servers.len() - 1
            })
        });
        (daemon, server)
    }
}

fn names_of<'a>(groups: impl Iterator<Item = &'a Vec<DaemonToken>>) -> BTreeSet<u32> {
    let name = |token: &DaemonToken| match token.0 {
        DaemonPart::Name(number) => Some(number),
        DaemonPart::Port(_) | DaemonPart::Never => None,
    };
    groups.flatten().filter_map(name).collect()
}
