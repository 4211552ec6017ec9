//! What the options of the deciding rule would do.

use serde::Serialize;
use tcpw_common::banner::MAX_TEXT;

use super::place::{QuotedPlace, TablesAndTexts};
use crate::{
    cases,
    evaluate::{
        judgement::{EffectAction, Judgement, Reason, Verdict},
        quoted_bytes,
    },
    parse::{
        option_texts,
        rule::{OptionField, RuleOption},
    },
};

/// One option.
#[derive(Debug, Serialize)]
pub(super) struct OptionLine {
    /// Where it stands, and its text.
    #[serde(flatten)]
    pub(super) place: QuotedPlace,
    /// What it would do.
    pub(super) effect: String,
    /// The command it would run, expanded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) command: Option<String>,
}

/// The options of the rule that decided, those behind an error included.
pub(super) fn lines(places: &TablesAndTexts, judgement: &Judgement) -> Vec<OptionLine> {
    let Some(index) = judgement.rule else { return Vec::new() };
    let Some(rule) = cases::rule(&places.tables, index) else { return Vec::new() };
    let mut actions =
        judgement.effects.iter().filter(|effect| effect.rule == index).map(|effect| &effect.action);
    let mut next = actions.next();
    let mut reached = true;
    let mut line = |(field, text): (&OptionField, Vec<u8>)| {
        let action = next.filter(|action| field.option.as_ref().is_ok_and(|option| is_of(option, action)));
        if action.is_some() {
            next = actions.next();
        }
        let (effect, goes_on) = match (&field.option, action) {
            _ if !reached => ("never reached".into(), false),
            (Err(error), _) => (format!("error: {error}; the client is refused"), false),
            (Ok(_), Some(action)) => (effect(action, judgement.verdict), true),
            (Ok(option), None) => without_action(option, judgement.reason),
        };
        reached &= goes_on;
        let place = QuotedPlace { text: quoted_bytes(&text), ..places.at(&rule.place(field.span)) };
        OptionLine { place, effect, command: action.and_then(command) }
    };
    rule.options.iter().zip(option_texts(&rule)).map(&mut line).collect()
}

fn is_of(option: &RuleOption, action: &EffectAction) -> bool {
    match action {
        EffectAction::Spawn(_) => matches!(option, RuleOption::Spawn(_)),
        EffectAction::Aclexec { .. } => matches!(option, RuleOption::Aclexec(_)),
        EffectAction::Twist { .. } => matches!(option, RuleOption::Twist(_)),
        EffectAction::Banner(_) => matches!(option, RuleOption::Banners(_)),
        EffectAction::Severity(_) => matches!(option, RuleOption::Severity(_)),
        EffectAction::Keepalive => matches!(option, RuleOption::Keepalive),
        EffectAction::Linger(_) => matches!(option, RuleOption::Linger(_)),
        EffectAction::Rfc931 { .. } => matches!(option, RuleOption::Rfc931(_)),
        EffectAction::Setenv { .. } => matches!(option, RuleOption::Setenv(_)),
        EffectAction::Nice(_) => matches!(option, RuleOption::Nice(_)),
        EffectAction::Umask(_) => matches!(option, RuleOption::Umask(_)),
        EffectAction::User(_) => matches!(option, RuleOption::User(_)),
        EffectAction::Group(_) => matches!(option, RuleOption::Group(_)),
    }
}

fn effect(action: &EffectAction, verdict: Verdict) -> String {
    match action {
        EffectAction::Spawn(command) => format!("would run, and wait for: {}", quoted_bytes(command)),
        EffectAction::Aclexec { command, .. } => {
            format!("would run, and go by its result (taken to be success): {}", quoted_bytes(command))
        }
        EffectAction::Twist { command, .. } => {
            format!("would give the connection to, in the daemon's place: {}", quoted_bytes(command))
        }
        EffectAction::Banner(text) => banner(text, verdict),
        EffectAction::Severity(priority) => {
            format!("the log line gets priority {}", cases::priority(*priority))
        }
        EffectAction::Keepalive => "would turn on keepalive".into(),
        EffectAction::Linger(seconds) => format!("unsent data would linger for {seconds} s"),
        EffectAction::Rfc931 { timeout_s } => {
            format!("would ask for the client's user, for at most {timeout_s} s")
        }
        EffectAction::Setenv { name, value } => {
            format!("would set {}={}", quoted_bytes(name), quoted_bytes(value))
        }
        EffectAction::Nice(by) => format!("would change the niceness by {by}"),
        EffectAction::Umask(mask) => format!("would set the umask to {mask:03o}"),
        EffectAction::User(name) => format!("user {} exists; libwrap does no more", quoted_bytes(name)),
        EffectAction::Group(name) => format!("group {} exists; libwrap does no more", quoted_bytes(name)),
    }
}

fn banner(text: &[u8], verdict: Verdict) -> String {
    match verdict {
        Verdict::Allow if text.len() > MAX_TEXT => {
            format!("would send {} bytes; tcpw sends none, it keeps {MAX_TEXT} at most", text.len())
        }
        Verdict::Allow => {
            format!("would send, tcpw with the daemon's first words: {:?}", quoted_bytes(text))
        }
        Verdict::Refuse => format!("would send: {:?}", quoted_bytes(text)),
    }
}

/// An option that did nothing or decided, and whether the next one is reached.
fn without_action(option: &RuleOption, reason: Reason) -> (String, bool) {
    match option {
        RuleOption::Allow => ("allows, whatever the table".into(), true),
        RuleOption::Deny => ("refuses, whatever the table".into(), true),
        RuleOption::Banners(_) if !matches!(reason, Reason::Exit) => {
            ("no banner for this daemon".into(), true)
        }
        RuleOption::Severity(_)
        | RuleOption::Spawn(_)
        | RuleOption::Twist(_)
        | RuleOption::Aclexec(_)
        | RuleOption::Keepalive
        | RuleOption::Linger(_)
        | RuleOption::Rfc931(_)
        | RuleOption::Setenv(_)
        | RuleOption::Nice(_)
        | RuleOption::Umask(_)
        | RuleOption::User(_)
        | RuleOption::Group(_)
        | RuleOption::Banners(_) => ("fails (see the warnings); the client is refused".into(), false),
    }
}

fn command(action: &EffectAction) -> Option<String> {
    match action {
        EffectAction::Spawn(command)
        | EffectAction::Aclexec { command, .. }
        | EffectAction::Twist { command, .. } => Some(quoted_bytes(command)),
        EffectAction::Banner(_)
        | EffectAction::Severity(_)
        | EffectAction::Keepalive
        | EffectAction::Linger(_)
        | EffectAction::Rfc931 { .. }
        | EffectAction::Setenv { .. }
        | EffectAction::Nice(_)
        | EffectAction::Umask(_)
        | EffectAction::User(_)
        | EffectAction::Group(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn banner_of_a_client_that_is_let_in_is_told_truly() {
        let of = |length, verdict| effect(&EffectAction::Banner(vec![b'x'; length].into()), verdict);
        assert_eq!(of(1, Verdict::Refuse), "would send: \"x\"");
        assert_eq!(of(1, Verdict::Allow), "would send, tcpw with the daemon's first words: \"x\"");
        assert!(of(MAX_TEXT, Verdict::Allow).ends_with("x\""));
        let none = "would send 4097 bytes; tcpw sends none, it keeps 4096 at most";
        assert_eq!(of(MAX_TEXT + 1, Verdict::Allow), none);
        assert!(of(MAX_TEXT + 1, Verdict::Refuse).ends_with("x\""));
    }
}
