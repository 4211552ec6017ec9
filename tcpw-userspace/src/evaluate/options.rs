//! What the options of a matched rule do, and make of its verdict.
//!
//! Source: hosts_options(5); tcp_wrappers 7.6.q (Debian) `options.c`, `hosts_access.c` `table_match`.

use std::{os::unix::ffi::OsStrExt, path::Path};

use super::{
    expand::{self, OPTION_BYTES, TooLong},
    judgement::{Effect, EffectAction, Reason, RuleIndex, Verdict},
    quoted_bytes,
    request::{AccessRequest, Banner, CommandResult, Lookup, Purpose},
    subject::Subject,
};
use crate::parse::{
    list::split_at,
    options::{setenv, trim},
    rule::{OptionField, Rule, RuleOption, TableKind, Text},
};

/// The consequences of a matched rule, which are the same for every client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Consequences {
    /// Its verdict, if its commands succeed.
    pub verdict: Verdict,
    /// It runs `spawn` commands.
    pub spawns: bool,
    /// It sets SO_KEEPALIVE on the connection.
    pub keepalive: bool,
    /// The result of a command (`aclexec`) decides.
    pub asks_command: bool,
    /// The client gets a banner, or the program of `twist`.
    pub serves: bool,
}

impl Consequences {
    /// Whether there is something to do when a connection is accepted.
    pub fn act_on_accepted(&self) -> bool {
        let is_allowed = self.asks_command || self.verdict == Verdict::Allow;
        is_allowed && (self.spawns || self.keepalive || self.serves)
    }

    /// Whether an allowed client may get a banner.
    pub fn has_allow_banners(&self) -> bool {
        self.serves && (self.asks_command || self.verdict == Verdict::Allow)
    }

    /// Whether a refused client's connection is redirected, for a banner or a `twist`.
    pub fn redirects(&self) -> bool {
        self.serves && !self.asks_command && self.verdict == Verdict::Refuse
    }
}

/// The verdict of a matched rule. `lookup` is only used for the users and groups it names.
pub fn outcome_of(rule: &Rule, table: TableKind, lookup: &dyn Lookup) -> Verdict {
    consequences_of(rule, table, lookup).verdict
}

/// As [`outcome_of`] a rule with these options.
pub fn outcome_of_options(options: &[OptionField], table: TableKind, lookup: &dyn Lookup) -> Verdict {
    consequences_of_options(options, table, lookup).verdict
}

/// The consequences of a matched rule. `lookup` is only used for the users and groups it names.
pub fn consequences_of(rule: &Rule, table: TableKind, lookup: &dyn Lookup) -> Consequences {
    consequences_of_options(&rule.options, table, lookup)
}

/// As [`consequences_of`] a rule with these options.
pub fn consequences_of_options(
    fields: &[OptionField],
    table: TableKind,
    lookup: &dyn Lookup,
) -> Consequences {
    let request = AccessRequest::default();
    let accounts = AccountsOf(lookup);
    let mut subject = Subject::new(&request, &accounts);
    let rule_index = RuleIndex { table, index: 0 };
    let mut options = Options::default();
    let verdict = match options.process(fields, rule_index, &mut subject, &mut |_| {}) {
        RuleResult::Decide(verdict, _) => verdict,
        RuleResult::EndTable => default_verdict(table),
    };
    let does = |what: fn(&EffectAction) -> bool| options.effects.iter().any(|effect| what(&effect.action));
    Consequences {
        verdict,
        spawns: does(|action| matches!(action, EffectAction::Spawn(_))),
        keepalive: does(|action| matches!(action, EffectAction::Keepalive)),
        asks_command: does(|action| matches!(action, EffectAction::Aclexec { .. })),
        serves: does(|action| matches!(action, EffectAction::Twist { .. } | EffectAction::Banner(_))),
    }
}

/// Only answers whether users and groups exist: no command is run, because no client has matched the rule.
struct AccountsOf<'a>(&'a dyn Lookup);

