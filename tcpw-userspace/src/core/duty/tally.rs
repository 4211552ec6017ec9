//! How many attempts there were, for metrics: by service, verdict and reason, and by the rule that decided.
//!
//! In: every attempt that gets a record, with or without a line of its own. Out: counts.
//! Invariant: an attempt is counted once by service, and once by rule if a rule decided; the numbers of services and lines
//! are bounded. No text is made for an attempt whose service and rule were counted before.

use ahash::AHashMap;

use crate::{
    control::{AttemptCount, RuleCount},
    evaluate::judgement::{Reason, RuleIndex},
    events::Fate,
    parse::rule::{TableKind, Tables},
    record::{ListenerDoubt, ListenerRecord},
};

/// Services that are told apart.
const MOST_SERVICES: usize = 200;

/// Lines that are told apart.
const MOST_LINES: usize = 500;

/// Rules whose line is remembered.
const MOST_RULES: usize = 4096;

/// Services that are not told by their name, in the order of their places in [`Tally::services`]. A name that is not
/// proven may be chosen by any user, and there may be many.
const UNTOLD: [&str; 3] = ["(other)", "(name not proven)", "(other namespace)"];

const VERDICTS: [&str; 3] = ["allowed", "refused", "would_refuse"];

/// What decided an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::core) enum DecidedBy {
    /// The rules: for this reason, and by this rule.
    Rules(Reason, Option<RuleIndex>),
    /// A ban.
    Ban,
    /// Rules that are not known.
    Unknown,
}

/// In the order of their places in [`OfService`].
const REASONS: [&str; 9] =
    ["rule", "option", "error", "twist", "exit", "table-error", "default", "ban", "unknown"];

/// Attempts of one service, by verdict and reason.
type OfService = [[u64; REASONS.len()]; VERDICTS.len()];

/// The counts since the start.
pub(in crate::core) struct Tally {
    services: Vec<OfService>,
    names: AHashMap<Box<str>, usize>,
    /// By table and line.
    lines: AHashMap<(TableKind, u32), u64>,
    /// Attempts of rules whose line is one too many.
    other_lines: u64,
    /// Lines of rules of one generation.
    line_of: AHashMap<RuleIndex, u32>,
    generation: u32,
    /// The newest generation of an attempt.
    newest: u32,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            services: vec![OfService::default(); UNTOLD.len()],
            names: AHashMap::default(),
            lines: AHashMap::default(),
            other_lines: 0,
            line_of: AHashMap::default(),
            generation: 0,
            newest: 0,
        }
    }
}

impl Tally {
    /// Counts an attempt.
    pub(super) fn add(
        &mut self,
        fate: Fate,
        listener: &ListenerRecord,
        decided_by: DecidedBy,
        (tables, generation): (Option<&Tables>, u32),
    ) {
        let verdict = match fate {
            Fate::Accepted => 0,
            Fate::Refused | Fate::Redirected => 1,
            Fate::WouldRefuse => 2,
            // It has no outcome yet.
            Fate::Held => return,
        };
        let service = self.service(listener);
        self.services[service][verdict][place_of(decided_by)] += 1;
        if let (DecidedBy::Rules(_, Some(rule)), Some(tables)) = (decided_by, tables) {
            self.add_rule(rule, tables, generation);
        }
    }

    /// The place of a listener's service.
    fn service(&mut self, listener: &ListenerRecord) -> usize {
        match listener.doubt {
            Some(ListenerDoubt::Names) => return 1,
            Some(ListenerDoubt::Namespace) => return 2,
            None => {}
        }
        let name = listener.service.as_deref().unwrap_or(&listener.ident);
        if let Some(place) = self.names.get(name) {
            return *place;
        }
        if self.names.len() >= MOST_SERVICES {
            return 0;
        }
        self.names.insert(name.into(), self.services.len());
        self.services.push(OfService::default());
        self.services.len() - 1
    }

