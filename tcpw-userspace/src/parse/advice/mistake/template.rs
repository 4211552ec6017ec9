//! A table that a program has yet to fill in.

use super::{Cut, Mistake, option_name, takes_text};
use crate::parse::advice::{Code, Finding, quote};

/// Marks of template languages, and how they end: Jinja, Go, ERB, the shell.
const MARKS: [(&[u8], &[u8]); 5] =
    [(b"{{", b"}}"), (b"{%", b"%}"), (b"{#", b"#}"), (b"<%", b"%>"), (b"${", b"}")];

/// A line with a place that a program fills in.
pub(super) fn template(cut: &Cut<'_>) -> Option<Mistake> {
    let text = cut.text();
    // In a command these are the shell's.
    let command = cut.fields.iter().find(|field| takes_text(&option_name(&field.text)));
    let end = command.map_or(text.len(), |field| field.span.start).min(text.len());
    let at = |mark: &[u8]| text[..end].windows(mark.len()).position(|window| window == mark);
    let (start, (open, close)) =
        MARKS.iter().filter_map(|mark| Some((at(mark.0)?, mark))).min_by_key(|it| it.0)?;
    let behind = &text[start + open.len()..];
    let length = behind.windows(close.len()).position(|window| window == *close);
    let length = length.map_or(text.len() - start, |length| open.len() + length + close.len());
    let finding = Finding::new(
        Code::W170,
        format!(
            "{} is filled in by a program: this is a template, not a table",
            quote(&text[start..start + length])
        ),
        "the table that the program makes of it",
        "checked as it stands it means something else: check the file that is put in place",
    );
    Some(Mistake { place: (start, length, finding), covers: 0..usize::MAX })
}