impl Lookup for AccountsOf<'_> {
    fn user_exists(&self, name: &[u8]) -> bool {
        self.0.user_exists(name)
    }

    fn group_exists(&self, name: &[u8]) -> bool {
        self.0.group_exists(name)
    }

    /// Which file it is depends on the daemon.
    fn banner(&self, _directory: &Path, _daemon: &[u8]) -> Banner {
        Banner::Text(Vec::new())
    }
}

fn default_verdict(table: TableKind) -> Verdict {
    match table {
        TableKind::Allow => Verdict::Allow,
        TableKind::Deny => Verdict::Refuse,
    }
}

/// What a matched rule does.
#[derive(Debug)]
pub(super) enum RuleResult {
    /// It decides.
    Decide(Verdict, Reason),
    /// Its aclexec failed: the table ends without a match.
    EndTable,
}

/// The options of one request: libwrap keeps some of their state between rules.
#[derive(Default)]
pub(super) struct Options {
    /// Their effects so far.
    pub(super) effects: Vec<Effect>,
    /// The priority they have set.
    pub(super) severity: Option<i32>,
    /// The last aclexec of this request failed. libwrap tests this after every rule with options,
    /// so an aclexec in hosts.allow also disables a later rule with options in hosts.deny.
    aclexec_failed: bool,
}

/// Why the remaining options of a rule are not processed.
enum Stop {
    Decided(Verdict, Reason),
    /// libwrap reports an error.
    Error(String),
    Exit(TooLong),
}

impl From<TooLong> for Stop {
    fn from(error: TooLong) -> Self {
        Self::Exit(error)
    }
}

impl Options {
    /// Runs the options of a matched rule, up to an error. `say` gets libwrap's messages,
    /// from their first word, `warning` or `error`, and without the place.
    pub(super) fn process(
        &mut self,
        fields: &[OptionField],
        index: RuleIndex,
        subject: &mut Subject<'_>,
        say: &mut dyn FnMut(Message),
    ) -> RuleResult {
        for field in fields {
            let done = match &field.option {
                Ok(option) => self.option(option, index, subject, say),
                Err(error) => Err(Stop::Error(error.clone())),
            };
            match done {
                Ok(()) => {}
                Err(Stop::Decided(verdict, reason)) => return RuleResult::Decide(verdict, reason),
                Err(Stop::Error(error)) => {
                    say(Message::Error(error));
                    return RuleResult::Decide(Verdict::Refuse, Reason::OptionError);
                }
                Err(Stop::Exit(TooLong { warning })) => {
                    say(Message::Warning(warning));
                    return RuleResult::Decide(Verdict::Refuse, Reason::Exit);
                }
            }
        }
        if self.aclexec_failed && !fields.is_empty() {
            return RuleResult::EndTable;
        }
        RuleResult::Decide(default_verdict(index.table), Reason::Rule)
    }

