//! Rules that decide nothing.

use std::{
    collections::{HashMap, HashSet},
    net::Ipv4Addr,
    path::Path,
    sync::Arc,
};

use super::{
    place::Places,
    verdicts::{is_every, leads_to},
};
use crate::{
    compile::Unreachable,
    evaluate::request::RuleIndex,
    parse::{
        code::Code,
        diagnostic::{Diagnostic, Finding, Fix, Severity, Sink},
        list::{split_at, tokens},
        rule::{
            ClientPattern, HostPattern, Rule, RuleEntry, RuleOption, RuleRef, Table, TableKind, Tables,
            TextPattern,
        },
    },
};

/// Finds rules that stand there twice, rules that nothing reaches, and rules that match no client.
pub(super) fn check(
    tables: &Tables,
    unreachable: &[Unreachable],
    said: &[Diagnostic],
    places: &mut Places<'_>,
    sink: &mut Sink,
) {
    let mut repeated: HashSet<RuleIndex> = HashSet::new();
    let explained = explained(said);
    let is_explained = |rule: &Rule| {
        let line = rule.line();
        let mut lines = line..=rule.number.max(line);
        lines.any(|line| explained.contains(&(rule.path().as_path(), line)))
    };
    for table in [&tables.allow, &tables.deny] {
        for (first, index) in repeats(table) {
            repeated.insert(RuleIndex { table: table.kind, index });
            let (Some(before), Some(rule)) = (table.rules.get(first), table.rules.get(index)) else {
                continue;
            };
            if is_explained(&rule) {
                continue;
            }
            let is_ban = is_ban(&rule, table.kind);
            let code = if is_ban { Code::H173 } else { Code::W140 };
            if !sink.count(code.as_str(), &table.path) {
                let finding = if is_ban { needless(&[&before]) } else { twice(&before) };
                sink.push(places.at_rule(finding, &rule));
            }
        }
    }
    for found in unreachable {
        let Some(rule) = rule_of(tables, found.rule).filter(|_| !repeated.contains(&found.rule)) else {
            continue;
        };
        let finding = if found.by.is_empty() {
            // A pattern file explains itself.
            if names_file(&rule) || is_explained(&rule) {
                continue;
            }
            matches_none(leads_to(&rule, found.rule.table))
        } else {
            let by: Vec<RuleRef<'_>> = found.by.iter().filter_map(|index| rule_of(tables, *index)).collect();
            let by: Vec<&Rule> = by.iter().map(|rule| &**rule).collect();
            let verdicts = |kind| {
                let all = found.by.iter().filter_map(|index| Some((index.table, rule_of(tables, *index)?)));
                all.map(|(table, rule)| leads_to(&rule, table)).all(|verdict| verdict == kind)
            };
            let kind = leads_to(&rule, found.rule.table);
            let mistaken = by.iter().find(|rule| is_explained(rule));
            let are_same = verdicts(kind);
            let is_needless = mistaken.is_none() && are_same && is_ban(&rule, found.rule.table);
            let code = if is_needless { Code::H173 } else { Code::W141 };
            // With the mistake mended this rule may be reached: nothing is said that makes it look needless.
            if mistaken.is_some() && are_same || sink.count(code.as_str(), rule.path()) {
                continue;
            }
            match mistaken {
                Some(mistaken) => {
                    let (path, line) = (mistaken.path(), mistaken.line());
                    shadowed(&by, kind, false, verdicts(kind.other())).advise(format!(
                        "mend the mistake in {}:{line} first, and check again",
                        path.display()
                    ))
                }
                None if is_needless => needless(&by),
                None => {
                    let finding = shadowed(&by, kind, are_same, verdicts(kind.other()));
                    match by.as_slice() {
                        // To refuse all clients first may lock the administrator out: that is not advised.
                        [only] if verdicts(kind.other()) && !is_for_all(&rule) => {
                            finding.advise(to_be_reached(&rule, only))
                        }
                        _ => finding,
                    }
                }
            }
        };
        sink.push(places.at_rule(finding, &rule));
    }
}

