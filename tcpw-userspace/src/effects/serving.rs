//! What a refused client gets: banners, then the program of `twist`.
//!
//! In: the effects of a judgement, in order. Out: one order for its connection.
//! Invariant: as in a process that libwrap runs in: `setenv`, `nice` and `umask` act on the program,
//! `keepalive` and `linger` on the connection.
//! Source: hosts_options(5); tcp_wrappers 7.6.q `options.c`.

use super::{
    Surroundings,
    wire::{Connection, Order},
};
use crate::{
    evaluate::judgement::{Effect, EffectAction},
    parse::rule::Text,
};

/// What is done with a connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Serving {
    /// Texts of banners, as they are sent.
    pub banner: Vec<u8>,
    /// The command that gets the connection then.
    pub twist: Option<Text>,
    surroundings: Surroundings,
    keepalive: bool,
    linger_s: Option<u32>,
}

/// What the effects require for the connection.
pub fn serving(effects: &[Effect]) -> Serving {
    let mut serving = Serving::default();
    for effect in effects {
        serving.surroundings.apply(&effect.action);
        match &effect.action {
            EffectAction::Banner(text) => serving.banner.extend_from_slice(text),
            EffectAction::Twist { command, .. } => serving.twist = Some(command.clone()),
            EffectAction::Keepalive => serving.keepalive = true,
            EffectAction::Linger(seconds) => serving.linger_s = Some(*seconds),
            EffectAction::Spawn(_)
            | EffectAction::Aclexec { .. }
            | EffectAction::Severity(_)
            | EffectAction::Rfc931 { .. }
            | EffectAction::Setenv { .. }
            | EffectAction::Nice(_)
            | EffectAction::Umask(_)
            | EffectAction::User(_)
            | EffectAction::Group(_) => {}
        }
    }
    serving
}

impl Serving {
    /// Whether the client gets anything.
    pub fn is_something(&self) -> bool {
        self.twist.is_some() || !self.banner.is_empty()
    }

    pub(crate) fn order(&self, id: u64) -> Order {
        let connection = Connection {
            banner: self.banner.clone(),
            has_command: self.twist.is_some(),
            keepalive: self.keepalive,
            linger_s: self.linger_s,
        };
        let command = self.twist.as_deref().unwrap_or_default().to_vec();
        Order { connection: Some(connection), ..self.surroundings.order(id, command) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{evaluate::judgement::RuleIndex, parse::rule::TableKind};

    fn of(actions: Vec<EffectAction>) -> Serving {
        let rule = RuleIndex { table: TableKind::Deny, index: 0 };
        serving(&actions.into_iter().map(|action| Effect { rule, action }).collect::<Vec<_>>())
    }

    fn text(text: &str) -> Text {
        text.as_bytes().into()
    }

    #[test]
    fn banners_come_in_order_and_then_the_program_with_its_surroundings() {
        let serving = of(vec![
            EffectAction::Linger(3),
            EffectAction::Banner(text("one\r\n")),
            EffectAction::Nice(4),
            EffectAction::Spawn(text("beside")),
            EffectAction::Banner(text("two\r\n")),
            EffectAction::Keepalive,
            EffectAction::Twist { command: text("cat"), client: text("c") },
        ]);
        let order = serving.order(9);
        assert_eq!((order.id, &*order.command, order.nice), (9, &b"cat"[..], 4));
        let wanted = Connection {
            banner: b"one\r\ntwo\r\n".to_vec(),
            has_command: true,
            keepalive: true,
            linger_s: Some(3),
        };
        assert_eq!(order.connection, Some(wanted));
    }

    #[test]
    fn without_banner_and_twist_it_is_nothing() {
        assert!(
            !of(vec![
                EffectAction::Keepalive,
                EffectAction::Banner(text("")),
                EffectAction::Spawn(text("x"))
            ])
            .is_something()
        );
        assert!(of(vec![EffectAction::Banner(text("x"))]).is_something());
    }
}
