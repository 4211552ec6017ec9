//! A smaller case on which the two still disagree.

use anyhow::Result;

use super::{Case, Disagreement, Programs, Text, compare};

/// Most rounds: each asks both about all the case's next smaller ones.
const ROUNDS: usize = 200;
/// Most smaller cases of a round.
const WIDTH: usize = 1500;

/// Leaves out lines, tokens, characters and fields while the two still disagree in the same way.
///
/// # Errors
/// One of them cannot be asked.
pub fn minimise(programs: &Programs, found: Disagreement) -> Result<Disagreement> {
    let mut smallest = found;
    for _ in 0..ROUNDS {
        let mut smaller = smaller(&smallest.libwrap.case);
        smaller.truncate(WIDTH);
        // The first is the one that leaves out most.
        let disagreements = compare(programs, &smaller)?.0;
        let same = |next: &Disagreement| next.outline() == smallest.outline();
        let Some(next) = disagreements.into_iter().find(same) else { break };
        smallest = next;
    }
    Ok(smallest)
}

/// All cases that have one thing less.
fn smaller(case: &Case) -> Vec<Case> {
    let mut all = Vec::new();
    let mut without = |change: &dyn Fn(&mut Case)| {
        let mut smaller = case.clone();
        change(&mut smaller);
        if smaller != *case {
            all.push(smaller);
        }
    };
    without(&|case| case.allow = None);
    without(&|case| case.deny = None);
    without(&|case| case.files.clear());
    without(&|case| case.server_addr = None);
    without(&|case| case.server_name = None);
    without(&|case| case.client_user = None);
    without(&|case| case.client_name = None);
    without(&|case| case.client_port = None);
    without(&|case| case.server_port = None);
    without(&|case| case.resident = false);
    without(&|case| case.daemon = "sshd".into());
    without(&|case| case.client_addr = Some("1.2.3.4".into()));
    for path in case.files.keys() {
        without(&|case| drop(case.files.remove(path)));
    }
    // Coarse pieces of all texts first.
    for pieces in [lines, halves, tokens, characters] {
        let shorter =
            |text: &Text| pieces(&text.to_marked()).into_iter().map(|text| Text::from_marked(&text));
        for text in case.allow.iter().flat_map(shorter) {
            without(&|case| case.allow = Some(text.clone()));
        }
        for text in case.deny.iter().flat_map(shorter) {
            without(&|case| case.deny = Some(text.clone()));
        }
        for (path, text) in &case.files {
            for text in shorter(text) {
                without(&|case| drop(case.files.insert(path.clone(), text.clone())));
            }
        }
    }
    for (text, set) in [
        (Some(&case.daemon), (|case, text| case.daemon = text) as fn(&mut Case, Text)),
        (case.client_addr.as_ref(), |case, text| case.client_addr = Some(text)),
        (case.client_name.as_ref(), |case, text| case.client_name = Some(text)),
        (case.client_user.as_ref(), |case, text| case.client_user = Some(text)),
        (case.server_addr.as_ref(), |case, text| case.server_addr = Some(text)),
        (case.server_name.as_ref(), |case, text| case.server_name = Some(text)),
    ] {
        for shorter in text.map(|text| halves(&text.to_marked())).unwrap_or_default() {
            without(&|case| set(case, Text::from_marked(&shorter)));
        }
    }
    all
}

/// The text without one of its lines.
fn lines(text: &str) -> Vec<String> {
    without_one(&text.split_inclusive('\n').collect::<Vec<_>>())
}

/// The text without one of its tokens.
fn tokens(text: &str) -> Vec<String> {
    without_one(&text.split_inclusive([' ', ',', ':', '\t', '\n']).collect::<Vec<_>>())
}

/// The text without a part: a half, a quarter, ... from each end.
fn halves(text: &str) -> Vec<String> {
    let characters: Vec<char> = text.chars().collect();
    let mut shorter = Vec::new();
    let mut part = characters.len() / 2;
    while part > 0 {
        shorter.push(characters[part..].iter().collect());
        shorter.push(characters[..characters.len() - part].iter().collect());
        part /= 2;
    }
    shorter
}

/// The text without one of its characters.
fn characters(text: &str) -> Vec<String> {
    let at = |(index, character): (usize, char)| &text[index..index + character.len_utf8()];
    without_one(&text.char_indices().map(at).collect::<Vec<_>>())
}

fn without_one(pieces: &[&str]) -> Vec<String> {
    let without = |left_out: usize| {
        let kept = pieces.iter().enumerate().filter(|(index, _)| *index != left_out);
        kept.map(|(_, piece)| *piece).collect()
    };
    (0..pieces.len()).map(without).collect()
}
