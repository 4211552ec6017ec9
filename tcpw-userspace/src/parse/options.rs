//! The option part of a rule.
//!
//! Invariant: the first check that fails names the error, in libwrap's words.
//! Source: hosts_options(5); tcp_wrappers 7.6.q `options.c`.

use std::{ffi::OsStr, ops::Range, os::unix::ffi::OsStrExt, path::PathBuf};

use super::quoted_bytes;
use super::{
    list::split_at,
    number::{is_space, scan_signed, scan_unsigned},
    rule::{RuleOption, Text},
};

/// A field of the option part.
pub(crate) struct Field {
    /// Where its trimmed text stands in the joined line.
    pub(crate) span: Range<usize>,
    /// Its trimmed text, `\:` resolved.
    pub(crate) text: Vec<u8>,
    /// The option, or libwrap's objection.
    pub(crate) option: Result<RuleOption, String>,
}

/// Splits and parses the option part of a joined line, which begins at `base`.
pub(crate) fn parse(line: &[u8], base: usize) -> Vec<Field> {
    let mut fields = Vec::new();
    let mut start = base;
    loop {
        let end = field_end(line, start);
        let is_last = end == line.len();
        let raw = &line[start..end];
        let trimmed = trim(raw);
        let before = raw.iter().take_while(|byte| is_space(**byte)).count();
        // An empty field is shown at the colon before it.
        let at = if trimmed.is_empty() { start - 1 } else { start + before };
        let text = unescape(trimmed);
        let option = option(&text, is_last);
        fields.push(Field { span: at..at + trimmed.len().max(1), text, option });
        if is_last {
            return fields;
        }
        start = end + 1;
    }
}

fn field_end(line: &[u8], start: usize) -> usize {
    let mut at = start;
    while at < line.len() {
        match line[at..] {
            [b'\\', b':', ..] => at += 2,
            [b':', ..] => break,
            _ => at += 1,
        }
    }
    at
}

fn unescape(text: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [byte, behind @ ..] = rest {
        rest = behind;
        if let ([b':', after @ ..], b'\\') = (behind, byte) {
            plain.push(b':');
            rest = after;
        } else {
            plain.push(*byte);
        }
    }
    plain
}

