//! What a client list depends on, beside the address.
//!
//! In: client lists. Out: for each the addresses where it matches whatever names, users and
//! commands are; and beside them the addresses where it matches if one of some conditions holds.
//! Invariant: equal conditions of several lists, also of two pairs of tables, have one number;
//! where two lists have the same conditions they match the same clients.

use std::{collections::HashMap, fmt::Write, ops::BitOr, path::Path, rc::Rc};

use super::{
    pattern::{PatternRegions, hangs_on_name},
    region::{Collector, Regions},
    service::Truth,
};
use crate::parse::rule::{ClientPattern, HostPattern, List, RuleEntry, TextPattern};

/// What only a connection can tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HangsOn {
    /// The client's name, or whether it is in a netgroup.
    pub name: bool,
    /// The client's user.
    pub user: bool,
    /// The name of the server's end.
    pub server_name: bool,
    /// The result of an `aclexec` command.
    pub command: bool,
    /// The text of the address, which no bounded number of networks says.
    pub address_text: bool,
}

impl BitOr for HangsOn {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self {
            name: self.name | other.name,
            user: self.user | other.user,
            server_name: self.server_name | other.server_name,
            command: self.command | other.command,
            address_text: self.address_text | other.address_text,
        }
    }
}

/// Number of a condition.
pub(super) type Condition = u32;

/// Conditions and their numbers.
#[derive(Default)]
pub(super) struct ConditionNumbers(HashMap<String, Condition>);

impl ConditionNumbers {
    /// The number of a condition that this text tells from all others.
    pub(super) fn number(&mut self, text: String) -> Condition {
        let next = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        *self.0.entry(text).or_insert(next)
    }
}

/// A part of the addresses that a list may match.
#[derive(Clone)]
pub(super) struct ListPart {
    /// The addresses, all of them sure.
    pub regions: Rc<Regions>,
    /// It matches there if one of these holds; none: it does.
    pub conditions: Rc<[Condition]>,
    /// What these are about.
    pub hangs_on: HangsOn,
}

impl ListPart {
    /// Where a list matches whatever names are.
    pub(super) fn sure(regions: Rc<Regions>) -> Self {
        Self { regions, conditions: Rc::default(), hangs_on: HangsOn::default() }
    }
}

const NAME: HangsOn =
    HangsOn { name: true, user: false, server_name: false, command: false, address_text: false };
const USER: HangsOn = HangsOn { name: false, user: true, ..NAME };
const TEXT: HangsOn = HangsOn { name: false, address_text: true, ..NAME };

/// What the patterns of one list come to.
#[derive(Default)]
struct Gathered {
    sure: Collector,
    names: Vec<Condition>,
    local: Vec<ListPart>,
}

/// The parts of each pattern file.
pub(super) type FileParts<'a> = HashMap<&'a Path, Rc<[ListPart]>>;

/// Turns client lists into parts. `files` are those read before, with the same numbers.
pub(super) struct Reader<'a, 'b> {
    /// Regions of patterns, names looked up.
    pub patterns: &'b mut PatternRegions<'a>,
    /// The conditions met so far.
    pub conditions: &'b mut ConditionNumbers,
    /// The files met so far.
    pub files: &'b mut FileParts<'a>,
}

