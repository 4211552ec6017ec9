//! Whether a daemon runs and enforces the files, and what it could not do.

use super::{Facts, Found, Weight};
use crate::{
    config::Mode,
    control::{Status, TagState},
};

/// Counters that count a loss, and what is lost.
const LOSSES: [(&str, &str); 2] = [
    ("ring_full", "events found no room in the ring: attempts have no line"),
    ("broken", "look-ups failed in the kernel: attempts were refused that no rule refused"),
];

pub(super) fn check(facts: &Facts) -> Vec<Found> {
    match &facts.status {
        None if facts.is_pinned => vec![Found {
            weight: Weight::Problem,
            what: "no daemon runs; a pinned policy is enforced".into(),
            consequence: "edits are not followed, and no line is written".into(),
            advice: "start \"tcpw run --pin\"".into(),
        }],
        None => vec![Found {
            weight: Weight::Problem,
            what: "no daemon runs, and no policy is pinned".into(),
            consequence: "nothing is enforced: every client reaches every daemon".into(),
            advice: "start \"tcpw run --pin\"".into(),
        }],
        Some(status) => of(status),
    }
}

fn of(status: &Status) -> Vec<Found> {
    let mut found = Vec::new();
    let mut add = |weight, what: String, consequence: &str, advice: &str| {
        found.push(Found { weight, what, consequence: consequence.into(), advice: advice.into() });
    };
    if status.mode == Mode::Audit {
        add(
            Weight::Warning,
            "tcpw runs in audit mode".into(),
            "nothing is refused: what would be is logged",
            "remove mode = \"audit\" from tcpw.toml once the lines say what you expect, and start it again",
        );
    }
    if let Some(problem) = &status.problem {
        add(
            Weight::Problem,
            problem.clone(),
            "what is enforced is not what the files say",
            "see \"tcpw check\"",
        );
    }
    if !status.pinned {
        add(
            Weight::Note,
            "the policy is not pinned".into(),
            "if the daemon ends or is killed, nothing is enforced",
            "start it with --pin",
        );
    }
    if let Some(reason) = &status.kernel_not_asked {
        add(
            Weight::Note,
            format!("the kernel cannot be asked how it decides: {reason}"),
            "\"tcpw status\" shows policies as the rules give them",
            "see the first lines of the daemon",
        );
    }
    for (device, how) in status.early_drop.iter().filter(|(_, how)| how.starts_with("off")) {
        add(
            Weight::Note,
            format!("no SYN is dropped at device {device}: {how}"),
            "refused clients cost more",
            "see early-drop in docs/operations.md",
        );
    }
    for (name, what) in LOSSES {
        let count = status.counters.get(name).copied().unwrap_or(0);
        if count > 0 {
            add(
                Weight::Warning,
                format!("{name} {count}: {what}"),
                "since the daemon's start",
                "see docs/operations.md, Counters",
            );
        }
    }
    let missing = |it: &&crate::control::ListenerStatus| it.tag == TagState::Missing;
    for it in status.listeners.iter().filter(missing) {
        add(
            Weight::Problem,
            format!("{} at {} has no tag", it.ident, it.local),
            "it is judged by the rules for any daemon, not by those for its name",
            "start the service again; if that does not help, see the daemon's lines",
        );
    }
    for it in &status.listeners {
        for sentence in &it.not_opened {
            add(
                Weight::Warning,
                sentence.clone(),
                "the rule does not open",
                "\"tcpw check --live\" has the settings",
            );
        }
    }
    found
}
