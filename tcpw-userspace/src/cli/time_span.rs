//! Spans of time as they are written: `90s`, `10m`, `1h`, `7d`, `2w`.

use std::time::Duration;

const UNITS: [(&str, u64); 5] = [("w", 604_800), ("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)];

/// Longest span: a hundred years.
const LONGEST_S: u64 = 100 * 365 * 86_400;

/// Reads a span; a number alone is in seconds.
pub(super) fn parse(text: &str) -> Result<Duration, String> {
    let expected = || "a time, as 90s, 10m, 1h, 7d or 2w: more than 0, at most 100 years".to_owned();
    let digits = text.trim_end_matches(|last: char| last.is_ascii_alphabetic());
    let unit = &text[digits.len()..];
    let unit = if unit.is_empty() { "s" } else { unit };
    let (_, seconds) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(expected)?;
    let count: u64 = digits.parse().map_err(|_| expected())?;
    let seconds = count.checked_mul(*seconds).filter(|seconds| (1..=LONGEST_S).contains(seconds));
    seconds.map(Duration::from_secs).ok_or_else(expected)
}

/// A span in its two largest units.
pub(super) fn text(span: Duration) -> String {
    let mut left = span.as_secs();
    let mut parts = Vec::new();
    // Weeks are read, and not written.
    for (name, seconds) in &UNITS[1..] {
        let count = left / seconds;
        left %= seconds;
        if count > 0 || !parts.is_empty() {
            parts.push((count, *name));
        }
    }
    let shown = parts.iter().take(2).filter(|(count, _)| *count > 0);
    let shown: Vec<String> = shown.map(|(count, name)| format!("{count}{name}")).collect();
    if shown.is_empty() { "0s".into() } else { shown.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_and_written() {
        for (written, seconds, shown) in [
            ("90s", 90, "1m 30s"),
            ("90", 90, "1m 30s"),
            ("10m", 600, "10m"),
            ("1h", 3600, "1h"),
            ("26h", 93_600, "1d 2h"),
            ("2w", 1_209_600, "14d"),
        ] {
            let span = parse(written).unwrap();
            assert_eq!((span.as_secs(), text(span).as_str()), (seconds, shown), "{written}");
        }
        assert_eq!(text(Duration::from_secs(86_400 + 5)), "1d");
        for wrong in ["", "0", "0h", "-1h", "1y", "h", "1 h", "5300w", "99999999999999999999s"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
