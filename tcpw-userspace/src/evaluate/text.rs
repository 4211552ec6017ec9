//! One pattern against one string.
//!
//! Source: tcp_wrappers 7.6.q (Debian) `hosts_access.c` `string_match`.

use super::glob::glob_matches;
use crate::parse::{number, rule::TextPattern};

/// libwrap's word for a name, user or address it does not know.
pub(super) const UNKNOWN: &[u8] = b"unknown";

/// libwrap's word for the name of a host whose name and address do not match.
pub(super) const PARANOID: &[u8] = b"paranoid";

/// Whether a host name is one.
pub(super) fn is_known(name: &[u8]) -> bool {
    !name.eq_ignore_ascii_case(UNKNOWN) && !name.eq_ignore_ascii_case(PARANOID)
}

/// A subject `::ffff:a.b.c.d` reduced to `a.b.c.d`.
pub(super) fn reduced(subject: &[u8]) -> &[u8] {
    // Nearly every subject: this runs once for every pattern.
    if subject.first() != Some(&b':') {
        return subject;
    }
    match subject.split_at_checked(7) {
        Some((mapped, rest))
            if mapped.eq_ignore_ascii_case(b"::ffff:") && number::dot_quad(rest).is_some() =>
        {
            rest
        }
        _ => subject,
    }
}

impl TextPattern {
    /// Whether the pattern matches a string.
    pub fn matches(&self, subject: &[u8]) -> bool {
        let subject = reduced(subject);
        match self {
            Self::Glob(glob) => glob_matches(glob, subject),
            Self::Suffix(suffix) => {
                let start = subject.len().checked_sub(suffix.len()).filter(|start| *start > 0);
                start.is_some_and(|start| subject[start..].eq_ignore_ascii_case(suffix))
            }
            Self::All => true,
            Self::Known => !subject.eq_ignore_ascii_case(UNKNOWN),
            Self::Prefix(prefix) => {
                subject.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
            }
            Self::Bracketed(address) => {
                address.is_some() && number::ipv6(subject).map(|(address, _)| address) == *address
            }
            Self::Exact(text) => subject.eq_ignore_ascii_case(text),
        }
    }

    /// Whether the pattern matches every daemon name there can be.
    pub fn matches_every_name(&self) -> bool {
        match self {
            Self::All => true,
            // Only `*` and `?`: if it matches one character, it matches any longer name.
            Self::Glob(glob) => {
                glob.contains(&b'*')
                    && glob.iter().all(|byte| matches!(byte, b'*' | b'?'))
                    && glob_matches(glob, b"x")
            }
            Self::Suffix(_) | Self::Known | Self::Prefix(_) | Self::Bracketed(_) | Self::Exact(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Box<[u8]> {
        text.as_bytes().into()
    }

    macro_rules! matches {
        ($($name:ident: $pattern:expr, $subject:expr => $want:expr;)*) => { $(#[test] fn $name() {
            assert_eq!($pattern.matches($subject.as_bytes()), $want);
        })* };
    }

    matches! {
        prefix_is_textual: TextPattern::Prefix(text("1.2.3.")), "1.2.33.4" => false;
        prefix: TextPattern::Prefix(text("1.2.3.")), "1.2.3.4" => true;
        prefix_of_mapped: TextPattern::Prefix(text("1.2.3.")), "::ffff:1.2.3.4" => true;
        suffix_is_proper: TextPattern::Suffix(text(".example.com")), ".example.com" => false;
        suffix: TextPattern::Suffix(text(".Example.com")), "a.eXample.com" => true;
        exact_ignores_case: TextPattern::Exact(text("SSHD")), "sshd" => true;
        mapped_pattern_never: TextPattern::Exact(text("::ffff:1.2.3.4")), "::ffff:1.2.3.4" => false;
        mapped_broadcast_is_not_reduced: TextPattern::Exact(text("255.255.255.255")), "::ffff:255.255.255.255" => false;
        known: TextPattern::Known, "Unknown" => false;
        bracketed: TextPattern::Bracketed("::1".parse().ok()), "0::1" => true;
        bracketed_ignores_zone: TextPattern::Bracketed("fe80::1".parse().ok()), "fe80::1%2" => true;
        bracketed_unparsable: TextPattern::Bracketed(None), "unknown" => false;
        bracketed_never_mapped: TextPattern::Bracketed("::ffff:1.2.3.4".parse().ok()), "::ffff:1.2.3.4" => false;
    }

    #[test]
    fn every_name() {
        let every = |glob: &str| TextPattern::Glob(text(glob)).matches_every_name();
        assert!(TextPattern::All.matches_every_name());
        assert!(every("*") && every("**") && every("?*"));
        assert!(!every("?") && !every("??*") && !every("s*") && !every("*?*?"));
        assert!(!TextPattern::Known.matches_every_name());
    }
}
