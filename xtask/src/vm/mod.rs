//! `cargo xtask vm`: the tests that depend on the kernel, on the kernels Debian ships.
//!
//! In: the test programs as built for this host. Out: one line per test and kernel, the last
//! lines of what failed, an exit code. qemu emulates the processor: no KVM is needed, and
//! nothing of this machine but files is used.
//! The machines are the tests' own, so those run there too that judge every connection.

mod guest;
mod initramfs;
mod kernels;
mod report;

use std::{fs, path::PathBuf, thread, time::Duration};

use anyhow::{Context, Result, anyhow, bail};

use crate::{
    build::{Profile, build_object, build_other_layout, build_programs},
    command::{Prerequisite, cargo, output, run, say, target},
    setup,
};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Kernel series: some of 6.1, 6.12 [default: all]
    kernels: Vec<String>,
    /// Test programs, and `NAME::FILTER` for some tests of one [default: all that run there]
    #[arg(long = "test", value_name = "NAME")]
    tests: Vec<String>,
    /// Seconds one machine may take
    #[arg(long, value_name = "N", default_value_t = 600)]
    timeout: u64,
}

/// A test program and the arguments it is run with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    /// Its name in tests/Cargo.toml.
    test: String,
    /// Arguments of libtest.
    arguments: Vec<String>,
}

/// What runs in a machine, in this order: tests that need no more than the programs of a sandbox,
/// but for those of user space alone. Most of their time is waiting, hence the threads.
const RUNS: [(&str, &[&str]); 7] = [
    ("kernel", &[]),
    ("gate", &["--test-threads=4"]),
    ("held", &["--test-threads=4"]),
    ("lifecycle", &["--test-threads=3", "--skip=edit", "--skip=erroneous", "--skip=start_that_fails"]),
    ("upgrade", &["--test-threads=3"]),
    ("listeners", &["--skip=xinetd", "--skip=scan_of_everything"]),
    // They judge every connection of the machine: one at a time, and nowhere else.
    ("root", &["--include-ignored", "--test-threads=1"]),
];

pub(crate) fn main(arguments: &Arguments) -> Result<()> {
    let series = kernels::chosen(&arguments.kernels)?;
    let runs = chosen(&arguments.tests)?;
    let toolchain = setup::for_build()?;
    setup::for_vm()?;
    let other = build_other_layout(toolchain)?;
    build_object(toolchain)?;
    let mut programs =
        vec![build_programs(Profile::Debug, &["tcpw"])?, build_programs(Profile::Debug, &["testd"])?, other];
    let tests = build_tests(&runs)?;
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

fn chosen(tests: &[String]) -> Result<Vec<Run>> {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    if tests.is_empty() {
        return Ok(RUNS
            .map(|(test, arguments)| Run { test: test.into(), arguments: words(arguments) })
            .into());
    }
    tests
        .iter()
        .map(|wanted| {
            let (name, filter) =
                wanted.split_once("::").map_or((wanted.as_str(), None), |(n, f)| (n, Some(f)));
            let Some((test, arguments)) = RUNS.iter().find(|(test, _)| *test == name) else {
                let known = RUNS.map(|(test, _)| test).join(", ");
                return Err(anyhow!(Prerequisite(format!(
                    "no test {name} runs there: name some of {known}"
                ))));
            };
            let mut arguments = words(arguments);
            arguments.extend(filter.map(str::to_owned));
            Ok(Run { test: (*test).into(), arguments })
        })
        .collect()
}

/// Builds the test programs; the path of each.
fn build_tests(runs: &[Run]) -> Result<Vec<(String, PathBuf)>> {
    let build = || -> Result<std::process::Command> {
        let mut build = cargo("test")?;
        build.args(["--package", "tcpw-tests", "--no-run"]);
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

#[cfg(test)]
mod tests {
    use super::chosen;

    #[test]
    fn tests_are_named_with_a_filter_and_must_exist() {
        assert_eq!(chosen(&[]).map(|runs| runs.len()).ok(), Some(super::RUNS.len()));
        let runs = chosen(&["gate::mptcp".into()]).expect("a test of that name");
        assert_eq!(runs[0].test, "gate");
        assert_eq!(runs[0].arguments.last().map(String::as_str), Some("mptcp"));
        assert!(chosen(&["golden".into()]).is_err());
    }
}
