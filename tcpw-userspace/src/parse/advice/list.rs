//! Findings on a daemon or client list as a whole.

use std::collections::HashSet;

use super::{Code, Finding, Placed, quote};
use crate::parse::list::{is_except, tokens};

/// Findings on a list. `what` is "daemon" or "client"; `place` is the colon next to it.
pub(in crate::parse) fn list(field: &[u8], start: usize, place: usize, what: &str, found: &mut Vec<Placed>) {
    let mut before: Option<&[u8]> = None;
    let mut part = Part::default();
    let (mut parts, excepts) = (0, tokens(field, start).filter(|(_, word)| is_except(word)).count());
    let mut all = tokens(field, start).peekable();
    while let Some((at, word)) = all.next() {
        let mut put = |finding| found.push((at, word.len(), finding));
        if is_except(word) {
            parts += 1;
            match before {
                None => put(leading(word, what)),
                // In a longer chain it is not known which of them was meant.
                Some(before) if is_except(before) && excepts > 2 => put(idle(word).without_fix()),
                Some(before) if is_except(before) => put(idle(word)),
                Some(_) if all.peek().is_none() => put(idle(word)),
                Some(_) if parts == 2 => put(twice(word)),
                Some(_) => {}
            }
            part = Part::default();
        } else if word.eq_ignore_ascii_case(b"ALL") && (parts, excepts) == (1, 1) {
            put(all_excepted(word, what));
        } else if let Some(finding) = part.look_at(word) {
            put(finding);
        }
        before = Some(word);
    }
    if before.is_none() {
        let finding = Finding::new(
            Code::W020,
            format!("the {what} list is empty"),
            "at least one pattern",
            "the rule never matches",
        );
        found.push((place, 1, finding.advise(format!("ALL stands for every {what}"))));
    }
}

/// What the part of a list between two EXCEPTs has said so far.
#[derive(Default)]
struct Part<'a> {
    seen: HashSet<&'a [u8]>,
    has_all: bool,
    said: bool,
}

impl<'a> Part<'a> {
    fn look_at(&mut self, word: &'a [u8]) -> Option<Finding> {
        if self.has_all && !self.said {
            self.said = true;
            let message = format!("{} stands behind ALL", quote(word));
            return Some(Finding::new(
                Code::H026,
                message,
                "ALL alone",
                "ALL matches before it is looked at",
            ));
        }
        self.has_all |= word.eq_ignore_ascii_case(b"ALL");
        let is_new = self.seen.insert(word);
        (!is_new && !self.has_all).then(|| {
            let message = format!("{} stands here twice", quote(word));
            Finding::new(Code::H025, message, "each pattern once", "the second one changes nothing")
                .replace("")
        })
    }
}

fn leading(word: &[u8], what: &str) -> Finding {
    let message = format!("{} at the start of the {what} list", quote(word));
    Finding::new(Code::W021, message, "a pattern before it", "the list never matches").replace("ALL EXCEPT")
}

fn idle(word: &[u8]) -> Finding {
    let message = format!("nothing between {} and what follows", quote(word));
    Finding::new(Code::W022, message, "patterns after EXCEPT", "nothing is excepted").replace("")
}

fn twice(word: &[u8]) -> Finding {
    Finding::new(
        Code::H027,
        format!("a second {}", quote(word)),
        "one EXCEPT, if that says it",
        "\"a EXCEPT b EXCEPT c\" means a, and not b unless it is c",
    )
}

fn all_excepted(word: &[u8], what: &str) -> Finding {
    let message = format!("{} is excepted", quote(word));
    Finding::new(Code::W028, message, format!("some {what}s, not all of them"), "the list never matches")
        .advise("delete the exception, or the rule")
}
