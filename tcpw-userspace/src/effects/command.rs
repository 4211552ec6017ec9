//! The commands of a judgement, each with its environment.
//!
//! In: the effects of a judgement, in order. Out: the commands of `spawn`.
//! Invariant: `setenv`, `nice` and `umask` act on the commands after them, as in a process
//! that libwrap runs in; they have no effect on the next request.
//! Source: hosts_options(5); tcp_wrappers 7.6.q `options.c`.

use super::wire::Order;
use crate::{
    evaluate::judgement::{Effect, EffectAction},
    parse::rule::{Origin, RuleOption, Tables, Text},
};

/// A command to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// The argument of `/bin/sh -c`.
    pub text: Text,
    /// Its environment.
    pub surroundings: Surroundings,
}

/// The environment of a command when it starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Surroundings {
    /// Names and values set by `setenv`; a later one replaces an earlier one.
    pub environment: Vec<(Text, Text)>,
    /// Sum of the `nice` options.
    pub nice: i32,
    /// The last `umask`.
    pub umask: u32,
}

impl Default for Surroundings {
    fn default() -> Self {
        Self { environment: Vec::new(), nice: 0, umask: 0o022 }
    }
}

impl Surroundings {
    /// The order to run a command in them.
    pub(crate) fn order(&self, id: u64, command: Vec<u8>) -> Order {
        let environment = self.environment.iter().map(|(name, value)| (name.to_vec(), value.to_vec()));
        Order {
            id,
            command,
            environment: environment.collect(),
            nice: self.nice,
            umask: self.umask,
            connection: None,
        }
    }

    /// Applies one option.
    pub fn apply(&mut self, action: &EffectAction) {
        match action {
            EffectAction::Setenv { name, value } => {
                self.environment.retain(|(known, _)| known != name);
                self.environment.push((name.clone(), value.clone()));
            }
            EffectAction::Nice(by) => self.nice = self.nice.saturating_add(*by),
            EffectAction::Umask(mask) => self.umask = *mask,
            EffectAction::Spawn(_)
            | EffectAction::Aclexec { .. }
            | EffectAction::Twist { .. }
            | EffectAction::Banner(_)
            | EffectAction::Severity(_)
            | EffectAction::Keepalive
            | EffectAction::Linger(_)
            | EffectAction::Rfc931 { .. }
            | EffectAction::User(_)
            | EffectAction::Group(_) => {}
        }
    }
}

/// The environment of an `aclexec` command among the effects.
pub fn surroundings_of(effects: &[Effect], command: &[u8]) -> Surroundings {
    let mut surroundings = Surroundings::default();
    for effect in effects {
        if matches!(&effect.action, EffectAction::Aclexec { command: found, .. } if **found == *command) {
            break;
        }
        surroundings.apply(&effect.action);
    }
    surroundings
}

/// The commands of the `spawn` options among the effects.
pub fn commands(effects: &[Effect]) -> Vec<Command> {
    let mut surroundings = Surroundings::default();
    let mut commands = Vec::new();
    for effect in effects {
        if let EffectAction::Spawn(text) = &effect.action {
            commands.push(Command { text: text.clone(), surroundings: surroundings.clone() });
        }
        surroundings.apply(&effect.action);
    }
    commands
}

/// The commands of all rules, as they are written, and where.
pub fn commands_of(tables: &Tables) -> impl Iterator<Item = (Origin, &[u8])> {
    // A plain rule has no option but `allow` or `deny`.
    let rules = tables.allow.rules.kept().chain(tables.deny.rules.kept());
    let options = rules.flat_map(|rule| rule.options.iter().map(move |field| (rule, field)));
    options.filter_map(|(rule, field)| match &field.option {
        Ok(RuleOption::Spawn(text) | RuleOption::Aclexec(text) | RuleOption::Twist(text)) => {
            Some((rule.place(field.span), &**text))
        }
        Ok(_) | Err(_) => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{evaluate::judgement::RuleIndex, parse::rule::TableKind};

    fn effects(actions: Vec<EffectAction>) -> Vec<Effect> {
        let rule = RuleIndex { table: TableKind::Deny, index: 0 };
        actions.into_iter().map(|action| Effect { rule, action }).collect()
    }

    fn text(text: &str) -> Text {
        text.as_bytes().into()
    }

    #[test]
    fn options_act_on_the_commands_behind_them() {
        let set = |value: &str| EffectAction::Setenv { name: text("A"), value: text(value) };
        let found = commands(&effects(vec![
            EffectAction::Spawn(text("first")),
            set("1"),
            EffectAction::Nice(3),
            EffectAction::Umask(0o77),
            EffectAction::Spawn(text("second")),
            set("2"),
            EffectAction::Nice(4),
            EffectAction::Spawn(text("third")),
        ]));
        let [first, second, third] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!(first.surroundings, Surroundings::default());
        assert_eq!(second.surroundings.environment, [(text("A"), text("1"))]);
        assert_eq!((second.surroundings.nice, second.surroundings.umask), (3, 0o77));
        assert_eq!(third.surroundings.environment, [(text("A"), text("2"))]);
        assert_eq!((third.surroundings.nice, third.surroundings.umask), (7, 0o77));
    }

    #[test]
    fn other_options_run_nothing() {
        assert_eq!(
            commands(&effects(vec![
                EffectAction::Keepalive,
                EffectAction::Severity(6),
                EffectAction::Linger(3)
            ])),
            []
        );
    }
}
