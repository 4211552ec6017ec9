//! The last records, for `tcpw events` and `tcpw why`.
//!
//! In: the records that the sinks get. Out: those that are asked for. Invariant: the newest [`REMEMBERED`] are kept, in their
//! order, each with a number that counts up from 1.

use std::{
    collections::VecDeque,
    time::{SystemTime, UNIX_EPOCH},
};

use crate::{
    control::{RecentAnswer, RecentQuestion},
    log::Forms as _,
    record::{Outcome, Record, fate_word},
};

/// Records that are kept: about a kilobyte each.
const REMEMBERED: usize = 4096;

/// Records in one answer.
const MOST: usize = 1000;

/// The last records.
#[derive(Debug)]
pub(super) struct Recent {
    since: SystemTime,
    records: VecDeque<Outcome>,
    /// Number of the newest.
    last: u64,
}

impl Recent {
    /// None yet.
    pub(super) fn new(now: SystemTime) -> Self {
        Self { since: now, records: VecDeque::new(), last: 0 }
    }

    /// Keeps records, and forgets the oldest.
    pub(super) fn keep(&mut self, records: impl IntoIterator<Item = Outcome>) {
        for record in records {
            if self.records.len() == REMEMBERED {
                self.records.pop_front();
            }
            self.records.push_back(record);
            self.last += 1;
        }
    }

    /// The records that are asked for.
    pub(super) fn answer(&self, question: &RecentQuestion) -> RecentAnswer {
        let forgotten = self.last - self.records.len() as u64;
        let after = question.after.unwrap_or(forgotten);
        let skipped = usize::try_from(after.saturating_sub(forgotten)).unwrap_or(usize::MAX);
        let before = question.before.map_or(self.last, |before| before.saturating_sub(1).min(self.last));
        let room = usize::try_from(before.saturating_sub(after.max(forgotten))).unwrap_or(usize::MAX);
        let those = self.records.iter().skip(skipped).take(room);
        let wanted: Vec<&Outcome> = those.filter(|it| is_wanted(it, question)).collect();
        let too_many = wanted.len().saturating_sub(question.most.min(MOST));
        let json = |outcome: &&Outcome| serde_json::from_slice(outcome.json().bytes()).ok();
        let since = self.since.duration_since(UNIX_EPOCH).unwrap_or_default();
        RecentAnswer {
            records: wanted[too_many..].iter().filter_map(json).collect(),
            since_us: u64::try_from(since.as_micros()).unwrap_or(u64::MAX),
            last: self.last,
            missed: too_many as u64 + forgotten.saturating_sub(after),
            remembered: self.records.len(),
        }
    }
}

fn is_wanted(outcome: &Outcome, question: &RecentQuestion) -> bool {
    let RecentQuestion { id, client, daemon, fates, .. } = question;
    match outcome {
        Outcome::Attempt(record) => {
            id.is_none_or(|id| record.id == id)
                && client.is_none_or(|network| network.contains(&record.client.ip().to_canonical()))
                && daemon.as_ref().is_none_or(|daemon| has_name(record, daemon))
                && (fates.is_empty() || fates.iter().any(|fate| fate == fate_word(record.fate)))
        }
        Outcome::Count { .. } => id.is_none() && client.is_none() && daemon.is_none() && fates.is_empty(),
    }
}

fn has_name(record: &Record, daemon: &str) -> bool {
    let mut names = record.listener.names.iter();
    record.listener.ident.eq_ignore_ascii_case(daemon)
        || names.any(|name| name.eq_ignore_ascii_case(daemon.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::example;

    fn of(ids: impl Iterator<Item = u64>) -> Recent {
        let mut recent = Recent::new(UNIX_EPOCH);
        recent.keep(ids.map(|id| Outcome::Attempt(Box::new(Record { id, ..example() }))));
        recent
    }

    fn ids(answer: &RecentAnswer) -> Vec<u64> {
        answer.records.iter().map(|record| record["id"].as_u64().unwrap()).collect()
    }

    #[test]
    fn newest_are_kept_and_what_is_missing_is_counted() {
        let all = REMEMBERED as u64 + 10;
        let recent = of(1..=all);
        let newest = recent.answer(&RecentQuestion { most: 3, ..RecentQuestion::default() });
        assert_eq!(
            (ids(&newest), newest.last, newest.remembered),
            (vec![all - 2, all - 1, all], all, REMEMBERED)
        );
        // Whoever asked before gets what came since, and hears how many are gone.
        let since =
            recent.answer(&RecentQuestion { after: Some(all - 2), most: 10, ..RecentQuestion::default() });
        assert_eq!((ids(&since), since.missed), (vec![all - 1, all], 0));
        let late = recent.answer(&RecentQuestion { after: Some(4), most: 2, ..RecentQuestion::default() });
        assert_eq!((ids(&late), late.missed), (vec![all - 1, all], 6 + REMEMBERED as u64 - 2));
        let none = recent.answer(&RecentQuestion { after: Some(all), most: 2, ..RecentQuestion::default() });
        assert_eq!((ids(&none), none.missed), (vec![], 0));
        // Those before: a page further back.
        let page = |after, before| {
            let question =
                RecentQuestion { after, before: Some(before), most: 3, ..RecentQuestion::default() };
            ids(&recent.answer(&question))
        };
        assert_eq!(page(None, all - 2), [all - 5, all - 4, all - 3]);
        assert_eq!(page(Some(all - 5), all - 2), [all - 4, all - 3]);
        assert_eq!((page(None, 12), page(None, 11)), (vec![11], vec![]));
        assert_eq!((page(None, 0), page(None, all + 9)), (vec![], vec![all - 2, all - 1, all]));
    }

    #[test]
    fn records_are_found_by_id_client_name_and_fate() {
        let recent = of(1..=5);
        let found = |question: RecentQuestion| ids(&recent.answer(&RecentQuestion { most: 9, ..question }));
        let (client, name) = (example().client.ip().to_canonical(), example().listener.ident);
        assert_eq!(found(RecentQuestion { id: Some(4), ..RecentQuestion::default() }), [4]);
        let by_client =
            |network| found(RecentQuestion { client: Some(network), ..RecentQuestion::default() }).len();
        assert_eq!([client.into(), "203.0.113.0/24".parse().unwrap()].map(by_client), [5, 0]);
        let by_name = |daemon: &str| {
            found(RecentQuestion { daemon: Some(daemon.into()), ..RecentQuestion::default() }).len()
        };
        assert_eq!([name.to_uppercase().as_str(), "other"].map(by_name), [5, 0]);
        let by_fate = |fate: &str| {
            found(RecentQuestion { fates: vec![fate.into()], ..RecentQuestion::default() }).len()
        };
        assert_eq!([fate_word(example().fate), "other"].map(by_fate), [5, 0]);
    }
}