impl<'a> Reader<'a, '_> {
    /// The parts of the client list of a rule, the sure one first.
    pub(super) fn rule(&mut self, rule: RuleEntry<'a>) -> Vec<ListPart> {
        match rule {
            RuleEntry::Kept(rule) => self.list(&rule.clients),
            RuleEntry::Plain(_) => {
                vec![ListPart::sure(self.patterns.rule(rule))]
            }
        }
    }

    /// The parts of a client list, the sure one first.
    pub(super) fn list(&mut self, list: &'a List<ClientPattern>) -> Vec<ListPart> {
        let parts = match list.patterns.as_slice() {
            [ClientPattern { user: None, host: HostPattern::File(path), .. }] => self.file(path).to_vec(),
            patterns => {
                let mut gathered = Gathered::default();
                for pattern in patterns {
                    self.gather(pattern, &mut gathered);
                }
                gathered.parts()
            }
        };
        match list.except.as_deref() {
            Some(except) => self.except(parts, list, except),
            None => parts,
        }
    }

    fn gather(&mut self, pattern: &'a ClientPattern, into: &mut Gathered) {
        match self.patterns.passes(pattern) {
            Truth::No => {}
            Truth::Yes => self.gather_host(&pattern.host, into),
            Truth::Perhaps => {
                let host = self.patterns.host(&pattern.host);
                let user = user_key(pattern);
                into.push_local(host.sure_only(), self.conditions.number(user.clone()), USER);
                let doubtful = host.doubtful_only();
                if !doubtful.is_empty() {
                    let both = format!("{user}{}", self.key(&pattern.host));
                    let hangs_on = USER
                        | if doubtful.is_everything() { NAME } else { self.host_hangs_on(&pattern.host) };
                    into.push_local(doubtful, self.conditions.number(both), hangs_on);
                }
            }
        }
    }

    fn gather_host(&mut self, pattern: &'a HostPattern, into: &mut Gathered) {
        if let HostPattern::File(path) = pattern {
            for part in self.file(path).iter() {
                match part.hangs_on {
                    NAME => into.names.extend(part.conditions.iter()),
                    _ if part.conditions.is_empty() => into.sure.add(&part.regions),
                    _ => into.local.push(part.clone()),
                }
            }
            return;
        }
        if hangs_on_name(pattern) {
            let text = self.key(pattern);
            into.names.push(self.conditions.number(text));
        }
        let mut out = Collector::default();
        self.patterns.by_address(pattern, &mut out);
        if out.v4_doubtful.is_empty() && out.v6_doubtful.is_empty() {
            into.sure.v4.append(&mut out.v4);
            into.sure.v6.append(&mut out.v6);
            return;
        }
        let regions = out.finish();
        let text = format!("address {}", self.key(pattern));
        into.push_local(regions.doubtful_only(), self.conditions.number(text), TEXT);
        into.sure.v4.extend(regions.v4.sure.iter());
        into.sure.v6.extend(regions.v6.sure.iter());
    }

    fn file(&mut self, path: &'a Path) -> Rc<[ListPart]> {
        if let Some(known) = self.files.get(path) {
            return Rc::clone(known);
        }
        let mut gathered = Gathered::default();
        for pattern in self.patterns.patterns_of(path) {
            self.gather_host(pattern, &mut gathered);
        }
        let parts: Rc<[ListPart]> = gathered.parts().into();
        self.files.insert(path, Rc::clone(&parts));
        parts
    }

    /// `parts EXCEPT except`, of which `list` is the whole.
    fn except(
        &mut self,
        parts: Vec<ListPart>,
        list: &'a List<ClientPattern>,
        except: &'a List<ClientPattern>,
    ) -> Vec<ListPart> {
        let holes = self.patterns.list(except);
        if holes.is_empty() {
            return parts;
        }
        // Which addresses of a nested EXCEPT count cannot be told from its regions.
        let behind = if except.except.is_some() { self.whole(list) } else { self.hanging(except) };
        let mut rest = Vec::new();
        for part in &parts {
            let [_, doubtful, outside] = part.regions.sure_by(&holes);
            if !outside.is_empty() {
                rest.push(ListPart { regions: Rc::new(outside), ..part.clone() });
            }
            if !doubtful.is_empty() {
                let mut conditions: Vec<String> = part.conditions.iter().map(u32::to_string).collect();
                conditions.sort_unstable();
                let number = self.conditions.number(format!("{} except {behind}", conditions.join("|")));
                rest.push(ListPart {
                    regions: Rc::new(doubtful),
                    conditions: Rc::new([number]),
                    hangs_on: part.hangs_on | self.hangs_on(except),
                });
            }
        }
        rest
    }

    /// What a list depends on.
    fn hangs_on(&self, list: &'a List<ClientPattern>) -> HangsOn {
        let mut all = HangsOn::default();
        for pattern in
            std::iter::successors(Some(list), |list| list.except.as_deref()).flat_map(|it| &it.patterns)
        {
            if self.patterns.passes(pattern) == Truth::Perhaps {
                all = all | USER;
            }
            all = all | self.host_hangs_on(&pattern.host);
        }
        all
    }

    /// What a host pattern may hang on, beside the networks it matches.
    fn host_hangs_on(&self, pattern: &'a HostPattern) -> HangsOn {
        let one = |pattern: &HostPattern| match pattern {
            _ if hangs_on_name(pattern) => NAME,
            HostPattern::NetV4 { .. } | HostPattern::Text { .. } => TEXT,
            HostPattern::Netgroup(_)
            | HostPattern::Known
            | HostPattern::Local
            | HostPattern::File(_)
            | HostPattern::NetV6 { .. }
            | HostPattern::Never => HangsOn::default(),
        };
        match pattern {
            HostPattern::File(path) => {
                self.patterns.patterns_of(path).into_iter().map(one).fold(HangsOn::default(), BitOr::bitor)
            }
            HostPattern::Netgroup(_)
            | HostPattern::Known
            | HostPattern::Local
            | HostPattern::NetV4 { .. }
            | HostPattern::NetV6 { .. }
            | HostPattern::Never
            | HostPattern::Text { .. } => one(pattern),
        }
    }

    /// A text for the patterns of a list without EXCEPT that hang on more than a network.
    fn hanging(&self, list: &'a List<ClientPattern>) -> String {
        let mut texts = Vec::new();
        for pattern in &list.patterns {
            let user = user_key(pattern);
            if pattern.user.is_none() && !is_no_network(&pattern.host) {
                continue;
            }
            if let (HostPattern::File(path), None) = (&pattern.host, &pattern.user) {
                let hanging = self.patterns.patterns_of(path).into_iter().filter(|it| is_no_network(it));
                texts.extend(hanging.map(|it| self.key(it)));
            } else {
                texts.push(format!("{user}{}", self.key(&pattern.host)));
            }
        }
        texts.sort_unstable();
        texts.dedup();
        texts.join(" ")
    }

    /// A text for a list.
    fn whole(&self, list: &'a List<ClientPattern>) -> String {
        let mut text = String::new();
        for part in std::iter::successors(Some(list), |list| list.except.as_deref()) {
            for pattern in &part.patterns {
                // Writing to a String does not fail.
                let _ = write!(text, "{}{} ", user_key(pattern), self.key(&pattern.host));
            }
            text.push_str("except ");
        }
        text
    }

    /// A text for a host pattern: for a file that of what is in it.
    fn key(&self, pattern: &'a HostPattern) -> String {
        match pattern {
            HostPattern::Text { pattern, numeric } => format!("{}{}", text_key(pattern), u8::from(*numeric)),
            HostPattern::Netgroup(group) => format!("@{}", group.escape_ascii()),
            HostPattern::File(path) => {
                let mut texts: Vec<_> =
                    self.patterns.patterns_of(path).into_iter().map(|it| self.key(it)).collect();
                texts.sort_unstable();
                format!("({})", texts.join(" "))
            }
            HostPattern::Known
            | HostPattern::Local
            | HostPattern::NetV4 { .. }
            | HostPattern::NetV6 { .. }
            | HostPattern::Never => format!("{pattern:?}"),
        }
    }
}

