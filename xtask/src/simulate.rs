//! `cargo xtask simulate`: the daemon in memory, through histories of many seeds.
//!
//! Out: the range of seeds; of a history that breaks a rule, what happened in it. Exit code 1: one did.
//! The same seed gives the same history always: `--seed S --seeds 1` shows it again.

use std::process::Command;

use anyhow::Result;

use crate::{
    build::{Profile, build_object, build_programs},
    command::run,
    setup,
};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The first seed [default: the time]
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    /// How many seeds, one after the other [default: 1000, or as many as fit the time]
    #[arg(long, value_name = "N")]
    seeds: Option<u64>,
    /// Ends after so many seconds
    #[arg(long, value_name = "T")]
    seconds: Option<u64>,
    /// Puts a bug in and says after how many seeds it is found: wrong-generation, lost-release,
    /// double-record, overtaking-reload, leaked-entry, lost-deadline or forgotten-rollback
    #[arg(long, value_name = "NAME")]
    plant: Option<String>,
    /// Prints everything that happens under the first seed
    #[arg(long)]
    trace: bool,
}

pub(crate) fn main(arguments: &Arguments) -> Result<()> {
    let Arguments { seed, seeds, seconds, plant, trace } = arguments;
    let toolchain = setup::for_build()?;
    build_object(toolchain)?;
    let tcpw = build_programs(Profile::Debug, &["tcpw", "tcpw-simulate"])?;
    let mut simulate = Command::new(tcpw.with_file_name("tcpw-simulate"));
    for (flag, number) in [("--seed", seed), ("--seeds", seeds), ("--seconds", seconds)] {
        if let Some(number) = number {
            simulate.arg(flag).arg(number.to_string());
        }
    }
    if let Some(plant) = plant {
        simulate.arg("--plant").arg(plant);
    }
    if *trace {
        simulate.arg("--trace");
    }
    run(&mut simulate)
}