/// Without the white space around it.
pub(crate) fn trim(text: &[u8]) -> &[u8] {
    let Some(start) = text.iter().position(|byte| !is_space(*byte)) else { return &[] };
    let end = text.iter().rposition(|byte| !is_space(*byte)).map_or(start, |last| last + 1);
    &text[start..end]
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

fn skip_blanks(text: &[u8]) -> &[u8] {
    let start = text.iter().position(|byte| !is_blank(*byte)).unwrap_or(text.len());
    &text[start..]
}

/// Where the keyword of a trimmed field ends.
pub(crate) fn keyword_end(field: &[u8]) -> Option<usize> {
    field.iter().position(|byte| is_blank(*byte) || *byte == b'=')
}

/// Keyword and value: they are separated by blanks and at most one `=`.
fn split_value(field: &[u8]) -> (&[u8], Option<&[u8]>) {
    let Some(end) = keyword_end(field) else { return (field, None) };
    let rest = skip_blanks(&field[end..]);
    let value = rest.strip_prefix(b"=").map_or(rest, skip_blanks);
    (&field[..end], Some(value).filter(|value| !value.is_empty()))
}

/// What an option does with a value.
enum Value {
    None,
    Needed,
    Optional,
}

fn quote(text: &[u8]) -> String {
    format!("\"{}\"", quoted_bytes(text))
}

fn option(field: &[u8], is_last: bool) -> Result<RuleOption, String> {
    let (key, value) = split_value(field);
    if key.is_empty() {
        return Err("missing option name".into());
    }
    let name = key.to_ascii_lowercase();
    let (takes, must_be_last) = match name.as_slice() {
        b"user" | b"group" | b"umask" | b"linger" | b"spawn" | b"setenv" | b"severity" | b"banners"
        | b"aclexec" => (Value::Needed, false),
        b"twist" => (Value::Needed, true),
        b"rfc931" | b"nice" => (Value::Optional, false),
        b"keepalive" => (Value::None, false),
        b"allow" | b"deny" => (Value::None, true),
        _ => return Err(format!("bad option name: {}", quote(key))),
    };
    match takes {
        Value::Needed if value.is_none() => return Err(format!("option {} requires value", quote(key))),
        Value::None if value.is_some() => return Err(format!("option {} requires no value", quote(key))),
        Value::Needed | Value::None | Value::Optional => {}
    }
    if must_be_last && !is_last {
        return Err(format!("option {} must be at end", quote(key)));
    }
    build(&name, value)
}

/// Makes the option of a known lower-case name.
fn build(name: &[u8], value: Option<&[u8]>) -> Result<RuleOption, String> {
    let given = value.unwrap_or_default();
    let text = || Text::from(given);
    Ok(match name {
        b"allow" => RuleOption::Allow,
        b"deny" => RuleOption::Deny,
        b"keepalive" => RuleOption::Keepalive,
        b"spawn" => RuleOption::Spawn(text()),
        b"twist" => RuleOption::Twist(text()),
        b"aclexec" => RuleOption::Aclexec(text()),
        b"user" => RuleOption::User(text()),
        b"group" => RuleOption::Group(text()),
        b"banners" => RuleOption::Banners(PathBuf::from(OsStr::from_bytes(given))),
        b"severity" => RuleOption::Severity(severity(given)?),
        // What % expansion makes of the name shows when it is expanded.
        b"setenv" if given.contains(&b'%') => RuleOption::Setenv(text()),
        b"setenv" => setenv(given).map(|_| RuleOption::Setenv(text()))?,
        b"linger" => {
            let seconds = scan_signed(given).and_then(|seconds| seconds.try_into().ok());
            RuleOption::Linger(seconds.ok_or_else(|| format!("bad linger value: {}", quote(given)))?)
        }
        b"rfc931" => RuleOption::Rfc931(match value {
            None => None,
            Some(value) => {
                let seconds = scan_signed(value).filter(|seconds| *seconds > 0);
                let bad = || format!("bad rfc931 timeout: {}", quote(value));
                Some(seconds.ok_or_else(bad)?.unsigned_abs())
            }
        }),
        b"nice" => RuleOption::Nice(match value {
            None => 10,
            Some(value) => scan_signed(value).ok_or_else(|| format!("bad nice value: {}", quote(value)))?,
        }),
        b"umask" => {
            let mask = scan_unsigned(given, 8).filter(|mask| *mask <= 0o777);
            RuleOption::Umask(mask.ok_or_else(|| format!("bad umask value: {}", quote(given)))?)
        }
        _ => return Err(format!("bad option name: {}", quote(name))),
    })
}

/// Name and value of `setenv`, after % expansion.
///
/// # Errors
/// setenv(3) would not take the name: libwrap's words.
pub(crate) fn setenv(value: &[u8]) -> Result<(&[u8], &[u8]), String> {
    let end = value.iter().position(|byte| is_blank(*byte)).unwrap_or(value.len());
    let name = trim(&value[..end]);
    if name.is_empty() || name.contains(&b'=') {
        return Err("memory allocation failure".into());
    }
    Ok((name, trim(&value[end..])))
}

/// Source: syslog.h; libwrap knows neither authpriv nor ftp.
fn severity(value: &[u8]) -> Result<i32, String> {
    const FACILITIES: [&str; 10] =
        ["kern", "user", "mail", "daemon", "auth", "", "lpr", "news", "uucp", "cron"];
    const LEVELS: [&str; 8] = ["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"];
    let bad = |name: &[u8]| format!("bad syslog facility or severity: {}", quote(name));
    let find = |names: &[&str], name: &[u8]| {
        let index =
            names.iter().position(|known| !known.is_empty() && name.eq_ignore_ascii_case(known.as_bytes()));
        index.and_then(|index| i32::try_from(index).ok())
    };
    let local = |name: &[u8]| match name.split_at_checked(5)? {
        (prefix, [digit @ b'0'..=b'7']) if prefix.eq_ignore_ascii_case(b"local") => {
            Some(16 + i32::from(digit - b'0'))
        }
        _ => None,
    };
    let level = |name: &[u8]| find(&LEVELS, name).ok_or_else(|| bad(name));
    match split_at(value, b'.') {
        None => level(value),
        Some(at) => {
            let name = &value[..at];
            let facility = find(&FACILITIES, name).or_else(|| local(name)).ok_or_else(|| bad(name))?;
            Ok(facility << 3 | level(&value[at + 1..])?)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only(text: &str) -> Result<RuleOption, String> {
        option(trim(text.as_bytes()), true)
    }

    macro_rules! accepts {
        ($($name:ident: $text:expr => $want:expr;)*) => {
            $(#[test] fn $name() { assert_eq!(only($text), Ok($want)); })*
        };
    }

    macro_rules! objects {
        ($($name:ident: $text:expr => $want:expr;)*) => {
            $(#[test] fn $name() { assert_eq!(only($text), Err($want.to_string())); })*
        };
    }

    accepts! {
        any_case: " ALLOW " => RuleOption::Allow;
        empty_value_is_none: "allow=" => RuleOption::Allow;
        vertical_tab_is_trimmed: "allow\x0b" => RuleOption::Allow;
        one_equals_sign: "spawn == x" => RuleOption::Spawn((*b"= x").into());
        level_alone: "severity info" => RuleOption::Severity(6);
        facility_and_level: "severity local0.INFO" => RuleOption::Severity(16 << 3 | 6);
        default_nice: "nice" => RuleOption::Nice(10);
        negative_nice: "nice -5" => RuleOption::Nice(-5);
        umask_is_octal: "umask 022" => RuleOption::Umask(0o22);
        umask_wraps: "umask 40000000777" => RuleOption::Umask(0o777);
        linger: "linger  +5" => RuleOption::Linger(5);
        rfc931_without_timeout: "rfc931" => RuleOption::Rfc931(None);
        rfc931_with_timeout: "rfc931 5" => RuleOption::Rfc931(Some(5));
        setenv_without_value: "setenv X" => RuleOption::Setenv((*b"X").into());
        setenv_value: "setenv X a b" => RuleOption::Setenv((*b"X a b").into());
        setenv_before_expansion: "setenv =%u" => RuleOption::Setenv((*b"%u").into());
    }

    objects! {
        no_name: " " => "missing option name";
        only_equals: "= allow" => "missing option name";
        unknown_name: "Foo bar" => "bad option name: \"Foo\"";
        shell_command: "(safe_finger) &" => "bad option name: \"(safe_finger)\"";
        value_missing: "twist" => "option \"twist\" requires value";
        value_forbidden: "Allow x" => "option \"Allow\" requires no value";
        severity_facility: "severity foo.bar" => "bad syslog facility or severity: \"foo\"";
        severity_level: "severity mail.x.y" => "bad syslog facility or severity: \"x.y\"";
        severity_authpriv: "severity authpriv.info" => "bad syslog facility or severity: \"authpriv\"";
        linger_negative: "linger -1" => "bad linger value: \"-1\"";
        rfc931_zero: "rfc931 0" => "bad rfc931 timeout: \"0\"";
        nice_junk: "nice 5 5" => "bad nice value: \"5 5\"";
        umask_too_large: "umask 1777" => "bad umask value: \"1777\"";
        umask_not_octal: "umask 8" => "bad umask value: \"8\"";
        setenv_with_equals: "setenv A=b" => "memory allocation failure";
    }

    #[test]
    fn must_be_last() {
        assert_eq!(option(b"allow", false), Err("option \"allow\" must be at end".into()));
    }

    #[test]
    fn fields_are_split_at_colons_unless_escaped() {
        let line = b"ALL: ALL : spawn a\\:b : deny\n";
        let fields = parse(line, 10);
        assert_eq!(fields.len(), 2);
        assert_eq!(fields[0].option, Ok(RuleOption::Spawn((*b"a:b").into())));
        assert_eq!(&line[fields[1].span.clone()], b"deny");
        assert_eq!(fields[1].option, Ok(RuleOption::Deny));
    }

    #[test]
    fn trailing_colon_is_an_empty_option() {
        let fields = parse(b"ALL: ALL:\n", 9);
        assert_eq!(fields[0].option, Err("missing option name".into()));
        assert_eq!(fields[0].span, 8..9);
    }
}
