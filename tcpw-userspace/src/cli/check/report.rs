//! The check for a person: the diagnostics, and a line that sums them up.

use std::{fmt, io::Write};

use super::Failure;
use crate::{
    check::{Checked, Counts},
    parse::diagnostic::{Severity, Styles},
};

/// Writes the diagnostics and, unless told not to, the summary.
pub(super) fn write(
    out: &mut impl Write,
    checked: &Checked,
    counts: Counts,
    styles: &Styles,
    with_summary: bool,
) -> Result<(), Failure> {
    let mut text = String::new();
    for diagnostic in &checked.diagnostics {
        text.clear();
        // Writing to a String cannot fail.
        let _ = diagnostic.render(&mut text, styles);
        writeln!(out, "{text}\n")?;
    }
    if with_summary {
        let rules = checked.tables.allow.rules.len() + checked.tables.deny.rules.len();
        writeln!(out, "{}", summary(counts, rules, styles))?;
    }
    Ok(())
}

fn summary(counts: Counts, rules: usize, styles: &Styles) -> String {
    let Counts { errors, warnings, hints } = counts;
    let coloured = |severity, count, what| {
        let style = styles.of(severity);
        format!("{style}{}{style:#}", Number(count, what))
    };
    let mut parts = Vec::new();
    if errors + warnings == 0 {
        parts.push(format!("no mistakes found in {}", Number(rules, "rule")));
    }
    let kinds = [
        (Severity::Error, errors, "error"),
        (Severity::Warning, warnings, "warning"),
        (Severity::Hint, hints, "hint"),
    ];
    let found = kinds.into_iter().filter(|(_, count, _)| *count > 0);
    parts.extend(found.map(|(severity, count, what)| coloured(severity, count, what)));
    parts.join(", ")
}

/// A number of things, in the right number.
struct Number(usize, &'static str);

impl fmt::Display for Number {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(count, what) = self;
        write!(out, "{count} {what}{}", if *count == 1 { "" } else { "s" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    macro_rules! sums {
        ($($name:ident: $errors:expr, $warnings:expr, $hints:expr, $rules:expr => $want:expr;)*) => { $(#[test] fn $name() {
            let counts = Counts { errors: $errors, warnings: $warnings, hints: $hints };
            assert_eq!(summary(counts, $rules, &Styles::default()), $want);
        })* };
    }

    sums! {
        clean: 0, 0, 0, 12 => "no mistakes found in 12 rules";
        only_hints: 0, 0, 1, 1 => "no mistakes found in 1 rule, 1 hint";
        all: 1, 2, 3, 5 => "1 error, 2 warnings, 3 hints";
        no_hints: 0, 1, 0, 5 => "1 warning";
    }
}
