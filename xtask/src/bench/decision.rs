//! `cargo xtask bench decision`: how long a decision takes in the kernel, with LPM tries and with flat tables.
//!
//! Out: a line for each address family and number of networks: nanoseconds of a decision about a client in a network and
//! in none, the ratio of the two forms, and the time to load. Both are measured in turn in one process; what the loop
//! itself takes is subtracted. Exit code 1: slower than it must be.

use std::{path::Path, process::Command};

use anyhow::{Context as _, Result, bail};

use super::json;
use crate::command::{is_root, say};

const FAMILIES: [&str; 2] = ["v4", "v6"];
const SIZES: [u32; 5] = [100, 1_000, 10_000, 100_000, 1_000_000];

/// How many times as fast as the tries the flat table must be for a client in a network; 0 where a policy has tries,
/// unless its settings ask for flat tables.
fn least_ratio(family: &str, networks: u32) -> f64 {
    match (family, networks) {
        ("v4", 10_000) => 5.0,
        ("v4", 100_000) => 12.0,
        ("v4", 1_000_000) => 7.0,
        ("v6", 100_000) => 2.0,
        ("v6", 1_000_000) => 3.0,
        ("v4", 100) | ("v6", _) => 0.0,
        _ => 1.0,
    }
}

pub(super) fn decision(bench: &Path) -> Result<()> {
    if !is_root() {
        bail!("the kernel's tables need root");
    }
    let mut slow = Vec::new();
    for family in FAMILIES {
        for networks in SIZES {
            let run = json(Command::new(bench).args(["decision", family, &networks.to_string()]))?;
            let number = |form: &str, key: &str| {
                run[form][key].as_f64().with_context(|| format!("no {key} of {form} in {run}"))
            };
            let (lpm_hit, flat_hit) = (number("lpm", "hit_ns")?, number("flat", "hit_ns")?);
            let (lpm_miss, flat_miss) = (number("lpm", "miss_ns")?, number("flat", "miss_ns")?);
            say(format_args!(
                "decision {family} {networks:8} networks: in a network LPM {lpm_hit:7.1} ns, flat {flat_hit:6.1} ns, \
                 {:5.1} times; in none {lpm_miss:7.1} ns, {flat_miss:6.1} ns, {:5.1} times; loaded in {:7.1} ms, \
                 {:6.1} ms; flat {:5.1} bytes a network",
                lpm_hit / flat_hit,
                lpm_miss / flat_miss,
                number("lpm", "load_ms")?,
                number("flat", "load_ms")?,
                number("flat", "bytes")? / f64::from(networks),
            ));
            if lpm_hit / flat_hit < least_ratio(family, networks) {
                slow.push(format!("{family}, {networks} networks"));
            }
        }
    }
    if slow.is_empty() { Ok(()) } else { bail!("flat tables are too slow: {}", slow.join("; ")) }
}
