//! The text of an error number.

use std::io;

/// strerror(3)'s text, without what Rust appends to it.
pub(crate) fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    match text.rfind(" (os error ") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}
