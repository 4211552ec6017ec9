//! The blanks of a command: the shell takes a run of them for one, outside quotes.

use crate::parse::rule::RuleOption;

/// A place in a command where the line is broken: a blank outside quotes.
pub(super) const BREAK: u8 = b'\n';

/// A place in a command where the author broke the line and only the same break keeps the meaning: in quotes,
/// for example. Lines with a NUL byte never get here.
pub(super) const EXACT_BREAK: u8 = 0;

/// What the shell reads by rules of its own between quotes: substitutions, which may hold quotes again, and
/// here-documents.
const OPAQUE: &[&[u8]] = &[b"`", b"$(", b"${", b"$'", b"<<"];

/// A command with one blank for each run of blanks outside quotes: what it means.
pub(super) fn squeezed(text: &[u8]) -> Vec<u8> {
    runs(text, &[], |_, _| b" ".to_vec())
}

/// A command as it is printed: tabs outside quotes are blanks, and where the author broke the line, at one of
/// these offsets, there is a [`BREAK`] or an [`EXACT_BREAK`].
pub(super) fn printed(text: &[u8], breaks: &[usize]) -> Vec<u8> {
    runs(text, breaks, |at, run| {
        if breaks.iter().any(|offset| (at..=at + run.len()).contains(offset)) {
            vec![BREAK]
        } else if run.contains(&b'\t') {
            b" ".to_vec()
        } else {
            run.to_vec()
        }
    })
}

/// The text with something in place of each run of blanks outside quotes, and an [`EXACT_BREAK`] at each of
/// `breaks` that touches no such run.
fn runs(text: &[u8], breaks: &[usize], with: impl Fn(usize, &[u8]) -> Vec<u8>) -> Vec<u8> {
    let is_opaque = is_opaque(text);
    let mut out = Vec::with_capacity(text.len());
    let mut quote = None;
    let mut is_escaped = false;
    let mut at = 0;
    // The end of the last run: a break there stands in the run's place already.
    let mut run_end = None;
    while let Some(&byte) = text.get(at) {
        let is_outside = quote.is_none() && !is_escaped && !is_opaque;
        let run = text[at..].iter().take_while(|byte| is_outside && matches!(byte, b' ' | b'\t')).count();
        if run > 0 {
            out.extend(with(at, &text[at..at + run]));
            at += run;
            run_end = Some(at);
            continue;
        }
        if breaks.contains(&at) && run_end != Some(at) {
            out.push(EXACT_BREAK);
        }
        out.push(byte);
        at += 1;
        match (byte, quote) {
            // What is escaped is no blank and no quote.
            _ if is_escaped => is_escaped = false,
            (b'\\', None | Some(b'"')) => is_escaped = true,
            (b'"' | b'\'', None) => quote = Some(byte),
            (_, Some(open)) if byte == open => quote = None,
            _ => {}
        }
    }
    out
}

/// Whether blanks cannot be told from text: they are left as they are.
fn is_opaque(text: &[u8]) -> bool {
    let mut rest = text;
    while let Some(at) = rest.iter().position(|byte| *byte == b'%') {
        // An unknown expansion takes the character behind `%` away, a quote or a blank for example.
        if !rest.get(at + 1).is_some_and(|letter| letter.is_ascii_alphanumeric() || *letter == b'%') {
            return true;
        }
        rest = &rest[at + 2..];
    }
    OPAQUE.iter().any(|word| text.windows(word.len()).any(|window| window == *word))
}

/// Whether two commands are the same, but for blanks that the shell does not see.
pub fn same_command(one: &[u8], other: &[u8]) -> bool {
    squeezed(one) == squeezed(other)
}

/// Whether two options are the same, but for blanks that the shell does not see.
pub(super) fn same_option(one: &RuleOption, other: &RuleOption) -> bool {
    match (one, other) {
        (RuleOption::Spawn(one), RuleOption::Spawn(other))
        | (RuleOption::Twist(one), RuleOption::Twist(other))
        | (RuleOption::Aclexec(one), RuleOption::Aclexec(other)) => same_command(one, other),
        (one, other) => one == other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blanks_beside_what_the_shell_reads_by_rules_of_its_own_are_left() {
        for text in [
            &b"echo \"$(printf  \"a\tb\")\""[..],
            b"echo \"`printf  \"a\tb\"`\"",
            b"echo \"${x:-\"a\tb\"}\"",
            b"echo $'a\\'\t b'",
            b"cat <<a\tb",
            b"echo %\t\tb",
            b"echo %%%\" \t\"",
            b"echo %",
        ] {
            assert_eq!(squeezed(text), text);
            assert_eq!(printed(text, &[]), text);
        }
        assert_eq!(printed(b"echo $(a  b)", &[9]), b"echo $(a \0 b)");
        assert_eq!(printed(b"a\\ b", &[2]), b"a\\\0 b");
    }

    #[test]
    fn only_blanks_outside_quotes_are_squeezed() {
        let text = b"(echo  \t a \"b\t c\" 'd  e' f\\  g | mail)";
        assert_eq!(squeezed(text), b"(echo a \"b\t c\" 'd  e' f\\  g | mail)");
        assert_eq!(printed(text, &[]), b"(echo a \"b\t c\" 'd  e' f\\  g | mail)");
        assert_eq!(printed(b"a  b", &[]), b"a  b");
        assert_eq!(printed(b"a | b", &[4]), b"a |\nb");
        assert_eq!(printed(b"\"a | b\"", &[5]), b"\"a | \0b\"");
    }
}
