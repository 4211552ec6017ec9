//! Words that are nearly those of the language.

use super::{Code, Finding, NEVER, quote};

/// The words of a client list.
pub(super) const CLIENT_WORDS: &[&str] = &["ALL", "EXCEPT", "KNOWN", "LOCAL", "PARANOID", "UNKNOWN"];

/// The words of a daemon list.
pub(super) const DAEMON_WORDS: &[&str] = &["ALL", "EXCEPT"];

/// What follows where EXCEPT is misspelt.
pub(super) const NOT_EXCEPTED: &str = "nothing is excepted";

/// Finding on a word that is none of `words`, but nearly.
///
/// `taken_for`: what it is instead.
pub(super) fn near_word(token: &[u8], words: &[&'static str], taken_for: &str) -> Option<Finding> {
    let text = std::str::from_utf8(token).ok()?;
    if text.eq_ignore_ascii_case("FAIL") {
        let message = format!(
            "{} is a word of tcp_wrappers before 7.0: today it is taken for {taken_for}",
            quote(token)
        );
        return Some(Finding::new(Code::W039, message, "ALL, LOCAL, KNOWN, UNKNOWN, PARANOID", NEVER));
    }
    let (meant, is_prefix) = meant(text, words)?;
    let expected = match words.len() {
        2 => "ALL, EXCEPT, or a daemon's name",
        _ => "ALL, LOCAL, KNOWN, UNKNOWN, PARANOID or EXCEPT",
    };
    let message = format!("{} is no word of the language: it is taken for {taken_for}", quote(token));
    let consequence = if meant == "EXCEPT" { NOT_EXCEPTED } else { NEVER };
    let finding = Finding::new(Code::W035, message, expected, consequence);
    Some(if is_prefix { finding.replace(format!("EXCEPT {}", &text[1..])) } else { finding.replace(meant) })
}

/// The word that was meant, and whether it is the sign `!` before another one.
fn meant(text: &str, words: &[&'static str]) -> Option<(&'static str, bool)> {
    if text.len() > 1 && text.starts_with('!') {
        return Some(("EXCEPT", true));
    }
    let upper = text.to_ascii_uppercase();
    if words.contains(&upper.as_str()) || !text.bytes().all(|byte| byte.is_ascii_alphabetic()) {
        return None;
    }
    let is_shouted = upper == text;
    match upper.as_str() {
        "ANY" | "ANYONE" | "ANYBODY" | "EVERYONE" | "EVERYBODY" | "WORLD" => return Some(("ALL", false)),
        "BUT" | "EXCLUDE" | "EXCLUDING" if is_shouted => return Some(("EXCEPT", false)),
        _ => {}
    }
    // A host or a daemon may well have a short name that is near: only what is shouted counts then.
    let near = |word: &&&str| {
        // Of a long word it would take long, for nothing.
        let distance =
            if word.len().abs_diff(upper.len()) > 2 { 3 } else { strsim::osa_distance(word, &upper) };
        distance == 1 && (is_shouted || word.len() >= 6) || distance == 2 && is_shouted && word.len() >= 6
    };
    words.iter().find(near).map(|word| (*word, false))
}

#[cfg(test)]
mod tests {
    use super::*;

    macro_rules! means {
        ($($name:ident: $text:expr => $want:expr;)*) => { $(#[test] fn $name() {
            assert_eq!(meant($text, CLIENT_WORDS).map(|(word, _)| word), $want);
        })* };
    }

    means! {
        doubled: "ALLL" => Some("ALL");
        swapped: "EXECPT" => Some("EXCEPT");
        swapped_and_small: "execpt" => Some("EXCEPT");
        dropped: "PARNOID" => Some("PARANOID");
        other_word: "any" => Some("ALL");
        negation: "!10.1." => Some("EXCEPT");
        the_word_itself: "except" => None;
        host: "hall" => None;
        host_near_a_short_word: "vocal" => None;
        no_word: "web1" => None;
    }
}