/// Rules that say the same as one before them, in order: the first such, and this one.
///
/// A rule for one IPv4 address or network, without options, is compared as numbers; any other by its words.
fn repeats(table: &Table) -> Vec<(usize, usize)> {
    let mut daemons: HashMap<Vec<u8>, usize> = HashMap::new();
    // For each form of plain rules the number of its daemon.
    let mut numbers: Vec<Option<usize>> = Vec::new();
    let mut bans: Vec<(Ban, usize)> = Vec::new();
    let mut others: HashMap<Vec<u8>, usize> = HashMap::new();
    let mut found = Vec::new();
    for (index, rule) in table.rules.entries().enumerate() {
        let plain = match rule {
            RuleEntry::Plain(rule) if rule.options.is_empty() => Some(rule),
            RuleEntry::Plain(_) | RuleEntry::Kept(_) => None,
        };
        let Some(rule) = plain else {
            let Some(rule) = table.rules.get(index) else { continue };
            let mut words = Vec::new();
            meaning(&rule.text(), &mut words);
            if let Some((daemon, client)) = ban(&words) {
                let next = daemons.len();
                let daemon = *daemons.entry(daemon.to_vec()).or_insert(next);
                bans.push((Ban { daemon, client }, index));
            } else {
                let first = *others.entry(words).or_insert(index);
                if first != index {
                    found.push((first, index));
                }
            }
            continue;
        };
        let form = usize::from(rule.form);
        numbers.resize(numbers.len().max(form + 1), None);
        let daemon = *numbers[form].get_or_insert_with(|| {
            let text = table.rules.plain_text(index).unwrap_or_default();
            let name = text.split(|byte| *byte == b':').next().unwrap_or_default();
            let name = name.trim_ascii().to_ascii_lowercase();
            let next = daemons.len();
            *daemons.entry(name).or_insert(next)
        });
        let client = (rule.net.to_bits(), (!rule.is_address).then_some(rule.bits));
        bans.push((Ban { daemon, client }, index));
    }
    bans.sort_unstable();
    for same in bans.chunk_by(|one, other| one.0 == other.0) {
        if let Some(((_, first), more)) = same.split_first() {
            found.extend(more.iter().map(|(_, index)| (*first, *index)));
        }
    }
    found.sort_unstable_by_key(|(_, index)| *index);
    found
}

/// A rule for one IPv4 address or network: the number of its daemon, the address, and the length of the prefix.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Ban {
    daemon: usize,
    client: BannedClient,
}

/// An address, or a network with the length of its prefix.
type BannedClient = (u32, Option<u8>);

/// The daemon and the client of a rule's words, if they are those of one daemon and one IPv4 address or network.
fn ban(words: &[u8]) -> Option<(&[u8], BannedClient)> {
    let text = std::str::from_utf8(words).ok()?;
    let (daemon, client) = text.strip_suffix(" :")?.split_once(" :")?;
    let (net, bits) = match client.split_once('/') {
        Some((net, bits)) => (net, Some(bits)),
        None => (client, None),
    };
    let net = net.parse::<Ipv4Addr>().ok()?.to_bits();
    // A number with zeros before it is another word.
    let bits = match bits {
        Some(bits) if bits.starts_with(['0', '+']) => return None,
        Some(bits) => Some(bits.parse::<u8>().ok()?),
        None => None,
    };
    (!daemon.contains(' ')).then_some((daemon.as_bytes(), (net, bits)))
}

/// The lines of which something else is said.
fn explained(said: &[Diagnostic]) -> HashSet<(&Path, u32)> {
    let is_mistake = |it: &&Diagnostic| it.severity > Severity::Hint || it.code == Code::H095.as_str();
    said.iter()
        .filter(is_mistake)
        .flat_map(|it| {
            // A rule that goes on in the next lines explains these, too.
            let lines = match &it.fix {
                Some(Fix::Replace(text)) if it.code == Code::E157.as_str() => text.matches('\n').count(),
                Some(_) | None => 0,
            };
            let last = it.origin.line.saturating_add(u32::try_from(lines).unwrap_or(u32::MAX));
            (it.origin.line..=last).map(|line| (it.origin.path.as_path(), line))
        })
        .collect()
}

/// Whether a rule of hosts.deny does nothing but refuse addresses and networks.
fn is_ban(rule: &Rule, kind: TableKind) -> bool {
    kind == TableKind::Deny
        && rule.options.iter().all(|field| matches!(field.option, Ok(RuleOption::Deny)))
        && rule.clients.except.is_none()
        && rule.clients.patterns.iter().all(|pattern| is_single(pattern) || is_network(pattern))
}

