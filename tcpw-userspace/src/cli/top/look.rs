//! What the terminal can show: letters beyond ASCII, colours; and text cut to a width.
//!
//! In: the environment. Out: text and styles. Invariant: pure but for [`Look::of_environment`]; nothing that is shown depends
//! on a colour alone.

use ratatui::{
    style::{Color, Modifier, Style},
    symbols::border,
    text::Span,
};

/// What the terminal can show.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    pub(super) is_utf8: bool,
    pub(super) is_coloured: bool,
}

/// Before all but the first line of a long one.
const INDENT: &str = "    ";

const ASCII: border::Set<'_> = border::Set {
    top_left: "+",
    top_right: "+",
    bottom_left: "+",
    bottom_right: "+",
    vertical_left: "|",
    vertical_right: "|",
    horizontal_top: "-",
    horizontal_bottom: "-",
};

impl Look {
    /// As locale(7) and NO_COLOR say.
    pub(super) fn of_environment() -> Self {
        let names = ["LC_ALL", "LC_CTYPE", "LANG"];
        let locale = names.into_iter().filter_map(std::env::var_os).find(|value| !value.is_empty());
        let locale = locale.map(|it| it.to_string_lossy().to_lowercase()).unwrap_or_default();
        Self {
            is_utf8: locale.contains("utf-8") || locale.contains("utf8"),
            is_coloured: std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
        }
    }

    /// The frame of a box.
    pub(super) fn border(self) -> border::Set<'static> {
        if self.is_utf8 { border::PLAIN } else { ASCII }
    }

    /// A style that a colour underlines, if there are colours.
    pub(super) fn style(self, modifier: Modifier, colour: Color) -> Style {
        let style = Style::new().add_modifier(modifier);
        if self.is_coloured { style.fg(colour) } else { style }
    }

    /// What needs the administrator.
    pub(super) fn alarm(self) -> Style {
        self.style(Modifier::BOLD, Color::Red)
    }

    /// Text that the terminal can show, in exactly so many columns; what was cut off is marked.
    pub(super) fn fit(self, text: &str, width: u16, is_right: bool) -> String {
        let (text, width) = (self.safe(text), usize::from(width));
        let own = columns(&text);
        if own <= width {
            let space = " ".repeat(width - own);
            return if is_right { space + &text } else { text + &space };
        }
        let mark = if self.is_utf8 { "\u{2026}" } else { "~" };
        let mut cut = self.start(&text, width.saturating_sub(1)).to_owned();
        cut += &" ".repeat(width.saturating_sub(1).saturating_sub(columns(&cut)));
        if width > 0 { cut + mark } else { cut }
    }

    /// Lines of at most so many columns, the later ones indented; cut at a blank, if there is one.
    pub(super) fn wrap(self, text: &str, width: u16) -> Vec<String> {
        let text = self.safe(text);
        let width = usize::from(width).max(INDENT.len() + 2);
        let mut line = self.start(&text, width);
        let mut rest = &text[line.len()..];
        let mut lines = Vec::new();
        while !rest.is_empty() && !line.is_empty() {
            if let Some(behind) = rest.strip_prefix(' ') {
                rest = behind;
            } else if let Some(blank) = line.rfind(' ').filter(|blank| !line[..*blank].trim().is_empty()) {
                rest = &text[text.len() - rest.len() - (line.len() - blank - 1)..];
                line = &line[..blank];
            }
            lines.push(line);
            line = self.start(rest, width - INDENT.len());
            rest = &rest[line.len()..];
        }
        lines.push(line);
        let indents = std::iter::once("").chain(std::iter::repeat(INDENT));
        indents.zip(lines).map(|(indent, line)| format!("{indent}{line}")).collect()
    }

    /// The start of a text that has at most so many columns.
    fn start(self, text: &str, width: usize) -> &str {
        let mut used = 0;
        for (at, character) in text.char_indices() {
            used += columns(character.encode_utf8(&mut [0; 4]));
            if used > width {
                return &text[..at];
            }
        }
        text
    }

    fn safe(self, text: &str) -> String {
        if self.is_utf8 || text.is_ascii() {
            return text.to_owned();
        }
        let mut safe = String::new();
        for character in text.chars() {
            if character.is_ascii() {
                safe.push(character);
            } else {
                safe.extend(character.escape_unicode());
            }
        }
        safe
    }
}

fn columns(text: &str) -> usize {
    Span::raw(text).width()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_has_the_width_it_is_given() {
        let utf8 = Look { is_utf8: true, is_coloured: false };
        let ascii = Look { is_utf8: false, ..utf8 };
        assert_eq!(utf8.fit("abc", 5, false), "abc  ");
        assert_eq!(utf8.fit("abc", 5, true), "  abc");
        assert_eq!(utf8.fit("abcdef", 5, true), "abcd\u{2026}");
        assert_eq!(ascii.fit("abcdef", 5, false), "abcd~");
        assert_eq!(ascii.fit("\u{e4}", 9, false), "\\u{e4}   ");
        // Two columns each.
        assert_eq!(utf8.fit("\u{4e2d}\u{4e2d}\u{4e2d}", 4, false), "\u{4e2d} \u{2026}");
        assert_eq!((utf8.fit("abc", 0, false), utf8.fit("", 2, false)), (String::new(), "  ".into()));
        assert_eq!(utf8.wrap("abcdefghij", 8), ["abcdefgh", "    ij"]);
        assert_eq!(
            utf8.wrap("ab cd efghij klmnop", 8),
            ["ab cd", "    efgh", "    ij", "    klmn", "    op"]
        );
        assert_eq!(utf8.wrap("ab cdefg hi", 8), ["ab cdefg", "    hi"]);
        assert_eq!(utf8.wrap("  abcdefgh", 8), ["  abcdef", "    gh"]);
        assert_eq!(
            (utf8.wrap("", 4), utf8.wrap("abc def", 7)),
            (vec![String::new()], vec!["abc def".into()])
        );
    }
}
