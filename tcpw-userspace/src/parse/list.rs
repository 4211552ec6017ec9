//! Fields to tokens to lists with EXCEPT.
//!
//! Source: tcp_wrappers 7.6.q `hosts_access.c` `list_match`, `misc.c` `split_at`.

use smallvec::SmallVec;

use super::rule::List;

/// A token and its offset in the joined line.
pub(crate) type Token<'a> = (usize, &'a [u8]);

/// The first `delimiter` that stands outside brackets.
///
/// The depth is a plain counter: a stray `]` hides what follows.
pub(crate) fn split_at(text: &[u8], delimiter: u8) -> Option<usize> {
    let mut depth = 0i32;
    text.iter().position(|byte| {
        match byte {
            b'[' => depth += 1,
            b']' => depth -= 1,
            byte => return depth == 0 && *byte == delimiter,
        }
        false
    })
}

/// What separates tokens.
pub(super) fn is_separator(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b',' | b'\r' | b'\n')
}

/// The tokens of a field that begins at offset `base`.
pub(crate) fn tokens(field: &[u8], base: usize) -> Tokens<'_> {
    Tokens { field, base, at: 0 }
}

/// See [`tokens`].
#[derive(Clone)]
pub(crate) struct Tokens<'a> {
    field: &'a [u8],
    base: usize,
    at: usize,
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        let Self { field, base, at } = self;
        let start = *at + field[*at..].iter().position(|byte| !is_separator(*byte))?;
        let rest = &field[start..];
        let length = rest.iter().position(|byte| is_separator(*byte)).unwrap_or(rest.len());
        *at = start + length;
        Some((*base + start, &rest[..length]))
    }
}

/// The word EXCEPT, in any case.
pub(crate) fn is_except(token: &[u8]) -> bool {
    token.eq_ignore_ascii_case(b"EXCEPT")
}

/// Builds a list: right-associative, as libwrap's recursion is.
pub(super) fn build<'a, P>(mut tokens: Tokens<'a>, mut pattern: impl FnMut(Token<'a>) -> P) -> List<P> {
    let mut parts = Vec::new();
    loop {
        let (patterns, goes_on) = part(&mut tokens, &mut pattern);
        if !goes_on {
            let last = List { patterns, except: None };
            let before = |except, patterns| List { patterns, except: Some(Box::new(except)) };
            return parts.into_iter().rev().fold(last, before);
        }
        parts.push(patterns);
    }
}

/// The patterns up to the next EXCEPT or the end, and whether it was an EXCEPT.
fn part<'a, P>(
    tokens: &mut Tokens<'a>,
    pattern: &mut impl FnMut(Token<'a>) -> P,
) -> (SmallVec<[P; 1]>, bool) {
    // Counted first: tables of a million rules are not worth half-empty vectors.
    let count = tokens.clone().take_while(|(_, token)| !is_except(token)).count();
    let mut patterns = SmallVec::with_capacity(count);
    for token in tokens {
        if is_except(token.1) {
            return (patterns, true);
        }
        patterns.push(pattern(token));
    }
    (patterns, false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn except_is_right_associative() {
        let list = build(tokens(b" a,b EXCEPT c except d\n", 0), |(_, token)| token.to_vec());
        let except = list.except.unwrap();
        assert_eq!(list.patterns.as_slice(), [b"a", b"b"]);
        assert_eq!(except.patterns.as_slice(), [b"c"]);
        assert_eq!(except.except.unwrap().patterns.as_slice(), [b"d"]);
    }

    #[test]
    fn offsets_are_those_of_the_line() {
        let offsets: Vec<_> = tokens(b" a,,bc ", 10).collect();
        assert_eq!(offsets, [(11, &b"a"[..]), (14, b"bc")]);
    }

    macro_rules! splits {
        ($($name:ident: $text:expr => $want:expr;)*) => {
            $(#[test] fn $name() { assert_eq!(split_at($text, b':'), $want); })*
        };
    }

    splits! {
        first_colon: b"a:b:c" => Some(1);
        brackets_hide: b"[::1]:x" => Some(5);
        unbalanced_open_hides_all: b"[a:b:c" => None;
        stray_close_hides_all: b"a]b:c" => None;
        close_then_open_balance: b"]a[:c" => Some(3);
        backslash_means_nothing: b"a\\:b" => Some(2);
    }
}
