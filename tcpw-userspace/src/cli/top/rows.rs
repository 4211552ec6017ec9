//! The rows of each panel: columns, sorted and filtered.
//!
//! In: a [`Picture`]. Out: rows of text. Invariant: pure; the order of rows with equal values does not change from one
//! reading to the next; no text has a control character.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
    net::IpAddr,
};

use super::{
    attempt::{Attempt, RuleAt},
    picture::{Picture, rule_at},
};
use crate::{config::Mode, log::printable};

/// A list on the screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Panel {
    Services,
    Clients,
    Rules,
    Refusals,
}

impl Panel {
    /// In the order of their keys.
    pub(super) const ALL: [Self; 4] = [Self::Services, Self::Clients, Self::Rules, Self::Refusals];

    /// Its name.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Services => "Services",
            Self::Clients => "Clients",
            Self::Rules => "Rules",
            Self::Refusals => "Refusals",
        }
    }

    /// The column that it is sorted by at first.
    pub(super) fn first_sort(self) -> usize {
        match self {
            Self::Services => 4,
            Self::Clients => 1,
            Self::Rules => 2,
            Self::Refusals => 0,
        }
    }

    /// Its columns.
    pub(super) fn columns(self, mode: Mode) -> Vec<Column> {
        let (refused, per_second) = match mode {
            Mode::Enforce => ("REFUSED", "REFUSED/s"),
            Mode::Audit => ("WOULD REF", "WOULD REF/s"),
        };
        match self {
            Self::Services => vec![
                Column::text("SERVICE", 17, 2),
                Column::number("ALLOWED/s", 10),
                Column::number(per_second, 12),
                Column::number("ALLOWED", 9),
                Column::number(refused, 10),
                Column::text("LAST REFUSED", 15, 3),
            ],
            Self::Clients => vec![
                Column::text("CLIENT", 24, 3),
                Column::number("ATTEMPTS", 9),
                Column::number(refused, 10),
                Column::text("LAST (UTC)", 11, 0),
                Column::text("SERVICE", 12, 1),
            ],
            Self::Rules => vec![
                Column::text("RULE", 18, 1),
                Column::number("HITS/s", 8),
                Column::number("HITS", 9),
                Column::text("TEXT", 30, 4),
            ],
            Self::Refusals => vec![
                Column::text("TIME (UTC)", 11, 0),
                Column::text("SERVICE", 12, 1),
                Column::text("CLIENT", 20, 2),
                Column::text("REASON", 10, 0),
                Column::text("RULE", 16, 2),
            ],
        }
    }
}

/// A column's heading and width.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    pub(super) title: &'static str,
    /// Numbers stand on the right, and the largest first.
    pub(super) is_number: bool,
    pub(super) width: u16,
    /// Its part of the width that is left.
    pub(super) grows: u16,
}

impl Column {
    const fn text(title: &'static str, width: u16, grows: u16) -> Self {
        Self { title, is_number: false, width, grows }
    }

    const fn number(title: &'static str, width: u16) -> Self {
        Self { title, is_number: true, width, grows: 0 }
    }
}

/// What a row is of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Subject {
    Service(String),
    Client(String),
    Rule(RuleAt),
    /// By its number.
    Attempt(u64),
}

/// One row.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) subject: Subject,
    pub(super) cells: Vec<Cell>,
}

/// What one column of a row shows, and what it is sorted by.
#[derive(Clone, Debug)]
pub(super) struct Cell {
    pub(super) shown: String,
    order: Order,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Order {
    Number(u64),
    /// The latest first.
    Latest(Reverse<String>),
    Address(Option<IpAddr>, String),
    Text(String),
    Place(String, u32),
}

/// How a panel is sorted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sort {
    pub(super) column: usize,
    pub(super) is_reversed: bool,
}

/// The rows of a panel that have the filter's text somewhere.
pub(super) fn rows(panel: Panel, picture: &Picture, filter: &str, sort: Sort) -> Vec<Row> {
    let mut rows = match panel {
        Panel::Services => services(picture),
        Panel::Clients => clients(picture),
        Panel::Rules => rules(picture),
        Panel::Refusals => refusals(picture),
    };
    let wanted = filter.to_lowercase();
    rows.retain(|row| row.cells.iter().any(|cell| cell.shown.to_lowercase().contains(&wanted)));
    let is_number = panel.columns(picture.metrics.mode).get(sort.column).is_some_and(|it| it.is_number);
    rows.sort_by(|one, other| {
        let [order, other_order] = [one, other].map(|row| row.cells.get(sort.column).map(|cell| &cell.order));
        let by_value = order.cmp(&other_order);
        let by_value = if is_number != sort.is_reversed { by_value.reverse() } else { by_value };
        by_value.then_with(|| match panel {
            Panel::Refusals => other.subject.cmp(&one.subject),
            Panel::Services | Panel::Clients | Panel::Rules => one.subject.cmp(&other.subject),
        })
    });
    rows
}

fn services(picture: &Picture) -> Vec<Row> {
    let mut all: BTreeMap<&str, [u64; 2]> = BTreeMap::new();
    for it in &picture.metrics.attempts {
        all.entry(&it.service).or_default()[usize::from(it.verdict != "allowed")] += it.attempts;
    }
    let mut last: HashMap<&str, &str> = HashMap::new();
    for attempt in picture.attempts.iter().filter(|it| it.is_refused && it.more.is_none()) {
        last.insert(&attempt.service, &attempt.client);
    }
    let are_told = picture.metrics.log_allowed;
    let row = |(service, [allowed, refused]): (&str, [u64; 2])| Row {
        subject: Subject::Service(service.into()),
        cells: vec![
            text(&printable(service)),
            if are_told { rate(picture.rate_of_service(service, false)) } else { unknown() },
            rate(picture.rate_of_service(service, true)),
            if are_told { number(allowed) } else { unknown() },
            number(refused),
            address(last.get(&*printable(service)).copied().unwrap_or_default()),
        ],
    };
    all.into_iter().map(row).collect()
}

