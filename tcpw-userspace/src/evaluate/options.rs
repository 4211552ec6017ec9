//! What the options of a matched rule make of its verdict.
//!
//! Source: tcp_wrappers 7.6.q (Debian) `options.c`, `hosts_access.c` `table_match`.

use super::{
    host::cut,
    request::{Lookup, Reason, Verdict},
    text::UNKNOWN,
};
use crate::parse::{
    list::split_at,
    rule::{Rule, RuleOption, TableKind, Text},
};

/// The verdict of a matched rule. `lookup` is asked about the users and groups it names.
pub fn outcome_of(rule: &Rule, table: TableKind, lookup: &dyn Lookup) -> Verdict {
    match Options::new(lookup).process(rule, table).0 {
        Effect::Decide(verdict, _) => verdict,
        Effect::EndTable => default_verdict(table),
    }
}

fn default_verdict(table: TableKind) -> Verdict {
    match table {
        TableKind::Allow => Verdict::Allow,
        TableKind::Deny => Verdict::Refuse,
    }
}

/// What a matched rule does.
pub(super) enum Effect {
    /// It decides.
    Decide(Verdict, Reason),
    /// Its aclexec failed: the table ends without a match.
    EndTable,
}

/// The options of one request: libwrap keeps some of their state between rules.
pub(super) struct Options<'a> {
    lookup: &'a dyn Lookup,
    severity: Option<i32>,
    /// The last aclexec of this request failed. libwrap asks after every rule
    /// with options, so a rule of hosts.deny is spoilt by one of hosts.allow.
    aclexec_failed: bool,
}

impl<'a> Options<'a> {
    pub(super) fn new(lookup: &'a dyn Lookup) -> Self {
        Self { lookup, severity: None, aclexec_failed: false }
    }

    /// The priority that options of this request have set.
    pub(super) fn severity(&self) -> Option<i32> {
        self.severity
    }

    /// The client's user, as libwrap keeps it.
    pub(super) fn user(&self) -> Text {
        self.lookup.client_user().map_or(UNKNOWN.into(), |user| cut(&user).into())
    }

    /// Runs the options of a matched rule, up to an error, which is returned too.
    pub(super) fn process(&mut self, rule: &Rule, table: TableKind) -> (Effect, Option<String>) {
        for field in &rule.options {
            let option = match &field.option {
                Ok(option) => option,
                Err(error) => return refused(error.clone()),
            };
            match option {
                RuleOption::Allow => return (Effect::Decide(Verdict::Allow, Reason::Option), None),
                RuleOption::Deny => return (Effect::Decide(Verdict::Refuse, Reason::Option), None),
                RuleOption::Twist(_) => return (Effect::Decide(Verdict::Refuse, Reason::Twist), None),
                RuleOption::Severity(priority) => self.severity = Some(*priority),
                RuleOption::Aclexec(command) => {
                    self.aclexec_failed = !self.lookup.command_succeeds(command);
                }
                RuleOption::User(name) => {
                    if let Err(error) = self.user_option(name) {
                        return refused(error);
                    }
                }
                RuleOption::Group(name) => {
                    if let Err(error) = self.group_option(name) {
                        return refused(error);
                    }
                }
                RuleOption::Spawn(_)
                | RuleOption::Keepalive
                | RuleOption::Linger(_)
                | RuleOption::Rfc931(_)
                | RuleOption::Setenv { .. }
                | RuleOption::Nice(_)
                | RuleOption::Umask(_)
                | RuleOption::Banners(_) => {}
            }
        }
        if self.aclexec_failed && !rule.options.is_empty() {
            return (Effect::EndTable, None);
        }
        (Effect::Decide(default_verdict(table), Reason::Rule), None)
    }

    fn user_option(&self, value: &[u8]) -> Result<(), String> {
        let user = match split_at(value, b'.') {
            None => value,
            Some(dot) => {
                self.group_option(&value[dot + 1..])?;
                &value[..dot]
            }
        };
        let exists = self.lookup.user_exists(user);
        exists.then_some(()).ok_or_else(|| format!("unknown user: \"{}\"", String::from_utf8_lossy(user)))
    }

    fn group_option(&self, group: &[u8]) -> Result<(), String> {
        let exists = self.lookup.group_exists(group);
        exists.then_some(()).ok_or_else(|| format!("unknown group: \"{}\"", String::from_utf8_lossy(group)))
    }
}

fn refused(error: String) -> (Effect, Option<String>) {
    (Effect::Decide(Verdict::Refuse, Reason::OptionError), Some(error))
}
