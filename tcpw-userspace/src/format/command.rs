//! The blanks of a command: the shell takes a run of them for one, outside quotes.

use crate::parse::rule::RuleOption;

/// A place in a command where the line may be broken: a blank outside quotes.
pub(super) const BREAK: u8 = b'\n';

/// A command with one blank for each run of blanks outside quotes: what it means.
pub(super) fn squeezed(text: &[u8]) -> Vec<u8> {
    runs(text, |_, _| b" ".to_vec())
}

/// A command as it is printed: tabs outside quotes are blanks, and where the author broke the line, at one of
/// these offsets, there is a [`BREAK`].
pub(super) fn printed(text: &[u8], breaks: &[usize]) -> Vec<u8> {
    runs(text, |at, run| {
        if breaks.iter().any(|offset| (at..=at + run.len()).contains(offset)) {
            vec![BREAK]
        } else if run.contains(&b'\t') {
            b" ".to_vec()
        } else {
            run.to_vec()
        }
    })
}

/// The text with something in place of each run of blanks outside quotes.
fn runs(text: &[u8], with: impl Fn(usize, &[u8]) -> Vec<u8>) -> Vec<u8> {
    let is_blank = |byte: u8| matches!(byte, b' ' | b'\t');
    let mut out = Vec::with_capacity(text.len());
    let mut quote = None;
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        let run = text[at..].iter().take_while(|byte| is_blank(**byte)).count();
        if quote.is_none() && run > 0 {
            out.extend(with(at, &text[at..at + run]));
            at += run;
            continue;
        }
        out.push(byte);
        at += 1;
        match (byte, quote) {
            // What is escaped is no blank and no quote.
            (b'\\', None | Some(b'"')) => {
                out.extend(text.get(at));
                at += 1;
            }
            // Quotes within substitutions are not followed.
            (b'"' | b'\'' | b'`', None) => quote = Some(byte),
            (_, Some(open)) if byte == open => quote = None,
            _ => {}
        }
    }
    out
}

/// Whether two options are the same, but for blanks that the shell does not see.
pub(super) fn same_option(one: &RuleOption, other: &RuleOption) -> bool {
    match (one, other) {
        (RuleOption::Spawn(one), RuleOption::Spawn(other))
        | (RuleOption::Twist(one), RuleOption::Twist(other))
        | (RuleOption::Aclexec(one), RuleOption::Aclexec(other)) => squeezed(one) == squeezed(other),
        (one, other) => one == other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_blanks_outside_quotes_are_squeezed() {
        let text = b"(echo  \t a \"b\t c\" 'd  e' f\\  g | mail)";
        assert_eq!(squeezed(text), b"(echo a \"b\t c\" 'd  e' f\\  g | mail)");
        assert_eq!(printed(text, &[]), b"(echo a \"b\t c\" 'd  e' f\\  g | mail)");
        assert_eq!(printed(b"a  b", &[]), b"a  b");
        assert_eq!(printed(b"a | b", &[4]), b"a |\nb");
        assert_eq!(printed(b"\"a | b\"", &[5]), b"\"a | b\"");
    }
}
