//! `cargo xtask conformance`: generated cases for the real libwrap and for tcpw.
//!
//! Out: every case on which they disagree, as a line for tests/corpus/cases.jsonl, and how the
//! cases are spread over the language. Exit code 1: they disagree.

use std::process::Command;

use anyhow::{Result, anyhow};

use crate::{
    build::{Profile, build_object, build_programs},
    command::{Prerequisite, is_root, run},
    setup,
};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// How many cases
    #[arg(long, default_value_t = 100_000)]
    cases: u64,
    /// Asks the cases of an earlier run again; fresh ones by default
    #[arg(long)]
    seed: Option<u64>,
}

pub(crate) fn main(arguments: &Arguments) -> Result<()> {
    if !is_root() {
        return Err(anyhow!(Prerequisite(
            "the real libwrap is asked in namespaces of its own, which needs root: \
             use `sudo -E env PATH=$PATH cargo xtask conformance`"
                .into()
        )));
    }
    let toolchain = setup::for_build()?;
    setup::for_conformance()?;
    build_object(toolchain)?;
    let tcpw = build_programs(Profile::Debug, &["tcpw", "tcpw-conformance", "tcpw-oracle"])?;
    let mut conformance = Command::new(tcpw.with_file_name("tcpw-conformance"));
    conformance.arg("--cases").arg(arguments.cases.to_string()).env("TCPW_BIN", tcpw);
    if let Some(seed) = arguments.seed {
        conformance.arg("--seed").arg(seed.to_string());
    }
    run(&mut conformance)
}
