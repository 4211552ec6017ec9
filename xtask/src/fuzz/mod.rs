//! `cargo xtask fuzz`: libFuzzer on tests/fuzz, from the seeds of the tests, for some seconds each.
//!
//! What breaks stays in tests/corpus/fuzz/TARGET/, where the test `fuzz_regression` replays it; what
//! only reaches new branches stays in target/fuzz/corpus/TARGET/ for the next run.
//! The host's own toolchain builds it: RUSTC_BOOTSTRAP=1 lets a stable compiler take the flags that
//! cargo-fuzz expects a nightly for.

mod seeds;

use std::{fs, process::Command};

use anyhow::{Context, Result, anyhow, bail};

use crate::{
    command::{Prerequisite, cargo, run, say, shown, workspace},
    setup,
};

/// Where the targets live.
const FUZZ: &str = "tests/fuzz";

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Targets: the programs of tests/fuzz/fuzz_targets [default: all]
    targets: Vec<String>,
    /// How long each one runs
    #[arg(long, value_name = "N", default_value_t = 60)]
    seconds: u32,
    /// Inputs each one tries, whatever time they take: with a seed, the same ones every time
    #[arg(long, value_name = "N", conflicts_with = "seconds")]
    runs: Option<u32>,
    /// Seed of what is tried [default: another one every time]
    #[arg(long, value_name = "N")]
    seed: Option<u32>,
    /// Sanitizer: the parsers have no unsafe code, so none is the fastest; or address
    #[arg(long, default_value = "none")]
    sanitizer: String,
}

pub(crate) fn main(arguments: &Arguments) -> Result<()> {
    let all = targets()?;
    if let Some(unknown) = arguments.targets.iter().find(|target| !all.contains(target)) {
        let known = all.join(", ");
        return Err(anyhow!(Prerequisite(format!("there is no target {unknown}: name some of {known}"))));
    }
    let targets = if arguments.targets.is_empty() { &all } else { &arguments.targets };
    setup::for_fuzz()?;

    say(format_args!("building the fuzz targets, sanitizer {}", arguments.sanitizer));
    run(&mut cargo_fuzz("build", arguments)?)?;
    let mut broken = Vec::new();
    for target in targets {
        seeds::write(target)?;
        let mut fuzzer = fuzzer(target, arguments)?;
        match arguments.runs {
            Some(runs) => say(format_args!("{target}: {runs} inputs")),
            None => say(format_args!("{target}: {} seconds", arguments.seconds)),
        }
        let done = fuzzer.output().with_context(|| format!("start {}", shown(&fuzzer)))?;
        let said = String::from_utf8_lossy(&done.stderr);
        if done.status.success() {
            let tried = said.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units:"));
            let tried =
                tried.ok_or_else(|| anyhow!("{target} did not say how many inputs it tried: {said}"))?;
            say(format_args!("{target}: {} inputs, nothing broke", tried.trim()));
        } else {
            say(format_args!("{target}: {}\n{said}", done.status));
            broken.push(target.as_str());
        }
    }
    if !broken.is_empty() {
        bail!(
            "{} broke: the input is in tests/corpus/fuzz; mend it, and commit the input",
            broken.join(", ")
        );
    }
    Ok(())
}

/// Every target, by its program's name.
fn targets() -> Result<Vec<String>> {
    let directory = workspace()?.join(FUZZ).join("fuzz_targets");
    let files = fs::read_dir(&directory).with_context(|| format!("read {}", directory.display()))?;
    let mut targets = files
        .filter_map(|file| Some(file.ok()?.path().file_stem()?.to_str()?.to_owned()))
        .collect::<Vec<_>>();
    targets.sort();
    Ok(targets)
}

fn cargo_fuzz(subcommand: &str, arguments: &Arguments) -> Result<Command> {
    let mut cargo = cargo("fuzz")?;
    cargo
        .args([subcommand, "--fuzz-dir", FUZZ, "--target-dir", "target/fuzz"])
        .args(["--no-default-features", "--features", "libfuzzer", "--sanitizer", &arguments.sanitizer])
        .env("RUSTC_BOOTSTRAP", "1");
    Ok(cargo)
}

/// The fuzzer of one target; the first directory gets what it learns.
fn fuzzer(target: &str, arguments: &Arguments) -> Result<Command> {
    let workspace = workspace()?;
    let learnt = workspace.join("target/fuzz/corpus").join(target);
    let found = workspace.join("tests/corpus/fuzz").join(target);
    for directory in [&learnt, &found] {
        fs::create_dir_all(directory).with_context(|| format!("make {}", directory.display()))?;
    }
    let mut fuzzer = cargo_fuzz("run", arguments)?;
    fuzzer.arg(target).args([&learnt, &seeds::directory(target)?, &found]).arg("--");
    match arguments.runs {
        Some(runs) => fuzzer.arg(format!("-runs={runs}")),
        None => fuzzer.arg(format!("-max_total_time={}", arguments.seconds)),
    };
    if let Some(seed) = arguments.seed {
        fuzzer.arg(format!("-seed={seed}"));
    }
    fuzzer
        .arg(format!("-artifact_prefix={}/", found.display()))
        .arg(format!("-dict={}", workspace.join(FUZZ).join("words.dict").display()))
        // An input of this size that takes seconds is a finding: nothing is slower than linear.
        .args(["-max_len=8192", "-timeout=10", "-rss_limit_mb=1024", "-print_final_stats=1", "-verbosity=0"]);
    Ok(fuzzer)
}