    fn add_rule(&mut self, rule: RuleIndex, tables: &Tables, generation: u32) {
        if generation > self.newest {
            self.newest = generation;
            // Lines at which no rule stands any more would keep the room for good.
            if self.lines.len() >= MOST_LINES {
                self.lines.clear();
            }
        }
        if generation != self.generation {
            self.line_of.clear();
            self.generation = generation;
        }
        let line = match self.line_of.get(&rule) {
            Some(line) => *line,
            None => {
                let table = match rule.table {
                    TableKind::Allow => &tables.allow,
                    TableKind::Deny => &tables.deny,
                };
                let Some(found) = table.rules.get(rule.index) else { return };
                if self.line_of.len() >= MOST_RULES {
                    self.line_of.clear();
                }
                let line = found.line();
                self.line_of.insert(rule, line);
                line
            }
        };
        let has_room = self.lines.len() < MOST_LINES;
        match self.lines.get_mut(&(rule.table, line)) {
            Some(count) => *count += 1,
            None if has_room => drop(self.lines.insert((rule.table, line), 1)),
            None => self.other_lines += 1,
        }
    }

    /// Attempts by service, verdict and reason: those that there were, sorted by service.
    pub(in crate::core) fn attempts(&self) -> Vec<AttemptCount> {
        let untold = UNTOLD.into_iter().zip(0..);
        let mut services: Vec<(&str, usize)> =
            untold.chain(self.names.iter().map(|(name, place)| (&**name, *place))).collect();
        services.sort_unstable();
        let mut all = Vec::new();
        for (service, place) in services {
            for (verdict, by_reason) in VERDICTS.into_iter().zip(&self.services[place]) {
                for (reason, attempts) in REASONS.into_iter().zip(by_reason).filter(|(_, count)| **count > 0)
                {
                    all.push(AttemptCount {
                        service: service.into(),
                        verdict: verdict.into(),
                        reason: reason.into(),
                        attempts: *attempts,
                    });
                }
            }
        }
        all
    }

    /// Attempts by rule, sorted by table and line.
    pub(in crate::core) fn rules(&self) -> Vec<RuleCount> {
        let mut lines: Vec<_> = self.lines.iter().map(|(key, attempts)| (*key, *attempts)).collect();
        lines.sort_unstable();
        let lines = lines.into_iter().map(|((table, line), attempts)| {
            let table = match table {
                TableKind::Allow => "allow",
                TableKind::Deny => "deny",
            };
            RuleCount { table: Some(table.into()), line: Some(line), attempts }
        });
        let other = RuleCount { table: None, line: None, attempts: self.other_lines };
        lines.chain((self.other_lines > 0).then_some(other)).collect()
    }
}

/// The place of a reason in [`REASONS`].
fn place_of(decided_by: DecidedBy) -> usize {
    match decided_by {
        DecidedBy::Rules(Reason::Rule, _) => 0,
        DecidedBy::Rules(Reason::Option, _) => 1,
        DecidedBy::Rules(Reason::OptionError, _) => 2,
        DecidedBy::Rules(Reason::Twist, _) => 3,
        DecidedBy::Rules(Reason::Exit, _) => 4,
        DecidedBy::Rules(Reason::TableBroken, _) => 5,
        DecidedBy::Rules(Reason::NoRule, _) => 6,
        DecidedBy::Ban => 7,
        DecidedBy::Unknown => 8,
    }
}

#[cfg(test)]
mod tests {
    use std::{path::PathBuf, sync::Arc};

    use super::*;
    use crate::{
        names::NamesSet,
        parse::{
            self,
            text::{FileText, Texts},
        },
    };

    fn listener(ident: &str, doubt: Option<ListenerDoubt>) -> ListenerRecord {
        let names = NamesSet::new([ident]);
        ListenerRecord { names, ident: ident.into(), pid: 1, doubt, service: None }
    }

    fn tables(deny: &str) -> Tables {
        let text =
            |path: &str, text: &str| (Arc::new(PathBuf::from(path)), FileText::Bytes(text.as_bytes().into()));
        parse::tables(&Texts { allow: text("/allow", ""), deny: text("/deny", deny), files: [].into() })
    }

    /// Counts, each as `service verdict reason attempts`.
    fn counts(tally: &Tally) -> Vec<String> {
        let text = |it: AttemptCount| format!("{} {} {} {}", it.service, it.verdict, it.reason, it.attempts);
        tally.attempts().into_iter().map(text).collect()
    }