/// Whether a pattern is a network, or the beginning of addresses.
fn is_network(pattern: &ClientPattern) -> bool {
    pattern.user.is_none()
        && match &pattern.host {
            HostPattern::NetV4 { .. } | HostPattern::NetV6 { .. } => true,
            HostPattern::Text { pattern, numeric } => *numeric && matches!(pattern, TextPattern::Prefix(_)),
            HostPattern::Known
            | HostPattern::Local
            | HostPattern::Netgroup(_)
            | HostPattern::File(_)
            | HostPattern::Never => false,
        }
}

/// Whether a pattern is one address.
fn is_single(pattern: &ClientPattern) -> bool {
    pattern.user.is_none()
        && match &pattern.host {
            HostPattern::Text { pattern: TextPattern::Exact(text), numeric: true } => {
                text.iter().filter(|byte| **byte == b'.').count() == 3
            }
            HostPattern::Text { pattern: TextPattern::Bracketed(address), .. } => address.is_some(),
            HostPattern::Text { .. }
            | HostPattern::Known
            | HostPattern::Local
            | HostPattern::NetV4 { .. }
            | HostPattern::NetV6 { .. }
            | HostPattern::Netgroup(_)
            | HostPattern::File(_)
            | HostPattern::Never => false,
        }
}

/// A ban of clients that others before it refuse.
fn needless(by: &[&Rule]) -> Finding {
    let place = |rule: &Rule| format!("{}:{}", rule.path().display(), rule.line());
    let message = match by {
        [only] => format!("{} already refuses the clients of this rule", place(only)),
        [first, .., last] => format!(
            "{} rules, {} to {}, already refuse the clients of this rule",
            by.len(),
            place(first),
            place(last)
        ),
        [] => String::new(),
    };
    let consequence = "the same clients are refused with and without such rules";
    let finding =
        Finding::new(Code::H173, message, "", consequence).advise("nothing is wrong: delete it, or leave it");
    match by {
        [first, ..] => finding.relate(first.origin(), ""),
        [] => finding,
    }
}

/// Leaves out hints on rules that nothing reaches: what they speak of cannot happen.
pub(super) fn leave_out_hints(
    tables: &Tables,
    unreachable: &[Unreachable],
    diagnostics: &mut Vec<Diagnostic>,
) {
    let dead = unreachable.iter().filter(|it| !it.by.is_empty()).filter_map(|it| rule_of(tables, it.rule));
    let lines: HashSet<_> = dead
        .flat_map(|rule| {
            let (path, line) = (rule.path().clone(), rule.line());
            (line..=rule.number.max(line)).map(move |line| (Arc::clone(&path), line))
        })
        .collect();
    diagnostics.retain(|it| {
        it.severity > Severity::Hint || !lines.contains(&(Arc::clone(&it.origin.path), it.origin.line))
    });
}

/// Least single addresses of a list whose members are hosts, networks' addresses included.
const MANY: usize = 32;

/// Leaves out that an address ending in 0 is a network's, in a list of many single addresses that are refused:
/// one in 256 of them ends so, and is a host in a larger network.
pub(super) fn leave_out_hosts(deny: &Table, diagnostics: &mut Vec<Diagnostic>) {
    let is_such = |it: &Diagnostic| it.code == Code::W154.as_str() && it.origin.path == deny.path;
    let found: usize = diagnostics.iter().filter(|it| is_such(it)).map(|it| 1 + it.more).sum();
    if found == 0 {
        return;
    }
    let singles = |rule: RuleEntry<'_>| match rule {
        RuleEntry::Plain(rule) => usize::from(rule.is_address),
        RuleEntry::Kept(rule) => rule.clients.patterns.iter().filter(|pattern| is_single(pattern)).count(),
    };
    let singles: usize = deny.rules.entries().map(singles).sum();
    if singles >= MANY && found * 16 <= singles {
        diagnostics.retain(|it| !is_such(it));
    }
}

/// Whether a pattern file is among the rule's clients or servers.
fn names_file(rule: &Rule) -> bool {
    rule.text().windows(2).any(|pair| matches!(pair, [b' ' | b'\t' | b',' | b':' | b'@', b'/']))
}

fn rule_of(tables: &Tables, index: RuleIndex) -> Option<RuleRef<'_>> {
    let table = match index.table {
        TableKind::Allow => &tables.allow,
        TableKind::Deny => &tables.deny,
    };
    table.rules.get(index.index)
}

