//! Networks, rules and decisions in words.

use ipnet::IpNet;

use crate::{
    compile::{self, AddressVerdict, Decider, HangsOn, RuleRun},
    evaluate::{
        outcome_of,
        request::{Lookup, RuleIndex, Verdict},
    },
    parse::{
        lookalike,
        rule::{RuleOption, RuleRef, Table, TableKind, Tables},
    },
};

/// Networks or services shown of many.
pub(super) const SHOWN: usize = 10;

/// Characters shown of a rule.
const RULE: usize = 100;

/// Clients: `10.0.0.0/8 (16777216 addresses)`, `everyone but 10.0.0.0/8`; the first networks, or all.
pub(in crate::cli) fn clients(networks: &compile::Networks, all: bool) -> String {
    if networks.is_everything() {
        return "everyone".to_owned();
    }
    if networks.len() > SHOWN {
        let others = networks.others();
        if others.len() < networks.len() {
            return format!("everyone but {}", list(&others, all));
        }
    }
    match count(networks) {
        Some(count) => format!("{} ({count})", list(networks, all)),
        None => list(networks, all),
    }
}

/// The networks, or the first of many.
pub(super) fn list(networks: &compile::Networks, all: bool) -> String {
    let shown = if all || networks.len() <= SHOWN + 1 { usize::MAX } else { SHOWN };
    let one = |network: IpNet| match network.prefix_len() {
        0 if network.addr().is_ipv4() => "every IPv4 address".to_owned(),
        0 => "every IPv6 address".to_owned(),
        bits if bits == network.max_prefix_len() => network.addr().to_string(),
        _ => network.to_string(),
    };
    let texts: Vec<_> = networks.iter().take(shown).map(one).collect();
    match networks.len().saturating_sub(shown) {
        0 => texts.join(", "),
        more => format!("{} and {more} more networks", texts.join(", ")),
    }
}

/// How many addresses of one family: `256 addresses`, `2^64 addresses`.
fn count(networks: &compile::Networks) -> Option<String> {
    if !networks.v4.is_empty() && !networks.v6.is_empty() {
        return None;
    }
    let size = |net: IpNet| {
        let bits = u32::from(net.max_prefix_len() - net.prefix_len());
        1u128.checked_shl(bits).unwrap_or(u128::MAX)
    };
    let total = networks.iter().map(size).fold(0, u128::saturating_add);
    Some(match total {
        1 => "1 address".to_owned(),
        0..=0xffff_ffff => format!("{total} addresses"),
        u128::MAX => "2^128 addresses".to_owned(),
        _ if total.is_power_of_two() => format!("2^{} addresses", total.trailing_zeros()),
        _ => format!("about 2^{} addresses", total.ilog2()),
    })
}

/// What is said below an answer from tables, `old tables` and the like, that have errors.
pub(in crate::cli) fn erroneous(tables: &str, errors: usize) -> String {
    let s = if errors == 1 { "" } else { "s" };
    format!("The {tables} have {errors} error{s}, judged as libwrap does: see tcpw check")
}

/// A rule: where it stands, and its text.
pub(in crate::cli) fn rule(tables: &Tables, index: RuleIndex) -> (String, String) {
    let Some(rule) = rule_at(tables, index) else { return (String::new(), String::new()) };
    let origin = rule.origin();
    let place = format!("{}:{}:{}", origin.path.display(), origin.line, origin.column);
    let text = printable(&rule.text());
    let mut short: String = text.chars().take(RULE).collect();
    if short.len() < text.len() {
        short.push_str("...");
    }
    (place, short)
}

/// Rules that do the same: where they stand, and how many there are.
pub(in crate::cli) fn rule_run(tables: &Tables, run: RuleRun) -> (String, String) {
    let index = |index| RuleIndex { index, ..run.first };
    let rules = [run.first.index, run.last].map(|it| rule_at(tables, index(it)));
    let [Some(first), Some(last)] = rules else { return (String::new(), String::new()) };
    let place = format!("{}:{}-{}", first.path().display(), first.line(), last.line());
    let [(_, first), (_, last)] = [run.first.index, run.last].map(|it| rule(tables, index(it)));
    (place, format!("{} rules, from \"{first}\" to \"{last}\"", run.count()))
}

/// The rule itself.
pub(super) fn rule_at(tables: &Tables, index: RuleIndex) -> Option<RuleRef<'_>> {
    table(tables, index.table).rules.get(index.index)
}

fn table(tables: &Tables, kind: TableKind) -> &Table {
    match kind {
        TableKind::Allow => &tables.allow,
        TableKind::Deny => &tables.deny,
    }
}

/// Text for a terminal; what deceives the eye is escaped.
pub(super) fn printable(text: &[u8]) -> String {
    let mark = |c: char| if c.is_control() && c != '\t' { char::REPLACEMENT_CHARACTER } else { c };
    let text: String = String::from_utf8_lossy(text).chars().map(mark).collect();
    lookalike::escaped(&text)
}

/// What a decision says.
pub(in crate::cli) fn answer(answer: AddressVerdict) -> &'static str {
    match answer {
        AddressVerdict::Allow => "allowed",
        AddressVerdict::Refuse => "refused",
        AddressVerdict::Depends => "depends",
    }
}

/// What a rule does if it matches.
pub(in crate::cli) fn verdict_of(tables: &Tables, index: RuleIndex, lookup: &dyn Lookup) -> &'static str {
    let Some(rule) = rule_at(tables, index) else { return "" };
    let command = rule.options.iter().any(|field| matches!(field.option, Ok(RuleOption::Aclexec(_))));
    let is_own = outcome_of(&rule, TableKind::Allow, lookup) == outcome_of(&rule, TableKind::Deny, lookup);
    match (outcome_of(&rule, index.table, lookup), command && !is_own) {
        (Verdict::Allow, false) => "allowed",
        (Verdict::Allow, true) => "allowed if its aclexec command succeeds",
        (Verdict::Refuse, false) => "refused",
        (Verdict::Refuse, true) => "refused if its aclexec command succeeds",
    }
}

/// Where a search ends without a rule.
pub(in crate::cli) fn end(tables: &Tables, by: Decider) -> Option<String> {
    match by {
        Decider::Rule(_) | Decider::Rules(_) => None,
        Decider::NoRule => Some("no rule matches: allowed".to_owned()),
        Decider::TableBroken => {
            Some(format!("{} cannot be read to its end: refused", tables.deny.path.display()))
        }
    }
}

/// What a decision depends on: `the client's name`.
pub(in crate::cli) fn condition(hangs_on: HangsOn) -> String {
    let HangsOn { name, user, server_name, command, address_text } = hangs_on;
    let client = match (name, user) {
        (true, true) => "the client's name or user",
        (true, false) => "the client's name",
        (false, true) => "the client's user",
        (false, false) => "",
    };
    let all = [
        (name || user, client),
        (server_name, "the server's name"),
        (command, "an aclexec command"),
        (address_text, "the text of the address"),
    ];
    let all: Vec<_> = all.iter().filter(|(is_one, _)| *is_one).map(|(_, text)| *text).collect();
    all.join(" or ")
}
