//! The answer to a case, and how it differs from the expected one.

use std::fmt;

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use super::{
    bytes::{Bytes, shown},
    case::{Case, Expect},
};
use crate::{
    evaluate::request::{Judgement, Reason, RuleIndex, Verdict},
    parse::rule::{Rule, TableKind, Tables},
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
            Self::Own(raw) => out.write_str(raw.get().trim_matches('"')),
            Self::Line(line) => write!(out, "line {line}"),
        }
    }
}

/// The rule that decided: `allow:LINE`, `deny:LINE` or `none`; libwrap's line number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Matched(Option<(TableKind, u32)>);

impl fmt::Display for Matched {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => out.write_str("none"),
            Some((TableKind::Allow, line)) => write!(out, "allow:{line}"),
            Some((TableKind::Deny, line)) => write!(out, "deny:{line}"),
        }
    }
}

impl Serialize for Matched {
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
        let Self { field, expected, given } = self;
        write!(out, "{field}: expected {expected}, got {given}")
    }
}

/// What is printed for a case.
#[derive(Debug, Serialize)]
pub struct Answer<'a> {
    /// Which case.
    pub id: Id<'a>,
    /// `allow` or `deny`.
    pub verdict: &'static str,
    /// The rule.
    pub matched: Matched,
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
    /// Where the rule is found.
    #[serde(skip)]
    pub rule: Option<RuleIndex>,
}

impl<'a> Answer<'a> {
    /// Words a judgement.
    pub fn new(id: Id<'a>, tables: &Tables, judgement: Judgement) -> Self {
        let number = |index: RuleIndex| rule(tables, index).map(|rule| (index.table, rule.number));
        Self {
            id,
            verdict: match judgement.verdict {
                Verdict::Allow => "allow",
                Verdict::Refuse => "deny",
            },
            matched: Matched(judgement.rule.and_then(number)),
            via: match judgement.reason {
                Reason::Rule => "rule",
                Reason::Option => "option",
                Reason::OptionError => "error",
                Reason::Twist => "twist",
                Reason::TableBroken => "table-error",
                Reason::NoRule => "default",
            },
            // Who was replaced by another program writes no line of his own.
            severity: judgement.severity.filter(|_| judgement.reason != Reason::Twist).map(priority),
            warnings: judgement.warnings,
            spawned: Vec::new(),
            banner: None,
            rule: judgement.rule,
        }
    }

    /// Tells every difference to what the case expects.
    pub fn compare(&self, case: &Case<'_>, mut differs: impl FnMut(Difference)) {
        let Some(expect) = case.expect else { return };
        let mut check = |field, expected: String, given: String| {
            if expected != given {
                differs(Difference { field, expected, given });
            }
        };
        let expect = match expect {
            Expect::Allow => "allow",
            Expect::Deny => "deny",
        };
        check("verdict", expect.into(), self.verdict.into());
        if let Some(matched) = &case.matched {
            check("matched", shown(&matched.0), self.matched.to_string());
        }
        if let Some(via) = &case.via {
            check("via", shown(&via.0), self.via.into());
        }
        let texts = |texts: &[Bytes<'_>]| texts.iter().map(|text| shown(&text.0)).collect::<Vec<_>>();
        if let Some(warnings) = &case.warnings {
            check("warnings", format!("{:?}", texts(warnings)), format!("{:?}", self.warnings));
        }
        let is_whole = case.via.is_some() && case.warnings.is_some();
        if case.severity.is_some() || is_whole {
            check("severity", optional(case.severity.as_ref()), self.severity.clone().unwrap_or_default());
        }
        if case.spawned.is_some() {
            let spawned = case.spawned.as_deref().map(texts).unwrap_or_default();
            check("spawned", format!("{spawned:?}"), format!("{:?}", self.spawned));
        }
        if case.banner.is_some() {
            check("banner", optional(case.banner.as_ref()), self.banner.clone().unwrap_or_default());
        }
    }
}

fn optional(text: Option<&Bytes<'_>>) -> String {
    text.map(|text| shown(&text.0)).unwrap_or_default()
}

/// The rule of an index.
pub(crate) fn rule(tables: &Tables, index: RuleIndex) -> Option<&Rule> {
    let table = match index.table {
        TableKind::Allow => &tables.allow,
        TableKind::Deny => &tables.deny,
    };
    table.rules.get(index.index)
}

/// A syslog priority as `facility.level`; facility 0 is left out.
fn priority(priority: i32) -> String {
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
