//! Options that depend on the daemon, on the other table or on files.

use std::{os::unix::ffi::OsStrExt as _, path::Path};

use tcpw_common::banner::MAX_TEXT;

use super::{
    Scope,
    facts::{Facts, Kind},
    foresee::{Problem, problems, program_of},
    place::Places,
    verdicts::leads_to,
};
use crate::parse::{
    advice::is_resident,
    code::Code,
    diagnostic::{Finding, Sink},
    rule::{Daemon, OptionField, Rule, RuleOption, TableKind, Tables, TextPattern},
};

/// Findings on twist, aclexec and banners.
pub(super) fn check(tables: &Tables, facts: &dyn Facts, places: &mut Places<'_>, sink: &mut Sink) {
    let spoilt = tables.deny.rules.entries().position(|rule| !rule.options().is_empty());
    let spoilt = spoilt.and_then(|index| tables.deny.rules.get(index));
    for (table, next) in [(&tables.allow, spoilt.as_deref()), (&tables.deny, None)] {
        // A plain rule has none of these options.
        for rule in table.rules.kept() {
            for OptionField { span, option } in &rule.options {
                let Ok(option) = option else { break };
                let finding = match option {
                    RuleOption::Twist(_) => resident(rule).map(twist),
                    RuleOption::Aclexec(_) => next.filter(|_| may_end_table(rule)).map(spoils),
                    RuleOption::Banners(path) if path.is_absolute() => {
                        if facts.status(path).kind == Kind::Directory {
                            let lets_in = leads_to(rule, table.kind) == TableKind::Allow;
                            lets_in.then(|| too_long(rule, path, facts)).flatten()
                        } else {
                            Some(nowhere(path))
                        }
                    }
                    RuleOption::Allow
                    | RuleOption::Deny
                    | RuleOption::Severity(_)
                    | RuleOption::Spawn(_)
                    | RuleOption::Banners(_)
                    | RuleOption::Keepalive
                    | RuleOption::Linger(_)
                    | RuleOption::Rfc931(_)
                    | RuleOption::Setenv(_)
                    | RuleOption::Nice(_)
                    | RuleOption::Umask(_)
                    | RuleOption::User(_)
                    | RuleOption::Group(_) => None,
                };
                if let Some(finding) = finding {
                    sink.push(places.at(finding, rule.place(*span)));
                }
            }
        }
    }
}

/// Findings on commands that cannot work on this machine.
///
/// Of tables that are not in use only commands that decide on access are looked at.
pub(super) fn foresee(
    tables: &Tables,
    facts: &dyn Facts,
    scope: Scope,
    places: &mut Places<'_>,
    sink: &mut Sink,
) {
    for (table, rule) in
        [&tables.allow, &tables.deny].into_iter().flat_map(|it| it.rules.kept().map(move |rule| (it, rule)))
    {
        for OptionField { span, option } in &rule.options {
            let (text, is_asked) = match option {
                Ok(RuleOption::Aclexec(text)) => (text, true),
                Ok(RuleOption::Spawn(text) | RuleOption::Twist(text)) if scope.in_use => (text, false),
                Ok(_) | Err(_) => continue,
            };
            let consequence = match table.kind {
                _ if !is_asked => {
                    "the command fails each time, without a message; which clients are allowed does not depend on it"
                }
                _ if !may_end_table(rule) => {
                    "the command fails each time; the option behind it decides which clients are allowed"
                }
                TableKind::Allow => {
                    "the command fails for every client: this rule allows none, and hosts.deny decides"
                }
                TableKind::Deny => "the command fails for every client: all clients of this rule are allowed",
            };
            if let Some(Problem { what, fix }) = program_of(text, facts, scope.in_use) {
                let expected = "a program that the commands' user can run";
                let finding = Finding::new(Code::W124, what, expected, consequence);
                sink.push(places.at(finding.advise(fix), rule.place(*span)));
            } else if scope.in_use && !matches!(option, Ok(RuleOption::Twist(_))) {
                for Problem { what, fix } in problems(text, facts) {
                    let expected = "a command that a process without rights can run";
                    let finding = Finding::new(Code::W124, what, expected, consequence);
                    sink.push(places.at(finding.advise(fix), rule.place(*span)));
                }
            }
        }
    }
}

fn nowhere(directory: &Path) -> Finding {
    let message = format!("there is no directory \"{}\"", directory.display());
    let consequence = "no banner is sent; libwrap warns each time";
    Finding::new(Code::W128, message, "a directory with a file for each daemon", consequence)
}

/// The first file of a directory of banners that is too long to be sent, if it may be one of the rule's.
fn too_long(rule: &Rule, directory: &Path, facts: &dyn Facts) -> Option<Finding> {
    let is_wanted = |file: &Path| {
        let name = file.file_name().unwrap_or_default().as_bytes();
        rule.daemons.patterns.iter().any(|token| match &token.daemon {
            Daemon::Name(TextPattern::Exact(daemon)) => **daemon == *name,
            Daemon::Name(_) | Daemon::Port(_) => true,
            Daemon::Never => false,
        })
    };
    let size =
        |file: &Path| Some(facts.status(file)).filter(|it| it.kind == Kind::File).map_or(0, |it| it.size);
    let files = facts.entries(directory);
    let file = files.iter().find(|file| is_wanted(file) && size(file) > MAX_TEXT as u64)?;
    let message = format!("\"{}\" has {} bytes", file.display(), size(file));
    let expected = format!("{MAX_TEXT} bytes at most, after % expansion");
    let consequence = "clients that the rule allows get no banner; libwrap sends it whole";
    Some(Finding::new(Code::W126, message, expected, consequence))
}

/// Whether a command that fails leaves the verdict open: no option behind it gives one.
fn may_end_table(rule: &Rule) -> bool {
    !rule.options.iter().any(|field| {
        matches!(field.option, Err(_) | Ok(RuleOption::Allow | RuleOption::Deny | RuleOption::Twist(_)))
    })
}

/// The first daemon of a rule that judges many clients in one process.
fn resident(rule: &Rule) -> Option<String> {
    rule.daemons.patterns.iter().find_map(|token| match &token.daemon {
        Daemon::Name(TextPattern::All) => Some("ALL".to_owned()),
        Daemon::Name(TextPattern::Exact(name)) if is_resident(name) => {
            Some(String::from_utf8_lossy(name).into_owned())
        }
        Daemon::Name(
            TextPattern::Exact(_)
            | TextPattern::Glob(_)
            | TextPattern::Suffix(_)
            | TextPattern::Known
            | TextPattern::Prefix(_)
            | TextPattern::Bracketed(_),
        )
        | Daemon::Port(_)
        | Daemon::Never => None,
    })
}

fn twist(daemon: String) -> Finding {
    let message = if daemon == "ALL" {
        "twist for ALL: some of them run on and judge many clients".to_owned()
    } else {
        format!("twist for \"{daemon}\", which runs on and judges many clients")
    };
    let consequence =
        "a daemon that judges more than one client cannot become another program: libwrap refuses";
    Finding::new(Code::H120, message, "daemons that inetd starts for each client", consequence)
}

fn spoils(deny: &Rule) -> Finding {
    let consequence = "libwrap never forgets that a command failed: a rule of hosts.deny with options then lets in \
                       clients that it should refuse; tcpw forgets it";
    let message = "when the command fails, rules of hosts.deny with options stop refusing";
    Finding::new(Code::W123, message, "rules of hosts.deny without options", consequence)
        .relate(deny.origin(), "such a rule")
}
