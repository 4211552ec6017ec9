//! The answer to a case, and how it differs from the expected one.

use std::fmt;

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use super::{
    bytes::JsonBytes,
    case::{Case, Expect},
    lookup::PID,
};
use crate::{
    evaluate::{
        judgement::{Effect, EffectAction, Judgement, Reason, RuleIndex, Verdict},
        quoted_bytes,
        request::{CommandResult, RFC931_TIMEOUT_S},
    },
    parse::rule::{RuleRef, TableKind, Tables},
};

/// The name of a case: its own, or its line.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(untagged)]
pub enum Id<'a> {
    /// As the case has it.
    Own(&'a RawValue),
    /// The case has none.
    Line(u64),
}

impl fmt::Display for Id<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Own(raw) => {
                let text = raw.get();
                let inside = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
                out.write_str(inside.unwrap_or(text))
            }
            Self::Line(line) => write!(out, "line {line}"),
        }
    }
}

/// The rule that decided: `allow:LINE`, `deny:LINE` or `none`; libwrap's line number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MatchedRule(Option<(TableKind, u32)>);

impl MatchedRule {
    /// The rule of an index.
    pub fn of(tables: &Tables, index: Option<RuleIndex>) -> Self {
        let number = |index: RuleIndex| rule(tables, index).map(|rule| (index.table, rule.number));
        Self(index.and_then(number))
    }
}

impl fmt::Display for MatchedRule {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => out.write_str("none"),
            Some((TableKind::Allow, line)) => write!(out, "allow:{line}"),
            Some((TableKind::Deny, line)) => write!(out, "deny:{line}"),
        }
    }
}

impl Serialize for MatchedRule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A field that is not as expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Its name.
    pub field: &'static str,
    /// What was expected.
    pub expected: String,
    /// What came.
    pub given: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        // One line each.
        let plain = |text: &str| text.replace(char::is_control, " ");
        write!(out, "{}: expected {}, got {}", self.field, plain(&self.expected), plain(&self.given))
    }
}

/// The file mode mask of a daemon.
const UMASK: u32 = 0o022;

/// What is printed for a case.
#[derive(Debug, Serialize)]
pub struct CaseAnswer<'a> {
    /// Which case.
    pub id: Id<'a>,
    /// `allow` or `deny`.
    pub verdict: &'static str,
    /// The rule.
    pub matched: MatchedRule,
    /// What decided.
    pub via: &'static str,
    /// libwrap's warnings and errors, in its words.
    pub warnings: Vec<String>,
    /// Priority of the log line, if an option set it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub severity: Option<String>,
    /// Commands of the options, expanded.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub spawned: Vec<String>,
    /// What banners show to the client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub banner: Option<String>,
    /// File mode mask, if an option set it: octal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub umask: Option<String>,
    /// Niceness, if options changed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nice: Option<i32>,
    /// Time limit of user look-ups in seconds, if an option changed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rfc931: Option<u32>,
    /// Where the rule is found.
    #[serde(skip)]
    pub rule: Option<RuleIndex>,
}

impl<'a> CaseAnswer<'a> {
    /// Words a judgement.
    pub fn new(id: Id<'a>, tables: &Tables, judgement: Judgement) -> Self {
        let effects = OptionEffects::of(&judgement.effects);
        // A process that another program replaces, or that ends, shows nothing of what was set in it.
        let stays = !matches!(judgement.reason, Reason::Twist | Reason::Exit);
        let mut warnings = judgement.warnings;
        if effects.killed {
            let plain = |text: &mut String| {
                *text = text.replace(&format!("process {PID} exited"), "process PID exited")
            };
            warnings.iter_mut().for_each(plain);
        }
        Self {
            id,
            verdict: match judgement.verdict {
                Verdict::Allow => "allow",
                Verdict::Refuse => "deny",
            },
            matched: MatchedRule::of(tables, judgement.rule),
            via: via(judgement.reason),
            severity: judgement.severity.filter(|_| stays).map(priority),
            warnings,
            spawned: effects.spawned,
            banner: (!effects.banner.is_empty()).then(|| quoted_bytes(&effects.banner)),
            umask: effects.umask.filter(|mask| stays && *mask != UMASK).map(|mask| format!("{mask:03o}")),
            nice: Some(effects.nice).filter(|nice| stays && *nice != 0),
            rfc931: effects.rfc931.filter(|seconds| stays && *seconds != RFC931_TIMEOUT_S),
            rule: judgement.rule,
        }
    }

