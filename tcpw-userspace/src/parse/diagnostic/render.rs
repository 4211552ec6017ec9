//! Diagnostics as text.

use std::fmt;

use anstyle::{AnsiColor, Style};

use super::{Diagnostic, Severity};

/// Bytes shown before and after an underlined stretch.
const MARGIN: usize = 70;

/// Most related places shown.
const RELATED: usize = 8;

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

impl Diagnostic {
    /// Writes it, several lines, without a newline at the end.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn render(&self, out: &mut impl fmt::Write, styles: &Styles) -> fmt::Result {
        let Self { severity, code, message, expected, consequence, .. } = self;
        let (place, bad) = (styles.place, styles.of(self.severity));
        let origin = &self.origin;
        let path = printable(origin.path.as_os_str().as_encoded_bytes());
        // libwrap's own words repeat what stands in the table.
        let message = printable(message.as_bytes());
        write!(out, "{place}{path}:{}:{}:{place:#} ", origin.line, origin.column)?;
        write!(out, "{bad}{severity}:{bad:#} {message} [{code}]")?;
        self.cite(out, bad)?;
        let mut say = |label: &str, text: &dyn fmt::Display| {
            write!(out, "\n  {}{label}:{:#} {text}", styles.label, styles.label)
        };
        if !expected.is_empty() {
            say("expected", expected)?;
        }
        match &self.fix {
            Some(fix) => say("perhaps", &printable(fix.to_string().as_bytes()))?,
            // Every code has an example that is right.
            None => say("perhaps", &format_args!("see tcpw check --explain {code}"))?,
        }
        say("consequence", consequence)?;
        for related in self.related.iter().take(RELATED) {
            let at = &related.origin;
            say(
                "see",
                &printable(
                    format!("{}:{}:{}: {}", at.path.display(), at.line, at.column, related.note).as_bytes(),
                ),
            )?;
        }
        if self.related.len() > RELATED {
            say("see", &format_args!("{} places more", self.related.len() - RELATED))?;
        }
        if self.more > 0 {
            say("not listed", &format_args!("{} more [{code}] in this file", self.more))?;
        }
        Ok(())
    }

    fn cite(&self, out: &mut impl fmt::Write, bad: Style) -> fmt::Result {
        if self.cited.is_empty() {
            return Ok(());
        }
        let start = (self.origin.column as usize - 1).saturating_sub(self.cited_from as usize);
        let start = start.min(self.cited.len());
        let end = (start + self.origin.length as usize).min(self.cited.len()).max(start);
        let first = start.saturating_sub(MARGIN);
        let left = if first > 0 || self.cited_from > 0 { "..." } else { "" };
        let last = self.cited.len().min(end.min(start + MARGIN) + MARGIN);
        let right = if last < self.cited.len() { "..." } else { "" };
        let before = printable(&self.cited[first..start]);
        let marked = printable(&self.cited[start..end.min(last)]);
        let after = printable(&self.cited[end.min(last)..last]);
        write!(out, "\n{left}{before}{marked}{}{right}", after.trim_end())?;
        let blank: String = before.chars().map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
        let tildes = "~".repeat(marked.chars().count().saturating_sub(1));
        write!(out, "\n{}{blank}{bad}^{tildes}{bad:#}", " ".repeat(left.len()))
    }
}

/// Text for a terminal: tabs stay, other control characters become `?`-like marks.
fn printable(text: &[u8]) -> String {
    let mark = |c: char| if c.is_control() && c != '\t' { char::REPLACEMENT_CHARACTER } else { c };
    String::from_utf8_lossy(text).chars().map(mark).collect()
}

#[cfg(test)]
mod tests {
    use std::{path::PathBuf, sync::Arc};

    use crate::parse::{code::Code, diagnostic::Finding, rule::Origin};

    fn shown(column: u32, length: u32, cited: &[u8]) -> String {
        let origin = Origin { path: Arc::new(PathBuf::from("t")), line: 3, column, length };
        let finding = Finding::new(Code::W010, "odd", "even", "none");
        finding.replace("x").at(origin, cited).to_string()
    }

    #[test]
    fn cites_underlines_expects_fixes_and_warns() {
        let want = "t:3:7: warning: odd [W010]\nsshd: 1.2\n      ^~~\n  expected: even\n  perhaps: x\n  \
                    consequence: none";
        assert_eq!(shown(7, 3, b"sshd: 1.2"), want);
    }

    #[test]
    fn without_a_fix_the_codes_example_is_named() {
        let origin = Origin { path: Arc::new(PathBuf::from("t")), line: 1, column: 1, length: 1 };
        let text = Finding::new(Code::W010, "odd", "even", "none").at(origin, b"x").to_string();
        assert!(
            text.contains("\n  expected: even\n  perhaps: see tcpw check --explain W010\n  consequence"),
            "{text}"
        );
    }

    #[test]
    fn nothing_of_a_table_commands_the_terminal() {
        let origin = Origin { path: Arc::new(PathBuf::from("t")), line: 1, column: 1, length: 1 };
        let finding = Finding::new(Code::E064, "bad option name: \"\x1b[31m\"", "", "none");
        let text = finding.at(origin, b"\x1b[31m").to_string();
        assert!(!text.contains('\x1b') && text.contains("\"\u{fffd}[31m\""), "{text}");
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