    fn option(
        &mut self,
        option: &RuleOption,
        rule: RuleIndex,
        subject: &mut Subject<'_>,
        say: &mut dyn FnMut(Message),
    ) -> Result<(), Stop> {
        let action = match option {
            RuleOption::Allow => return Err(Stop::Decided(Verdict::Allow, Reason::Option)),
            RuleOption::Deny => return Err(Stop::Decided(Verdict::Refuse, Reason::Option)),
            RuleOption::Severity(priority) => {
                self.severity = Some(*priority);
                EffectAction::Severity(*priority)
            }
            RuleOption::Spawn(template) => {
                let command = expanded(template, subject, say)?;
                subject.lookup.run(Purpose::Spawn, &command);
                EffectAction::Spawn(command)
            }
            RuleOption::Aclexec(template) => self.aclexec(template, subject, say)?,
            RuleOption::Twist(template) => {
                let command = expanded(template, subject, say)?;
                if subject.request.resident {
                    return Err(Stop::Error("twist option in resident process".into()));
                }
                let client = subject.client_text().into();
                self.effects.push(Effect { rule, action: EffectAction::Twist { command, client } });
                return Err(Stop::Decided(Verdict::Refuse, Reason::Twist));
            }
            RuleOption::Setenv(template) => {
                let value = expanded(template, subject, say)?;
                let (name, value) = setenv(&value).map_err(Stop::Error)?;
                EffectAction::Setenv { name: name.into(), value: value.into() }
            }
            RuleOption::Rfc931(seconds) => {
                if let Some(seconds) = seconds {
                    subject.user_timeout_s = *seconds;
                }
                subject.user();
                EffectAction::Rfc931 { timeout_s: subject.user_timeout_s }
            }
            RuleOption::Banners(directory) => match banner(directory, subject, say)? {
                Some(text) => EffectAction::Banner(text),
                None => return Ok(()),
            },
            RuleOption::User(name) => {
                user_option(name, subject.lookup).map_err(Stop::Error)?;
                EffectAction::User(name.clone())
            }
            RuleOption::Group(name) => {
                group_option(name, subject.lookup).map_err(Stop::Error)?;
                EffectAction::Group(name.clone())
            }
            RuleOption::Keepalive => EffectAction::Keepalive,
            RuleOption::Linger(seconds) => EffectAction::Linger(*seconds),
            RuleOption::Nice(by) => EffectAction::Nice(*by),
            RuleOption::Umask(mask) => EffectAction::Umask(*mask),
        };
        self.effects.push(Effect { rule, action });
        Ok(())
    }

    fn aclexec(
        &mut self,
        template: &[u8],
        subject: &mut Subject<'_>,
        say: &mut dyn FnMut(Message),
    ) -> Result<EffectAction, Stop> {
        let command = expanded(template, subject, say)?;
        let result = subject.lookup.run(Purpose::Aclexec, &command);
        if let CommandResult::Killed { pid, signal } = result {
            say(Message::Warning(format!("process {pid} exited with signal {signal}")));
        }
        self.aclexec_failed = result != CommandResult::Exited(0);
        Ok(EffectAction::Aclexec { command, result })
    }
}

/// A message of libwrap.
pub(super) enum Message {
    /// A warning: libwrap goes on.
    Warning(String),
    /// An error: libwrap refuses.
    Error(String),
}

fn expanded(template: &[u8], subject: &mut Subject<'_>, say: &mut dyn FnMut(Message)) -> Result<Text, Stop> {
    let text =
        expand::expand(template, OPTION_BYTES, subject, &mut |warning| say(Message::Warning(warning)))?;
    Ok(trim(&text).into())
}

fn banner(
    directory: &Path,
    subject: &mut Subject<'_>,
    say: &mut dyn FnMut(Message),
) -> Result<Option<Text>, Stop> {
    let text = match subject.lookup.banner(directory, subject.daemon()) {
        Banner::Text(text) => text,
        Banner::Missing => return Ok(None),
        Banner::NoDirectory(why) => {
            let directory = quoted_bytes(directory.as_os_str().as_bytes());
            say(Message::Warning(format!("{directory}: {why}")));
            return Ok(None);
        }
    };
    let text = expand::banner(&text, subject, &mut |warning| say(Message::Warning(warning)))?;
    Ok(Some(text.into()))
}

fn user_option(value: &[u8], lookup: &dyn Lookup) -> Result<(), String> {
    let user = match split_at(value, b'.') {
        None => value,
        Some(dot) => {
            group_option(&value[dot + 1..], lookup)?;
            &value[..dot]
        }
    };
    let exists = lookup.user_exists(user);
    exists.then_some(()).ok_or_else(|| format!("unknown user: \"{}\"", quoted_bytes(user)))
}

fn group_option(group: &[u8], lookup: &dyn Lookup) -> Result<(), String> {
    let exists = lookup.group_exists(group);
    exists.then_some(()).ok_or_else(|| format!("unknown group: \"{}\"", quoted_bytes(group)))
}
