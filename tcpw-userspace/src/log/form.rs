//! The forms that sinks take a record in.
//!
//! In: nothing. Out: a type for each form, and [`Forms`], by which a record is rendered. No I/O.
//! Invariant: this room knows no record; what renders one is in `record`.

use super::{JournalEntry, LogEntry, line::Renderer};

/// What can be rendered in every form.
pub trait Forms {
    /// Whether it is to be written; else it is part of a count.
    fn is_written(&self) -> bool {
        true
    }

    /// As libwrap's daemons write it; `host` is this host's name.
    fn line(&self, host: &str) -> LogEntry;
    /// As one JSON object.
    fn json(&self) -> JsonLine;
    /// As an entry of the journal; `host` as for [`Forms::line`].
    fn journal(&self, host: &str) -> JournalEntry;
}

/// One JSON object on a line of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonLine(Vec<u8>);

impl JsonLine {
    /// The line of an object, which is written without line breaks.
    pub fn new(mut object: Vec<u8>) -> Self {
        object.push(b'\n');
        Self(object)
    }

    /// Its bytes, with the newline.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// A form that is a line of a file or a stream.
pub(super) trait AsLine {
    /// Appends the line, with its newline.
    fn push_line(&self, renderer: &mut Renderer, out: &mut Vec<u8>);
}

impl AsLine for LogEntry {
    fn push_line(&self, renderer: &mut Renderer, out: &mut Vec<u8>) {
        renderer.line(self, out);
    }
}

impl AsLine for JsonLine {
    fn push_line(&self, _renderer: &mut Renderer, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0);
    }
}