fn clients(picture: &Picture) -> Vec<Row> {
    let mut all: HashMap<&str, (u64, u64, &Attempt)> = HashMap::new();
    for attempt in picture.attempts.iter().filter(|it| it.more.is_none()) {
        let entry = all.entry(&attempt.client).or_insert((0, 0, attempt));
        *entry = (entry.0 + 1, entry.1 + u64::from(attempt.is_refused), attempt);
    }
    let row = |(client, (attempts, refused, last)): (&str, (u64, u64, &Attempt))| Row {
        subject: Subject::Client(client.into()),
        cells: vec![
            address(client),
            number(attempts),
            number(refused),
            time(&last.time, picture.now),
            text(&last.service),
        ],
    };
    all.into_iter().map(row).collect()
}

fn rules(picture: &Picture) -> Vec<Row> {
    let row = |count| {
        let at = rule_at(count);
        Row {
            cells: vec![
                place(picture, &at),
                rate(picture.rate_of_rule(&at)),
                number(count.attempts),
                text(&picture.text_of(&at)),
            ],
            subject: Subject::Rule(at),
        }
    };
    picture.metrics.rules.iter().map(row).collect()
}

fn refusals(picture: &Picture) -> Vec<Row> {
    let row = |attempt: &Attempt| Row {
        subject: Subject::Attempt(attempt.number),
        cells: vec![
            time(&attempt.time, picture.now),
            text(&attempt.service),
            match attempt.more {
                Some(more) => text(&format!("{more} more of {}", attempt.client)),
                None => address(&attempt.client),
            },
            text(&attempt.reason),
            attempt.rule.as_ref().map_or_else(
                || text(""),
                |rule| {
                    let name = file_name(&rule.file);
                    let shown = format!("{name}:{} {}", rule.at.line, rule.text);
                    Cell { shown, order: Order::Place(name, rule.at.line) }
                },
            ),
        ],
    };
    picture.attempts.iter().filter(|it| it.is_refused).map(row).collect()
}

fn place(picture: &Picture, at: &RuleAt) -> Cell {
    if at.table.is_empty() {
        return text("(other lines)");
    }
    let path = picture.path_of(&at.table).map(|path| path.to_string_lossy().into_owned());
    let name = file_name(&path.unwrap_or_else(|| format!("hosts.{}", at.table)));
    Cell { shown: format!("{name}:{}", at.line), order: Order::Place(name, at.line) }
}

fn file_name(path: &str) -> String {
    printable(path.rsplit('/').next().unwrap_or(path)).into_owned()
}

fn text(shown: &str) -> Cell {
    Cell { shown: shown.to_owned(), order: Order::Text(shown.to_lowercase()) }
}

fn address(shown: &str) -> Cell {
    Cell { shown: shown.to_owned(), order: Order::Address(shown.parse().ok(), shown.to_owned()) }
}

fn number(value: u64) -> Cell {
    Cell { shown: thousands(value), order: Order::Number(value) }
}

fn unknown() -> Cell {
    Cell { shown: "-".into(), order: Order::Number(0) }
}

fn rate(thousandths: Option<u64>) -> Cell {
    Cell { shown: rate_text(thousandths), order: Order::Number(thousandths.unwrap_or(0)) }
}

fn time(rfc3339: &str, now: u64) -> Cell {
    Cell { shown: time_text(rfc3339, now), order: Order::Latest(Reverse(rfc3339.to_owned())) }
}

/// A rate for a person: one digit behind the point as long as it is small.
pub(super) fn rate_text(thousandths: Option<u64>) -> String {
    match thousandths {
        None => "-".into(),
        Some(0) => "0".into(),
        Some(rate @ 1..1_000_000) => {
            // What is not nothing is not shown as nothing.
            let tenths = ((rate + 50) / 100).max(1);
            format!("{}.{}", tenths / 10, tenths % 10)
        }
        Some(rate) => thousands((rate + 500) / 1000),
    }
}

/// With a comma between thousands.
pub(super) fn thousands(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The time of today, the date and the time of another day.
fn time_text(rfc3339: &str, now: u64) -> String {
    let now = std::time::UNIX_EPOCH + std::time::Duration::from_secs(now);
    let today = crate::log::rfc3339(now);
    let (day, time) = rfc3339.split_once('T').unwrap_or(("", rfc3339));
    if today.split_once('T').is_some_and(|(today, _)| today == day) {
        time.get(..8).unwrap_or(time).to_owned()
    } else {
        format!("{} {}", day.get(5..).unwrap_or(day), time.get(..5).unwrap_or(time))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_as_a_person_reads_them() {
        assert_eq!([0, 999, 1000, 1_234_567].map(thousands), ["0", "999", "1,000", "1,234,567"]);
        let rates = [None, Some(0), Some(1), Some(1_250), Some(999_949), Some(1_234_500)];
        assert_eq!(rates.map(rate_text), ["-", "0", "0.1", "1.3", "999.9", "1,235"]);
        let now = 1_767_385_457;
        assert_eq!(time_text("2026-01-02T20:24:17.123456Z", now), "20:24:17");
        assert_eq!(time_text("2026-01-01T20:24:17.123456Z", now), "01-01 20:24");
    }
}
