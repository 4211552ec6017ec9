//! Diagnostics as text.

use std::fmt::{self, Write as _};

use anstyle::{AnsiColor, Style};

use super::{Diagnostic, Fix, Further, Severity};
use crate::parse::lookalike;

/// Bytes shown before and after an underlined stretch.
const MARGIN: usize = 70;

/// Most related places shown.
const RELATED: usize = 3;

/// Most further places of the same cause shown.
const PLACES: usize = 5;

/// Most lines of one diagnostic.
const LINES: usize = 5;

/// Longest mended line that is shown whole where only a part of it is another.
const WHOLE: usize = 120;

/// Longest text that is quoted in "replace X by Y".
const QUOTED: usize = 60;

/// How the parts of a diagnostic look.
#[derive(Clone, Copy, Debug, Default)]
pub struct Styles {
    error: Style,
    warning: Style,
    hint: Style,
    place: Style,
    label: Style,
}

impl Styles {
    /// For a terminal.
    pub const fn coloured() -> Self {
        Self {
            error: AnsiColor::Red.on_default().bold(),
            warning: AnsiColor::Yellow.on_default().bold(),
            hint: AnsiColor::Cyan.on_default().bold(),
            place: Style::new().bold(),
            label: AnsiColor::Green.on_default(),
        }
    }

    /// Of what is this bad.
    pub const fn of(&self, severity: Severity) -> Style {
        match severity {
            Severity::Error => self.error,
            Severity::Warning => self.warning,
            Severity::Hint => self.hint,
        }
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.render(out, &Styles::default())
    }
}

/// The lines below the first one.
#[derive(Default)]
struct Body {
    /// The cited line.
    cited: Option<String>,
    /// What marks the place in it.
    underline: Option<String>,
    /// The fix, or else what was expected.
    fix: Vec<String>,
    consequence: Option<String>,
    related: Option<String>,
}

impl Body {
    fn count(&self) -> usize {
        let single = [&self.cited, &self.underline, &self.consequence, &self.related];
        single.into_iter().flatten().count() + self.fix.len()
    }
}

