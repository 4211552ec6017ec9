//! What a client pays for being held.

use std::{path::Path, process::Command};

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::command::{output, say};

/// Most milliseconds of the median client beyond one that is not held.
const MOST_MS: f64 = 2.0;

/// Every path to a listener; those that took too long.
pub(crate) fn held(bench: &Path, tcpw: &Path) -> Result<Vec<String>> {
    let text = output(Command::new(bench).arg("held").env("TCPW_BIN", tcpw))?;
    let paths: Vec<Value> = serde_json::from_str(&text).context("read a measurement")?;
    let mut slow = Vec::new();
    for path in paths {
        let number = |key: &str| path[key].as_f64().with_context(|| format!("no {key} in {path}"));
        let name = path["path"].as_str().context("no path")?;
        let (held, unheld) = (number("held_ms")?, number("unheld_ms")?);
        say(format_args!(
            "held {name:30} {} clients, median {held:6.3} ms, not held {unheld:6.3} ms, slowest {:6.3} ms",
            path["clients"],
            number("slowest_held_ms")?
        ));
        if held - unheld > MOST_MS {
            slow.push(format!("held clients over {name} ({held:.1} ms)"));
        }
    }
    Ok(slow)
}
