//! What a client pays for being held, and for having its name looked up.

use std::{path::Path, process::Command};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::json;
use crate::command::{output, say};

/// Most milliseconds of the median client beyond one that is not held, or beyond the look-up of its name.
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

/// Clients whose verdict hangs on their names; those that took too long beside the look-up itself.
pub(crate) fn named(bench: &Path, tcpw: &Path) -> Result<Vec<String>> {
    let text = output(Command::new(bench).arg("named").env("TCPW_BIN", tcpw))?;
    let paths: Vec<Value> = serde_json::from_str(&text).context("read a measurement")?;
    let mut slow = Vec::new();
    for path in paths {
        let number = |key: &str| path[key].as_f64().with_context(|| format!("no {key} in {path}"));
        let name = path["path"].as_str().context("no path")?;
        let beyond = number("beyond_ms")?;
        say(format_args!(
            "name {name:30} {} clients, median {:6.3} ms, look-up alone {:6.3} ms, beyond it {beyond:6.3} ms",
            path["clients"],
            number("held_ms")?,
            number("lookup_ms")?
        ));
        if beyond > MOST_MS {
            slow.push(format!("clients with names over {name} ({beyond:.1} ms beyond the look-up)"));
        }
    }
    Ok(slow)
}

/// What each program in the kernel takes for a call; nothing is demanded of it.
///
/// The kernel's counting is in it; a program that reports may wake the daemon, which takes microseconds.
pub(crate) fn hooks(bench: &Path, tcpw: &Path) -> Result<()> {
    let text = output(Command::new(bench).arg("hooks").env("TCPW_BIN", tcpw))?;
    let programs: Vec<Value> = serde_json::from_str(&text).context("read a measurement")?;
    for program in programs {
        let name = program["program"].as_str().context("no program")?;
        let load = program["load"].as_str().context("no load")?;
        say(format_args!("{load:21} {name:15} {:>6} calls, {:>5} ns each", program["runs"], program["ns"]));
    }
    Ok(())
}

/// A flood of forged SYNs, in windows of half a minute: cost and memory do not grow, and clients that are there do not
/// wait a second.
pub(super) fn forged(bench: &Path, tcpw: &Path, seconds: u32) -> Result<()> {
    const MOST_MS: f64 = 1000.0;
    let text = output(Command::new(bench).args(["forged", &seconds.to_string()]).env("TCPW_BIN", tcpw))?;
    let windows: Vec<Value> = serde_json::from_str(&text).context("read a measurement")?;
    let mut slow = 0_usize;
    for window in &windows {
        let number = |key: &str| window[key].as_f64().with_context(|| format!("no {key} in {window}"));
        let most = number("most_ms")?;
        slow += usize::from(most > MOST_MS);
        say(format_args!(
            "{:6} forged SYNs, {:5.1} us each; {:.0} MB and {:.0} MB of memory; log {:6.0} kB; {} clients: median {:.1} ms, \
             at most {most:.1} ms",
            window["syns"],
            number("us_a_syn")?,
            number("memory_kb")? / 1e3,
            number("lookups_memory_kb")? / 1e3,
            number("log_bytes")? / 1e3,
            window["clients"],
            number("median_ms")?,
        ));
    }
    if slow == 0 {
        Ok(())
    } else {
        bail!("in {slow} of {} windows a client waited longer than a second", windows.len())
    }
}

/// What a refused client takes of the processor, by the way it is refused: the least of some rounds in turn.
pub(super) fn refusals(bench: &Path, tcpw: &Path) -> Result<()> {
    const HOW: [&str; 3] = ["drop", "reset", "close"];
    const ROUNDS: usize = 3;
    let mut least = [[f64::INFINITY; 2]; HOW.len()];
    for _round in 0..ROUNDS {
        for (how, least) in HOW.iter().zip(&mut least) {
            let run = json(Command::new(bench).args(["refusals", how]).env("TCPW_BIN", tcpw))?;
            for (key, least) in ["client_ns", "daemon_ns"].iter().zip(least) {
                *least = least.min(run[*key].as_f64().with_context(|| format!("no {key} in {run}"))?);
            }
        }
    }
    let [[dropped, _], ..] = least;
    for (how, [client, daemon]) in HOW.iter().zip(least) {
        say(format_args!(
            "refused by {how:5} {:6.1} us of a processor for each client ({:.2} of a SYN that is dropped), {:6.1} us of tcpw's",
            client / 1e3,
            client / dropped,
            daemon / 1e3
        ));
    }
    Ok(())
}
