//! `cargo xtask bench under-load`: reloads of a long hosts.deny while clients connect.
//!
//! Out: how long a connection takes with and without reloads. Exit code 1: a client got a wrong verdict, or an allowed one
//! got none.

use std::{path::Path, process::Command};

use anyhow::{Context as _, Result, bail};

use super::json;
use crate::command::{is_root, say};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// How many networks are refused
    #[arg(long, default_value_t = 1_000_000)]
    networks: u32,
    /// Connections a second
    #[arg(long, default_value_t = 5000)]
    rate: u32,
    /// Seconds with reloads, and as many without
    #[arg(long, default_value_t = 15)]
    seconds: u32,
}

pub(super) fn under_load(bench: &Path, tcpw: &Path, arguments: &Arguments) -> Result<()> {
    if !is_root() {
        bail!("network namespaces need root");
    }
    let Arguments { networks, rate, seconds } = arguments;
    let words = ["under-load".to_owned(), networks.to_string(), rate.to_string(), seconds.to_string()];
    let run = json(Command::new(bench).args(words).env("TCPW_BIN", tcpw))?;
    let number = |key: &str| run[key].as_u64().with_context(|| format!("no {key}"));
    say(format_args!(
        "under load: {networks} networks, {rate} connections a second, {} reloads",
        number("reloads")?
    ));
    for (key, what) in [("without", "no reload"), ("with", "reloads")] {
        let ms = |name: &str| run[key][name].as_f64().with_context(|| format!("no {name}"));
        say(format_args!(
            "{what:10} {:7} connections: {:.2} ms, of a hundred one over {:.2} ms, of a thousand one over {:.2} ms",
            run[key]["connections"],
            ms("p50_ms")?,
            ms("p99_ms")?,
            ms("p999_ms")?
        ));
    }
    let (lost, wrong) = (number("lost")?, number("wrong")?);
    say(format_args!("lost {lost}; wrong {wrong} of {} with one right verdict", number("certain")?));
    if lost + wrong == 0 { Ok(()) } else { bail!("a connection was lost, or a verdict is wrong") }
}
