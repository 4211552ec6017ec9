//! `cargo xtask vm`: the tests that depend on the kernel, on the kernels Debian ships.
//!
//! In: the test programs as built for this host. Out: one line per test and kernel, the last
//! lines of what failed, an exit code. qemu emulates the processor: no KVM is needed, and
//! nothing of this machine but files is used.
//! The machines are the tests' own, so those run there too that judge every connection.

mod contents;
mod guest;
mod initramfs;
mod kernels;
mod report;
mod suites;

use std::{fs, path::PathBuf, thread, time::Duration};

use anyhow::{Context, Result, anyhow, bail};
use suites::Run;

use crate::{
    build::{Profile, WORKSPACE, build_object, build_other_layout, build_programs},
    command::{cargo, output, run, say, target},
    setup,
};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Kernel series: some of 6.1, 6.12 [default: all]
    kernels: Vec<String>,
    /// Test programs, and `NAME::FILTER` for some tests of one [default: those that wait for no real daemon]
    #[arg(long = "test", value_name = "NAME")]
    tests: Vec<String>,
    /// All tests that run there, those too that are told by their patience
    #[arg(long)]
    all: bool,
    /// Seconds one machine may take
    #[arg(long, value_name = "N", default_value_t = 2400)]
    timeout: u64,
}

pub(crate) fn main(arguments: &Arguments) -> Result<()> {
    let series = kernels::chosen(&arguments.kernels)?;
    let runs = suites::chosen(&arguments.tests, arguments.all)?;
    let toolchain = setup::for_build()?;
    setup::for_vm()?;
    let wants_upgrades = runs.iter().any(|run| run.test == "upgrade");
    let other = wants_upgrades.then(|| build_other_layout(toolchain)).transpose()?;
    build_object(toolchain)?;
    let tcpw = build_programs(Profile::Debug, &["tcpw", "testd"])?;
    let mut programs = vec![tcpw.with_file_name("testd"), tcpw];
    programs.extend(other);
    let tests = build_tests(&runs)?;
    for (test, program) in &tests {
        suites::check_left_out(test, program)?;
    }
    programs.extend(tests.iter().map(|(_, program)| program.clone()));

    let directory = target()?.join("vm");
    fs::create_dir_all(&directory).with_context(|| format!("make {}", directory.display()))?;
    let mut machines = Vec::new();
    for series in series {
        let kernel = kernels::fetch(series, &directory)?;
        let image = initramfs::make(&kernel, &directory, &programs, &runs)?;
        machines.push(guest::Machine { kernel, image, directory: directory.clone() });
    }
    let timeout = Duration::from_secs(arguments.timeout);
    let results = thread::scope(|scope| {
        let running: Vec<_> =
            machines.iter().map(|machine| scope.spawn(|| machine.run(&runs, timeout))).collect();
        running
            .into_iter()
            .map(|machine| machine.join().map_err(|_panic| anyhow!("a machine's thread panicked"))?)
            .collect::<Result<Vec<_>>>()
    })?;
    let failed: Vec<_> = results.iter().filter_map(report::Report::failure).collect();
    for result in &results {
        say(result);
    }
    if !failed.is_empty() {
        bail!("{}", failed.join("; "));
    }
    Ok(())
}

/// Builds the test programs; the path of each.
fn build_tests(runs: &[Run]) -> Result<Vec<(String, PathBuf)>> {
    let build = || -> Result<std::process::Command> {
        let mut build = cargo("test")?;
        build.args(WORKSPACE).arg("--no-run");
        for run in runs {
            build.args(["--test", &run.test]);
        }
        Ok(build)
    };
    // Once for a person, once for us: the second has nothing to do.
    run(&mut build()?)?;
    let messages = output(build()?.args(["--quiet", "--message-format=json"]))?;
    let mut found = Vec::new();
    for message in messages.lines().filter(|line| line.starts_with('{')) {
        let message: serde_json::Value = serde_json::from_str(message).context("read cargo's messages")?;
        let name = message["target"]["name"].as_str().unwrap_or_default();
        if let Some(program) = message["executable"].as_str()
            && message["profile"]["test"] == true
            && runs.iter().any(|run| run.test == name)
        {
            found.push((name.to_owned(), PathBuf::from(program)));
        }
    }
    if let Some(missing) = runs.iter().find(|run| found.iter().all(|(name, _)| *name != run.test)) {
        bail!("cargo built no test program {}", missing.test);
    }
    Ok(found)
}