    /// Tells every difference to what the case expects: of the fields it has; of a whole answer also
    /// commands, banners and a priority that it does not have.
    pub fn compare(&self, case: &Case<'_>, mut differs: impl FnMut(Difference)) {
        let Some(expect) = case.expect else { return };
        let is_whole = case.via.is_some() && case.warnings.is_some();
        let mut check = |field, given: String, expected: Option<String>| {
            if let Some(expected) = expected
                && expected != given
            {
                differs(Difference { field, expected, given });
            }
        };
        let expect = match expect {
            Expect::Allow => "allow",
            Expect::Deny => "deny",
        };
        check("verdict", self.verdict.into(), Some(expect.into()));
        let text = |text: &Option<JsonBytes<'_>>| text.as_ref().map(|text| quoted_bytes(&text.0));
        check("matched", self.matched.to_string(), text(&case.matched));
        check("via", self.via.into(), text(&case.via));
        let list = |texts: &Option<Vec<JsonBytes<'_>>>| {
            let shown = |texts: &Vec<JsonBytes<'_>>| {
                texts.iter().map(|text| quoted_bytes(&text.0)).collect::<Vec<_>>()
            };
            texts.as_ref().map(|texts| list_of(&shown(texts)))
        };
        check("warnings", list_of(&self.warnings), list(&case.warnings));
        // These are left out where there is nothing to say.
        let or_none = |text: Option<String>| text.or_else(|| is_whole.then(|| NONE.into()));
        let own = |text: Option<String>| text.unwrap_or_else(|| NONE.into());
        let number = |number: Option<i64>| number.map(|number| number.to_string());
        check("severity", own(self.severity.clone()), or_none(text(&case.severity)));
        check("spawned", list_of(&self.spawned), or_none(list(&case.spawned)));
        check("banner", own(self.banner.clone()), or_none(text(&case.banner)));
        check("umask", own(self.umask.clone()), text(&case.umask));
        check("nice", own(number(self.nice.map(i64::from))), number(case.nice.map(i64::from)));
        check("rfc931", own(number(self.rfc931.map(i64::from))), number(case.rfc931.map(i64::from)));
    }
}

/// What differences say of a field that is not there.
const NONE: &str = "none";

fn list_of(texts: &[String]) -> String {
    if texts.is_empty() { NONE.into() } else { format!("{texts:?}") }
}

/// What the options did, one after the other.
#[derive(Default)]
struct OptionEffects {
    spawned: Vec<String>,
    killed: bool,
    banner: Vec<u8>,
    umask: Option<u32>,
    nice: i32,
    rfc931: Option<u32>,
}

impl OptionEffects {
    fn of(effects: &[Effect]) -> Self {
        let mut all = Self::default();
        for effect in effects {
            match &effect.action {
                EffectAction::Spawn(command) | EffectAction::Twist { command, .. } => {
                    all.spawned.push(quoted_bytes(command))
                }
                EffectAction::Aclexec { command, result } => {
                    all.spawned.push(quoted_bytes(command));
                    all.killed |= matches!(result, CommandResult::Killed { .. });
                }
                EffectAction::Banner(text) => all.banner.extend_from_slice(text),
                EffectAction::Nice(by) => all.nice = all.nice.saturating_add(*by).clamp(-20, 19),
                EffectAction::Umask(mask) => all.umask = Some(*mask),
                EffectAction::Rfc931 { timeout_s } => all.rfc931 = Some(*timeout_s),
                EffectAction::Severity(_)
                | EffectAction::Keepalive
                | EffectAction::Linger(_)
                | EffectAction::Setenv { .. }
                | EffectAction::User(_)
                | EffectAction::Group(_) => {}
            }
        }
        all
    }
}

/// The rule of an index.
pub(crate) fn rule(tables: &Tables, index: RuleIndex) -> Option<RuleRef<'_>> {
    let table = match index.table {
        TableKind::Allow => &tables.allow,
        TableKind::Deny => &tables.deny,
    };
    table.rules.get(index.index)
}

/// What decided, in a word.
pub(crate) fn via(reason: Reason) -> &'static str {
    match reason {
        Reason::Rule => "rule",
        Reason::Option => "option",
        Reason::OptionError => "error",
        Reason::Twist => "twist",
        Reason::Exit => "exit",
        Reason::TableBroken => "table-error",
        Reason::NoRule => "default",
    }
}

/// A syslog priority as `facility.level`; facility 0 is left out.
pub(crate) fn priority(priority: i32) -> String {
    const LEVELS: [&str; 8] = ["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"];
    const FACILITIES: [&str; 24] = [
        "", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp",
        "12", "13", "14", "15", "local0", "local1", "local2", "local3", "local4", "local5", "local6",
        "local7",
    ];
    let pick = |names: &[&'static str], index: i32| {
        usize::try_from(index).ok().and_then(|index| names.get(index).copied()).unwrap_or_default()
    };
    match (pick(&FACILITIES, priority >> 3), pick(&LEVELS, priority & 7)) {
        ("", level) => level.into(),
        (facility, level) => format!("{facility}.{level}"),
    }
}
