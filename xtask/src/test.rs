//! `cargo xtask test`: builds, then every test of the workspace.

use std::fs;

use anyhow::{Context, Result, anyhow};

use crate::{
    build::{Profile, build_object, build_other_layout, build_programs},
    command::{Prerequisite, cargo, is_root, run, say, target},
    setup,
};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Arguments of `cargo test`: `--test daemon`, a test's name, `-- --nocapture`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

pub(crate) fn main(arguments: &Arguments) -> Result<()> {
    if !is_root() {
        return Err(anyhow!(Prerequisite(
            "the tests load BPF programs and make network namespaces, which needs root: \
             use `sudo -E env PATH=$PATH cargo xtask test`"
                .into()
        )));
    }
    let toolchain = setup::for_build()?;
    setup::for_tests()?;
    let other = wants_upgrades(&arguments.arguments).then(|| build_other_layout(toolchain)).transpose()?;
    build_object(toolchain)?;
    let tcpw = build_programs(Profile::Debug, &["tcpw"])?;

    let skipped = target()?.join("skipped-tests");
    drop(fs::remove_file(&skipped));
    let mut tests = cargo("test")?;
    tests
        .args(["--workspace", "--exclude", "tcpw-ebpf"])
        .args(&arguments.arguments)
        .env("TCPW_BIN", tcpw)
        .env("TCPW_SKIPPED", &skipped);
    if let Some(other) = other {
        tests.env("TCPW_OTHER_LAYOUT", other);
    }
    let result = run(&mut tests);
    report(&skipped)?;
    result
}

/// Whether the tests of upgrades are among those that cargo runs.
fn wants_upgrades(arguments: &[String]) -> bool {
    let names_programs = arguments
        .iter()
        .any(|word| ["--test", "--lib", "--bin", "--doc"].iter().any(|flag| word.starts_with(flag)));
    !names_programs || arguments.iter().any(|word| word.contains("upgrade"))
}

/// Says which tests could not run; the tests wrote one line each.
fn report(skipped: &std::path::Path) -> Result<()> {
    if !skipped.exists() {
        say("no test was skipped");
        return Ok(());
    }
    let lines = fs::read_to_string(skipped).with_context(|| format!("read {}", skipped.display()))?;
    for line in lines.lines() {
        say(format_args!("skipped: {line}"));
    }
    Ok(())
}