impl Gathered {
    fn push_local(&mut self, regions: Regions, condition: Condition, hangs_on: HangsOn) {
        if !regions.is_empty() {
            self.local.push(ListPart {
                regions: Rc::new(regions),
                conditions: Rc::new([condition]),
                hangs_on,
            });
        }
    }

    /// The sure part first: it leaves less to the others.
    fn parts(self) -> Vec<ListPart> {
        let Self { sure, mut names, local } = self;
        let mut parts = Vec::new();
        let sure = sure.finish();
        if !sure.is_empty() {
            parts.push(ListPart {
                regions: Rc::new(sure),
                conditions: Rc::new([]),
                hangs_on: HangsOn::default(),
            });
        }
        names.sort_unstable();
        names.dedup();
        if !names.is_empty() {
            let regions = Rc::new(Regions::everything());
            parts.push(ListPart { regions, conditions: names.into(), hangs_on: NAME });
        }
        parts.extend(local);
        parts
    }
}

fn is_no_network(pattern: &HostPattern) -> bool {
    !matches!(pattern, HostPattern::NetV4 { .. } | HostPattern::NetV6 { .. } | HostPattern::Never)
}

fn user_key(pattern: &ClientPattern) -> String {
    pattern.user.as_ref().map_or_else(String::new, |user| format!("{}@", text_key(user)))
}

/// Equal for patterns that match the same strings by the same rule.
fn text_key(pattern: &TextPattern) -> String {
    let (kind, text): (char, &[u8]) = match pattern {
        TextPattern::All => ('A', b""),
        TextPattern::Known => ('K', b""),
        TextPattern::Bracketed(address) => return format!("B{address:?}"),
        TextPattern::Glob(text) => ('g', text),
        TextPattern::Suffix(text) => ('s', text),
        TextPattern::Prefix(text) => ('p', text),
        TextPattern::Exact(text) => ('e', text),
    };
    format!("{kind}{}", text.to_ascii_lowercase().escape_ascii())
}
