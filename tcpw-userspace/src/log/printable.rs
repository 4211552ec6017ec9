//! Text that others named, as one line of characters that do nothing.
//!
//! Invariant: no control character, no line break of any kind and no invisible character is left, so a file name
//! cannot forge a message nor command a terminal.

use std::borrow::Cow;

use crate::parse::lookalike;

/// The text with control, line-breaking and invisible characters written as in Rust: `\n`, `\u{1b}`.
pub fn printable(text: &str) -> Cow<'_, str> {
    if !text.chars().any(acts) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        if acts(character) {
            out.extend(character.escape_default());
        } else {
            out.push(character);
        }
    }
    Cow::Owned(out)
}

/// Whether a character does something else than to be seen.
fn acts(character: char) -> bool {
    character.is_control() || !character.is_ascii() && matches!(lookalike::ascii(character), Some("" | " "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_acts_is_written_out_and_the_rest_stays() {
        assert_eq!(printable("sshd[1]: ä ‘x’ Я"), "sshd[1]: ä ‘x’ Я");
        assert_eq!(
            printable("a\ntcpw: info: applied generation 99\r\t\u{1b}[2J\u{9b}1m"),
            "a\\ntcpw: info: applied generation 99\\r\\t\\u{1b}[2J\\u{9b}1m"
        );
        assert_eq!(printable("a\u{2028}b\u{202e}c\u{7f}\u{85}"), "a\\u{2028}b\\u{202e}c\\u{7f}\\u{85}");
    }
}