impl Diagnostic {
    /// Writes it, five lines at most, without a newline at the end.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn render(&self, out: &mut impl fmt::Write, styles: &Styles) -> fmt::Result {
        let Self { severity, message, origin, .. } = self;
        let mut body = self.body(styles)?;
        // A fix of several lines needs the room: what follows from the mistake then stands behind it.
        let mut follows = String::new();
        let is_whole = self.marked().is_some_and(|marked| {
            let is_blank = |text: &[u8]| text.trim_ascii().is_empty();
            is_blank(&self.cited[..marked.start]) && is_blank(&self.cited[marked.end..])
        });
        if body.count() >= LINES && self.fix.is_none() {
            body.fix.clear();
        }
        if body.count() >= LINES && is_whole {
            body.underline = None;
        }
        // The mended lines say all that the line does.
        if body.count() >= LINES && is_whole && body.fix.len() > 1 {
            body.cited = None;
        }
        if body.count() >= LINES {
            body.consequence = None;
            follows = format!(": {}", printable(self.consequence.as_bytes()));
        }
        if body.count() >= LINES {
            body.underline = None;
        }
        if body.count() >= LINES {
            body.related = None;
        }
        if body.count() >= LINES {
            let room = (LINES - 2).saturating_sub(usize::from(body.cited.is_some()));
            let left = body.fix.len() - room;
            body.fix.truncate(room);
            body.fix.push(format!("           ({left} lines more)"));
        }
        let (place, bad) = (styles.place, styles.of(self.severity));
        let path = printable(origin.path.as_os_str().as_encoded_bytes());
        // libwrap's own words repeat what stands in the table.
        let message = printable(message.as_bytes());
        write!(out, "{place}{path}:{}:{}:{place:#} ", origin.line, origin.column)?;
        write!(out, "{bad}{severity}:{bad:#} {message}{follows} [{}]", self.label())?;
        let Body { cited, underline, fix, consequence, related } = body;
        let mut lines = cited.into_iter().chain(underline).chain(fix).chain(consequence).chain(related);
        lines.try_for_each(|line| write!(out, "\n{line}"))
    }

    /// The code, and how often and where else.
    fn label(&self) -> String {
        if self.more == 0 {
            return self.code.to_owned();
        }
        let line = |place: &Further| {
            let line = place.origin.line;
            match &place.by {
                None => line.to_string(),
                Some(by) if by.path == place.origin.path => format!("{line} (by line {})", by.line),
                Some(by) => format!("{line} (by {}:{})", by.path.display(), by.line),
            }
        };
        let mut lines: Vec<String> = self.places.iter().map(line).collect();
        lines.dedup();
        let is_all = lines.len() <= PLACES && self.places.len() == self.more;
        lines.truncate(PLACES);
        let end = if is_all { "" } else { ", ..." };
        match lines.len() {
            0 => format!("{}, {} times", self.code, self.more + 1),
            1 if is_all => format!("{}, {} times: also line {}", self.code, self.more + 1, lines.join("")),
            _ => format!("{}, {} times: also lines {}{end}", self.code, self.more + 1, lines.join(", ")),
        }
    }

    fn body(&self, styles: &Styles) -> Result<Body, fmt::Error> {
        let mut body = Body::default();
        self.cite(styles.of(self.severity), &mut body)?;
        let say = |label: &str, text: &str| {
            format!("  {}{label}:{:#} {}", styles.label, styles.label, printable(text.as_bytes()))
        };
        match &self.fix {
            Some(Fix::Replace(text)) => {
                for (index, line) in self.suggestion(text).iter().enumerate() {
                    body.fix.push(match index {
                        0 => say("perhaps", line),
                        _ => format!("           {}", printable(line.as_bytes())),
                    });
                }
            }
            Some(Fix::Advice(words)) => body.fix.push(say("advice", words)),
            None if self.expected.is_empty() => {}
            None => body.fix.push(say("expected", &self.expected)),
        }
        if !self.consequence.is_empty() {
            body.consequence = Some(say("consequence", &self.consequence));
        }
        if !self.related.is_empty() {
            let place = |related: &super::Related| {
                let at = &related.origin;
                format!("{}:{}:{}: {}", at.path.display(), at.line, at.column, related.note)
            };
            let mut text: Vec<String> = self.related.iter().take(RELATED).map(place).collect();
            if self.related.len() > RELATED {
                text.push(format!("{} more", self.related.len() - RELATED));
            }
            body.related = Some(say("see", &text.join("; ")));
        }
        Ok(body)
    }

    /// What to write, with a text in the marked place: the mended line as it is to be, or of a long one what is to
    /// be replaced by what.
    pub(crate) fn suggestion(&self, fix: &str) -> Vec<String> {
        let Some(marked) = self.marked() else {
            return fix.trim_start().split('\n').map(str::to_owned).collect();
        };
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (before, behind) = (text(&self.cited[..marked.start]), text(&self.cited[marked.end..]));
        let is_whole = before.trim().is_empty() && behind.trim().is_empty() && self.cited_from == 0;
        let mended = format!("{before}{fix}{behind}");
        let is_short = self.cited.len() <= super::WHOLE && mended.len() <= WHOLE;
        if is_whole && fix.trim().is_empty() {
            return vec!["delete this line".to_owned()];
        }
        if is_whole || is_short {
            return mended.trim().split('\n').map(str::to_owned).collect();
        }
        let old = text(&self.cited[marked]);
        let old = if old.len() <= QUOTED { format!("\"{old}\"") } else { "the marked text".to_owned() };
        let fix = fix.trim_start_matches('\n');
        vec![if fix.trim().is_empty() {
            format!("delete {old}")
        } else {
            format!("replace {old} by \"{fix}\"")
        }]
    }

    /// Which part of the cited text is marked.
    fn marked(&self) -> Option<std::ops::Range<usize>> {
        if self.cited.is_empty() {
            return None;
        }
        let start = (self.origin.column as usize - 1).saturating_sub(self.cited_from as usize);
        let start = start.min(self.cited.len());
        let end = (start + self.origin.length as usize).min(self.cited.len()).max(start);
        Some(start..end)
    }

    fn cite(&self, bad: Style, body: &mut Body) -> fmt::Result {
        let Some(std::ops::Range { start, end }) = self.marked() else { return Ok(()) };
        let first = start.saturating_sub(MARGIN);
        let left = if first > 0 || self.cited_from > 0 { "..." } else { "" };
        let last = self.cited.len().min(end.min(start + MARGIN) + MARGIN);
        let right = if last < self.cited.len() { "..." } else { "" };
        let before = printable(&self.cited[first..start]);
        let marked = printable(&self.cited[start..end.min(last)]);
        let after = printable(&self.cited[end.min(last)..last]);
        let mut cited = String::new();
        write!(cited, "{left}{before}{marked}{}{right}", after.trim_end())?;
        let blank: String = before.chars().map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
        let tildes = "~".repeat(marked.chars().count().saturating_sub(1));
        let mut underline = String::new();
        write!(underline, "{}{blank}{bad}^{tildes}{bad:#}", " ".repeat(left.len()))?;
        (body.cited, body.underline) = (Some(cited), Some(underline));
        Ok(())
    }
}

/// Text for a terminal: tabs stay, other control characters become U+FFFD, and characters that
/// deceive the eye are escaped.
fn printable(text: &[u8]) -> String {
    let mark = |c: char| if c.is_control() && c != '\t' { char::REPLACEMENT_CHARACTER } else { c };
    let text: String = String::from_utf8_lossy(text).chars().map(mark).collect();
    lookalike::escaped(&text)
}

#[cfg(test)]
mod tests {
    use std::{path::PathBuf, sync::Arc};

