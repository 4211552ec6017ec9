//! `cargo xtask bench hostile`: tables that are made to be slow, from text to policy.
//!
//! Out: for each what it takes, divided by what a million addresses take, and the limit that it is beyond. Exit code 1: one
//! takes more than three times as long and is beyond no limit.

use std::{path::Path, process::Command};

use anyhow::{Context as _, Result, bail};

use super::json;
use crate::command::{output, say};

/// Most time, of that of the first shape.
const MOST: f64 = 3.0;

pub(super) fn hostile(bench: &Path) -> Result<()> {
    let mut of_first = None;
    let mut slow = Vec::new();
    for shape in output(Command::new(bench).arg("hostile"))?.lines() {
        let run = json(Command::new(bench).args(["hostile", shape]))?;
        let number = |key: &str| run[key].as_f64().with_context(|| format!("no {key} of {shape}"));
        let seconds = number("total_s")?;
        let ratio = seconds / *of_first.get_or_insert(seconds);
        let beyond = run["beyond"].as_str();
        let said = beyond.map(|beyond| format!("; {beyond}")).unwrap_or_default();
        say(format_args!(
            "hostile: {shape:50} {seconds:6.2} s, {ratio:5.2} of the first, {:5.0} MB peak{said}",
            number("peak_bytes")? / 1e6
        ));
        if ratio > MOST && beyond.is_none() {
            slow.push(shape.to_owned());
        }
    }
    if slow.is_empty() { Ok(()) } else { bail!("too slow: {}", slow.join(", ")) }
}
