//! `tcpw check --explain`: what a code means.

use std::io::Write;

use super::Failure;
use crate::{
    check::registry::{self, Entry, Sample},
    parse::diagnostic::Styles,
};

/// Columns of the text.
const WIDTH: usize = 78;

/// Explains a code; without one lists all.
pub(super) fn run(out: &mut impl Write, code: &str, styles: &Styles) -> Result<(), Failure> {
    if code.is_empty() {
        for Entry { code, .. } in registry::entries() {
            let (severity, style) = (code.severity(), styles.of(code.severity()));
            writeln!(out, "{code}  {style}{severity:<7}{style:#}  {}", code.title())?;
        }
        return Ok(());
    }
    let entry = registry::find(code).map_err(|near| {
        let near: Vec<&str> = near.iter().map(|code| code.as_str()).collect();
        let near =
            if near.is_empty() { String::new() } else { format!(", near ones are {}", near.join(", ")) };
        Failure::Usage(format!(
            "there is no code \"{code}\"{near}: \"tcpw check --explain\" lists all of them"
        ))
    })?;
    let Entry { code, text, wrong, consequence, right } = entry;
    let (severity, style) = (code.severity(), styles.of(code.severity()));
    writeln!(out, "{style}{code} ({severity}){style:#}: {}\n", code.title())?;
    writeln!(out, "{}\n", wrapped(text))?;
    samples(out, "Wrong", wrong)?;
    writeln!(out, "What libwrap does with it:\n{}\n", wrapped(consequence))?;
    samples(out, "Right", right)?;
    Ok(())
}

fn samples(out: &mut impl Write, title: &str, samples: &[Sample]) -> std::io::Result<()> {
    writeln!(out, "{title}:")?;
    for sample in samples {
        writeln!(out, "  {sample}")?;
    }
    if title == "Wrong" { writeln!(out) } else { Ok(()) }
}

/// Text in lines of at most [`WIDTH`] columns, indented by two.
fn wrapped(text: &str) -> String {
    let mut lines = vec![String::from(" ")];
    for word in text.split_whitespace() {
        if lines.last().is_some_and(|line| line.chars().count() + 1 + word.chars().count() > WIDTH) {
            lines.push(String::from(" "));
        }
        if let Some(line) = lines.last_mut() {
            line.push(' ');
            line.push_str(word);
        }
    }
    lines.join("\n")
}