    use crate::parse::{
        code::Code,
        diagnostic::{Finding, Further},
        rule::Origin,
    };

    fn origin(column: u32, length: u32) -> Origin {
        Origin { path: Arc::new(PathBuf::from("t")), line: 3, column, length }
    }

    fn shown(column: u32, length: u32, cited: &[u8]) -> String {
        let finding = Finding::new(Code::W010, "odd", "even", "none");
        finding.replace("x").at(origin(column, length), cited).to_string()
    }

    #[test]
    fn cites_underlines_fixes_and_warns() {
        let want =
            "t:3:7: warning: odd [W010]\nsshd: 1.2\n      ^~~\n  perhaps: sshd: x\n  consequence: none";
        assert_eq!(shown(7, 3, b"sshd: 1.2"), want);
    }

    #[test]
    fn without_a_fix_it_says_what_was_expected() {
        let text = Finding::new(Code::W010, "odd", "even", "none").at(origin(1, 1), b"x").to_string();
        assert!(text.ends_with("\n  expected: even\n  consequence: none"), "{text}");
        assert!(!text.contains("perhaps"), "{text}");
    }

    #[test]
    fn a_fix_of_two_lines_takes_the_room_of_the_mark() {
        let finding = Finding::new(Code::E097, "two rules", "", "the second is lost").replace("a: b\nc: d");
        let want = "t:3:1: error: two rules [E097]\na: bc: d\n  perhaps: a: b\n           c: d\n  consequence: the second is lost";
        assert_eq!(finding.at(origin(1, 8), b"a: bc: d").to_string(), want);
    }

    #[test]
    fn of_a_long_line_only_the_part_is_shown() {
        let long = [&b"sshd: "[..], &b"192.0.2.1, ".repeat(40)].concat();
        let finding = Finding::new(Code::W010, "odd", "even", "none");
        let text = finding.clone().replace("x").at(origin(7, 9), &long).to_string();
        assert!(text.contains("\n  perhaps: replace \"192.0.2.1\" by \"x\"\n"), "{text}");
        let text = finding.replace("").at(origin(7, 9), &long).to_string();
        assert!(text.contains("\n  perhaps: delete \"192.0.2.1\"\n"), "{text}");
    }

    #[test]
    fn no_diagnostic_has_more_than_five_lines() {
        for lines in 1..9 {
            let finding =
                Finding::new(Code::E097, "two rules", "", "lost").replace(vec!["a: b"; lines].join("\n"));
            for related in 0..2 {
                let finding = (0..related).fold(finding.clone(), |it, _| it.relate(origin(1, 1), "note"));
                let text = finding.at(origin(1, 8), b"a: bc: d").to_string();
                assert!(text.lines().count() <= 5, "{text}");
            }
        }
    }

    #[test]
    fn one_cause_is_told_once_with_its_places() {
        let mut found = Finding::new(Code::W041, "odd", "", "none").at(origin(1, 1), b"x");
        found.more = 9;
        let place = |line| Further { origin: Origin { line, ..origin(1, 1) }, by: None };
        found.places = (4..11).map(place).collect();
        let text = found.to_string();
        assert!(text.contains("[W041, 10 times: also lines 4, 5, 6, 7, 8, ...]"), "{text}");
        found.more = 2;
        found.places = (4..6).map(|line| Further { by: Some(origin(2, 1)), ..place(line) }).collect();
        let text = found.to_string();
        assert!(text.contains("also lines 4 (by line 3), 5 (by line 3)]"), "{text}");
    }

    #[test]
    fn nothing_of_a_table_commands_the_terminal() {
        let finding = Finding::new(Code::E064, "bad option name: \"\x1b[31m\"", "", "none");
        let text = finding.at(origin(1, 1), b"\x1b[31m").to_string();
        assert!(!text.contains('\x1b') && text.contains("\"\u{fffd}[31m\""), "{text}");
    }

    #[test]
    fn what_deceives_the_eye_is_escaped() {
        let text = shown(3, 2, "a:\u{a0}allow".as_bytes());
        assert!(text.contains("\na:\\u{a0}allow\n  ^~~~~~\n"), "{text}");
    }

    #[test]
    fn underline_follows_tabs_and_characters() {
        let text = shown(5, 1, "\tö x".as_bytes());
        assert!(text.contains("\n\tö x\n\t  ^\n"), "{text}");
    }

    #[test]
    fn long_lines_are_cut_around_the_place() {
        for length in [2000, 2_000_000] {
            let text = shown(1001, 3, &vec![b'x'; length]);
            assert!(text.lines().all(|line| line.len() < 200), "{text}");
            assert!(text.contains("...xxx"));
        }
    }

    #[test]
    fn place_beyond_the_line_is_harmless() {
        assert!(shown(100, 100, b"ab").contains("ab\n  ^"));
    }

    #[test]
    fn no_control_character_reaches_the_terminal() {
        assert!(!shown(1, 2, b"a\x1b[31mb").contains('\x1b'));
    }
}
