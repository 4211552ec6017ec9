//! Daemons that have libwrap themselves.

use super::{Facts, Found, Weight, judged};

pub(super) fn check(facts: &Facts) -> Vec<Found> {
    let mut twice: Vec<(u32, &str)> = judged(facts)
        .filter(|it| facts.uses_libwrap.contains_key(&it.pid))
        .map(|it| (it.pid, it.ident.as_str()))
        .collect();
    twice.sort_unstable();
    twice.dedup();
    twice
        .into_iter()
        .map(|(pid, ident)| Found {
            weight: Weight::Note,
            what: format!("{ident}[{pid}] has libwrap loaded ({})", facts.uses_libwrap[&pid].display()),
            consequence: "it judges its clients once more, by the same files, and runs the commands of their rules: spawn runs \
                          twice"
                .into(),
            advice: "keep commands out of its rules, or out of libwrap's sight (an inetd's NOLIBWRAP)".into(),
        })
        .collect()
}