/// Appends the words of a rule, without what does not matter: case, blanks and commas in the lists.
fn meaning(text: &[u8], words: &mut Vec<u8>) {
    let first = split_at(text, b':').unwrap_or(text.len());
    let behind = text.get(first + 1..).unwrap_or_default();
    let second = split_at(behind, b':').unwrap_or(behind.len());
    for field in [&text[..first], &behind[..second]] {
        for (_, word) in tokens(field, 0) {
            // The names of files and netgroups are not words of the language.
            let is_name = matches!(word, [b'/' | b'@', ..])
                || word.windows(2).any(|pair| matches!(pair, b"@/" | b"@@"));
            words.extend(word.iter().map(|byte| if is_name { *byte } else { byte.to_ascii_lowercase() }));
            words.push(b' ');
        }
        words.push(b':');
    }
    words.extend_from_slice(behind.get(second..).unwrap_or_default().trim_ascii());
}

fn twice(first: &Rule) -> Finding {
    let place = format!("{}:{}", first.path().display(), first.line());
    let message = format!("{place} says the same");
    Finding::new(
        Code::W140,
        message,
        "each rule once",
        "this rule is never reached: every client is allowed or refused as without it",
    )
    .advise("delete one of them")
    .relate(first.origin(), shown(first))
}

/// `kind`: what the rule was to do with its clients; whether each rule before it does the same, or the opposite.
fn shadowed(by: &[&Rule], kind: TableKind, are_same: bool, are_opposite: bool) -> Finding {
    let place = |rule: &&Rule| format!("{}:{}", rule.path().display(), rule.line());
    let message = match by {
        [only] => format!("{} decides on every client of this rule before it", place(only)),
        [first, .., last] => {
            format!(
                "{} rules, {} to {}, together decide on every client of this rule before it",
                by.len(),
                place(first),
                place(last)
            )
        }
        [] => String::new(),
    };
    let expected = "the rule for fewer clients before the rule for more; hosts.allow is read first";
    let consequence = match (are_same, are_opposite, kind) {
        (true, _, TableKind::Allow) => "it is never reached: its clients are allowed with and without it",
        (true, _, TableKind::Deny) => "it is never reached: its clients are refused with and without it",
        (_, true, TableKind::Allow) => "it is never reached: its clients are refused, not allowed",
        (_, true, TableKind::Deny) => "it is never reached: its clients are allowed, not refused",
        (false, false, _) => "it is never reached: the rules before it decide on its clients",
    };
    let finding = Finding::new(Code::W141, message, expected, consequence);
    by.iter().fold(finding, |finding, rule| finding.relate(rule.origin(), shown(rule)))
}

fn is_for_all(rule: &Rule) -> bool {
    rule.clients.patterns.iter().any(|pattern| is_every(&pattern.host))
}

/// What to do so that a rule decides before another one.
fn to_be_reached(rule: &Rule, before: &Rule) -> String {
    let (path, line) = (before.path(), before.line());
    let place = format!("{}:{line}", path.display());
    if rule.path() == path {
        format!("to have it decide, move it before {place}")
    } else {
        format!("to have it decide, write it with \": deny\" at its end before {place}")
    }
}

fn matches_none(kind: TableKind) -> Finding {
    Finding::new(
        Code::W029,
        "no client of any daemon matches this rule",
        "patterns that leave some client",
        match kind {
            TableKind::Allow => "this rule allows no client",
            TableKind::Deny => "this rule refuses no client",
        },
    )
}

/// The beginning of a rule's text.
fn shown(rule: &Rule) -> String {
    let text = rule.text();
    let text = String::from_utf8_lossy(&text);
    let text: String = text.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).take(60).collect();
    text
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, path::PathBuf};

    use super::*;
    use crate::parse::{
        tables,
        text::{FileText, Texts},
    };

    #[test]
    fn rules_that_say_the_same_are_found_however_they_are_written() {
        let deny = "sshd: 192.0.2.7\nSSHD : 192.0.2.7\nsshd: 192.0.2.7/32\nsshd: 192.0.2.7: deny\nsshd,\t192.0.2.7\n\
                    sshd: 192.0.2.0\nsshd: 192.0.2.7/032\nsshd:192.0.2.0 \nALL: .a\nall: .A\nsshd: 192.0.2.7/32\n";
        let table = |text: &str| (Arc::new(PathBuf::from("hosts")), FileText::Bytes(text.as_bytes().into()));
        let texts = Texts { allow: table(""), deny: table(deny), files: BTreeMap::new() };
        // The fifth line is no rule.
        assert_eq!(repeats(&tables(&texts).deny), [(0, 1), (4, 6), (7, 8), (2, 9)]);
    }
}
