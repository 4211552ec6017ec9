//! Differences that are wanted wherever they occur; none is about the verdict or the rule.

use super::Answer;

/// Whether the answers are the same, but for what is wanted.
pub(super) fn agree(libwrap: &Answer, tcpw: &Answer) -> bool {
    let libwrap = Answer { warnings: said(libwrap), ..libwrap.clone() };
    let tcpw = Answer { warnings: said(tcpw), ..tcpw.clone() };
    libwrap == tcpw
}

/// The messages that are compared.
fn said(answer: &Answer) -> Vec<String> {
    let mut said: Vec<String> = Vec::new();
    for line in &answer.warnings {
        let is_repeated = is_of_file(line) && said.contains(line);
        if !is_repeated && !is_stale(line) {
            said.push(line.clone());
        }
    }
    said
}

/// nice(2) returns the new value: libwrap takes a negative one for a failure, `nice 3` after
/// `nice -5` included, and tells of the error that some earlier call left behind.
fn is_stale(line: &str) -> bool {
    line.starts_with("warning: hosts.") && line.contains(": nice(")
}

/// tcpw reads a pattern file that a token names more than once, by way of others, once: a chain
/// of files that name the next one twice would otherwise take for ever.
fn is_of_file(line: &str) -> bool {
    line.starts_with("warning: hosts.") && line.contains(": open /")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_taken_from_a_verdict_or_another_message() {
        let answer = |expect: &str, warnings: &[&str]| Answer {
            expect: expect.into(),
            warnings: warnings.iter().map(|&line| line.into()).collect(),
            ..Answer::default()
        };
        let nice = [
            "warning: hosts.allow, line 1: nice(-5): Success",
            "warning: hosts.allow, line 1: nice(3): Success",
        ];
        let other = "warning: hosts.allow, line 2: missing newline or line too long";
        assert!(agree(&answer("allow", &nice), &answer("allow", &[])));
        assert!(!agree(&answer("allow", &nice), &answer("deny", &[])));
        assert!(!agree(&answer("allow", &[other]), &answer("allow", &[])));
    }
}