    #[test]
    fn attempts_are_counted_by_service_verdict_and_reason() {
        let mut tally = Tally::default();
        let mut add = |fate, listener: ListenerRecord, reason: Option<Reason>| {
            let by = reason.map_or(DecidedBy::Unknown, |reason| DecidedBy::Rules(reason, None));
            tally.add(fate, &listener, by, (None, 1));
        };
        for _ in 0..2 {
            add(Fate::Refused, listener("sshd", None), Some(Reason::Rule));
        }
        add(Fate::Redirected, listener("sshd", None), Some(Reason::Rule));
        add(Fate::Accepted, listener("sshd", None), Some(Reason::NoRule));
        add(Fate::WouldRefuse, listener("nginx", None), Some(Reason::TableBroken));
        add(Fate::Refused, listener("nginx", None), None);
        add(Fate::Refused, listener("a", Some(ListenerDoubt::Names)), Some(Reason::Exit));
        add(Fate::Refused, listener("b", Some(ListenerDoubt::Namespace)), Some(Reason::Twist));
        let service = Some("daytime".into());
        add(Fate::Refused, ListenerRecord { service, ..listener("xinetd", None) }, Some(Reason::Option));
        add(Fate::Held, listener("sshd", None), Some(Reason::Rule));
        tally.add(Fate::Refused, &listener("sshd", None), DecidedBy::Ban, (None, 1));
        assert_eq!(
            counts(&tally),
            [
                "(name not proven) refused exit 1",
                "(other namespace) refused twist 1",
                "daytime refused option 1",
                "nginx refused unknown 1",
                "nginx would_refuse table-error 1",
                "sshd allowed default 1",
                "sshd refused rule 3",
                "sshd refused ban 1",
            ]
        );
    }

    #[test]
    fn services_beyond_the_bound_are_counted_together() {
        let mut tally = Tally::default();
        for _ in 0..2 {
            for number in 0..300 {
                tally.add(
                    Fate::Refused,
                    &listener(&format!("d{number}"), None),
                    DecidedBy::Unknown,
                    (None, 1),
                );
            }
        }
        let attempts = tally.attempts();
        assert_eq!(attempts.len(), MOST_SERVICES + 1);
        assert_eq!((&*attempts[0].service, attempts[0].attempts), ("(other)", 200));
        assert_eq!(attempts.iter().map(|it| it.attempts).sum::<u64>(), 600);
    }

    #[test]
    fn attempts_are_counted_by_the_line_where_the_rule_began() {
        let mut tally = Tally::default();
        let rule = |index| DecidedBy::Rules(Reason::Rule, Some(RuleIndex { table: TableKind::Deny, index }));
        let sshd = listener("sshd", None);
        let first = tables("# no rule\na: \\\n ALL\nb: ALL\n");
        for index in [0, 1, 1] {
            tally.add(Fate::Refused, &sshd, rule(index), (Some(&first), 1));
        }
        // The rules of an earlier policy: the line is that of its table.
        let second = tables("b: ALL\n");
        tally.add(Fate::Refused, &sshd, rule(0), (Some(&second), 2));
        tally.add(Fate::Refused, &sshd, rule(0), (Some(&first), 1));
        let lines = |tally: &Tally| -> Vec<_> {
            tally.rules().into_iter().map(|it| (it.line, it.attempts)).collect()
        };
        assert_eq!(lines(&tally), [(Some(1), 1), (Some(2), 2), (Some(4), 2)]);
        let many = tables(&"a: ALL\n".repeat(600));
        for index in 0..600 {
            tally.add(Fate::Refused, &sshd, rule(index), (Some(&many), 3));
        }
        let counted = tally.rules();
        assert_eq!((counted.len(), counted.last().and_then(|it| it.line)), (MOST_LINES + 1, None));
        assert_eq!(counted.iter().map(|it| it.attempts).sum::<u64>(), 605);
        // An attempt of an earlier policy makes none.
        tally.add(Fate::Refused, &sshd, rule(0), (Some(&first), 1));
        tally.add(Fate::Refused, &sshd, rule(0), (Some(&many), 3));
        assert_eq!(tally.rules().len(), MOST_LINES + 1);
        // A new policy makes room.
        tally.add(Fate::Refused, &sshd, rule(599), (Some(&many), 4));
        assert_eq!(lines(&tally), [(Some(600), 1), (None, 100)]);
    }
}
