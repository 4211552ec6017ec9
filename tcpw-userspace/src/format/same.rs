//! Whether two tables say the same.

use super::command;
use crate::parse::rule::{
    ClientPattern, Complaint, Daemon, DaemonPattern, HostPattern, List, Rule, Table, TextPattern,
};

/// Whether two tables have the same rules: all but places, and the case of words that are compared whole.
pub fn same_rules(one: &Table, other: &Table) -> bool {
    one.kind == other.kind
        && one.end == other.end
        && one.rules.len() == other.rules.len()
        && one.rules.iter().zip(&other.rules).all(|(one, other)| same_rule(&one, &other))
        && same_all(&one.complaints, &other.complaints, same_complaint)
}

fn same_all<T>(one: &[T], other: &[T], same: impl Fn(&T, &T) -> bool) -> bool {
    one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other))
}

fn same_rule(one: &Rule, other: &Rule) -> bool {
    same_list(&one.daemons, &other.daemons, same_daemon)
        && same_list(&one.clients, &other.clients, same_client)
        && same_all(&one.options, &other.options, |one, other| match (&one.option, &other.option) {
            (Ok(one), Ok(other)) => command::same_option(one, other),
            (one, other) => one == other,
        })
}

/// libwrap's words, which begin with a place.
fn same_complaint(one: &Complaint, other: &Complaint) -> bool {
    let words = |text: &str| text.rsplit_once(": ").map(|(_, words)| words.to_owned());
    one.before == other.before && words(&one.text) == words(&other.text)
}

fn same_list<P>(one: &List<P>, other: &List<P>, same: impl Fn(&P, &P) -> bool + Copy) -> bool {
    let parts = |list| std::iter::successors(Some(list), |list: &&List<P>| list.except.as_deref());
    parts(one).count() == parts(other).count()
        && parts(one).zip(parts(other)).all(|(one, other)| same_all(&one.patterns, &other.patterns, same))
}

fn same_daemon(one: &DaemonPattern, other: &DaemonPattern) -> bool {
    let names = match (&one.daemon, &other.daemon) {
        (Daemon::Name(one), Daemon::Name(other)) => same_text(one, other),
        (one, other) => one == other,
    };
    names && same_option(one.server.as_ref(), other.server.as_ref(), same_host)
}

fn same_client(one: &ClientPattern, other: &ClientPattern) -> bool {
    same_option(one.user.as_ref(), other.user.as_ref(), same_text) && same_host(&one.host, &other.host)
}

fn same_option<T>(one: Option<&T>, other: Option<&T>, same: impl Fn(&T, &T) -> bool) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => same(one, other),
        (None, None) => true,
        (Some(_), None) | (None, Some(_)) => false,
    }
}

fn same_host(one: &HostPattern, other: &HostPattern) -> bool {
    match (one, other) {
        (
            HostPattern::Text { pattern: one, numeric: one_numeric },
            HostPattern::Text { pattern: other, numeric: other_numeric },
        ) => one_numeric == other_numeric && same_text(one, other),
        (one, other) => one == other,
    }
}

/// UNKNOWN and PARANOID are words like any other, and words are compared whatever their case.
fn same_text(one: &TextPattern, other: &TextPattern) -> bool {
    match (one, other) {
        (TextPattern::Exact(one), TextPattern::Exact(other)) => one.eq_ignore_ascii_case(other),
        (one, other) => one == other,
    }
}
