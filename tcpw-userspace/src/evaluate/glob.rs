//! Globs: `*` and `?` over a whole string.
//!
//! Invariant: polynomial, whatever the pattern (libwrap's own is exponential).
//! Source: tcp_wrappers 7.6.q (Debian) `hosts_access.c` `match_pattern_ylo`.

/// Whether a glob matches a string, ASCII case ignored.
///
/// libwrap's flaw is kept: a `*` before another `*` needs a character left.
pub(super) fn glob_matches(pattern: &[u8], subject: &[u8]) -> bool {
    let Some((last, front)) = pattern.split_last() else { return subject.is_empty() };
    // rest[i]: the pattern's rest matches the subject from i on. From the back:
    let end = subject.len();
    let mut rest: Vec<bool> = if *last == b'*' {
        vec![true; end + 1]
    } else {
        let mut matched = vec![false; end + 1];
        if let Some(byte) = subject.last() {
            matched[end - 1] = one(*last, *byte);
        }
        matched
    };
    for symbol in front.iter().rev() {
        if *symbol == b'*' {
            rest[end] = false;
            for at in (0..end).rev() {
                rest[at] |= rest[at + 1];
            }
        } else {
            for at in 0..end {
                rest[at] = one(*symbol, subject[at]) && rest[at + 1];
            }
            rest[end] = false;
        }
    }
    rest[0]
}

fn one(symbol: u8, byte: u8) -> bool {
    symbol == b'?' || symbol.eq_ignore_ascii_case(&byte)
}

#[cfg(test)]
mod tests {
    use super::glob_matches;

    macro_rules! globs {
        ($($name:ident: $pattern:expr, $subject:expr => $want:expr;)*) => { $(#[test] fn $name() {
            assert_eq!(glob_matches($pattern.as_bytes(), $subject.as_bytes()), $want);
        })* };
    }

    globs! {
        star_matches_nothing: "a*", "a" => true;
        star_in_the_middle: "1.*.3", "1.2.3" => true;
        question_mark: "192.168.?.1", "192.168.5.1" => true;
        question_mark_is_one_character: "192.168.?.1", "192.168.55.1" => false;
        case: "*.Example.COM", "www.eXample.com" => true;
        whole_subject: "*.example.com", "www.example.com.org" => false;
        two_stars_need_a_character: "a**", "a" => false;
        two_stars: "a**", "ab" => true;
        star_question_mark: "a*?", "a" => false;
        backtracking: "*a*b*c", "xaxbxaxbxc" => true;
        empty_subject: "*", "" => true;
        single_question_mark: "?", "" => false;
    }

    #[test]
    fn many_stars_take_no_time() {
        assert!(!glob_matches(&b"*a".repeat(500), &[b'a'; 127]));
    }
}
