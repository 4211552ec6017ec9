//! `cargo xtask bench peers`: connections a second with tcpw, nftables and ipset, each with the same networks, beside no
//! filter at all.
//!
//! Out: of each way the ratio to no filter, of the rounds that were made in turn: median and quartiles. Exit code 1: tcpw is slower than it must be, or than one of the others.

use std::{path::Path, process::Command};

use anyhow::{Context as _, Result, bail};

use super::json;
use crate::{
    command::{is_root, say},
    setup,
};

/// At least so much of the connections a second without a filter.
const LEAST: f64 = 0.97;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// How many networks are refused
    #[arg(long, default_value_t = 100_000)]
    networks: u32,
    /// Rounds, each with all ways in turn
    #[arg(long, default_value_t = 60)]
    rounds: u32,
}

pub(super) fn peers(bench: &Path, tcpw: &Path, arguments: &Arguments) -> Result<()> {
    if !is_root() {
        bail!("network namespaces need root");
    }
    setup::for_peers()?;
    let words = ["peers".to_owned(), arguments.networks.to_string(), arguments.rounds.to_string()];
    let run = json(Command::new(bench).args(words).env("TCPW_BIN", tcpw))?;
    let rates = |way: &str| -> Result<Vec<f64>> {
        let all = run["rates"][way].as_array().with_context(|| format!("no rates of {way}"))?;
        all.iter().map(|rate| rate.as_f64().context("no rate")).collect()
    };
    let none = rates("none")?;
    say(format_args!("peers: {} networks, {} rounds", arguments.networks, none.len()));
    let mut medians = Vec::new();
    for way in ["none again", "tcpw", "nftables", "ipset"] {
        let ratios = rates(way)?.iter().zip(&none).map(|(rate, none)| rate / none).collect();
        let [low, median, high] = quartiles(ratios);
        say(format_args!("{way:10} {median:.3} ({low:.3} to {high:.3}) of no filter"));
        medians.push((way, median));
    }
    let of = |way: &str| medians.iter().find(|(known, _)| *known == way).map_or(0.0, |(_, median)| *median);
    let slower: Vec<_> = ["nftables", "ipset"].into_iter().filter(|peer| of("tcpw") <= of(peer)).collect();
    if of("tcpw") < LEAST {
        bail!("tcpw is below {LEAST} of no filter");
    }
    if slower.is_empty() { Ok(()) } else { bail!("tcpw is not above {}", slower.join(", ")) }
}

/// Of some figures the lower quartile, the median and the upper quartile.
fn quartiles(mut figures: Vec<f64>) -> [f64; 3] {
    figures.sort_unstable_by(f64::total_cmp);
    [1, 2, 3].map(|quarter| figures.get(figures.len() * quarter / 4).copied().unwrap_or(f64::NAN))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quartiles_are_of_the_figures_in_order() {
        assert_eq!(quartiles(vec![5.0, 1.0, 4.0, 2.0, 3.0]), [2.0, 3.0, 4.0]);
        assert!(quartiles(Vec::new())[0].is_nan());
    }
}
