//! `cargo xtask test`: builds, then every test of the workspace.

use std::fs;

use anyhow::{Context, Result, anyhow};

use crate::{
    build::{Profile, WORKSPACE, build_object, build_other_layout, build_programs},
    command::{Prerequisite, cargo, is_root, run, say, target, workspace},
    setup,
};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Arguments of `cargo test`: `--test gate`, `--test golden`, a test's name, `-- --nocapture`
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
        .args(WORKSPACE)
        .args(in_programs(&arguments.arguments, &offline_modules()?))
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

/// The program whose modules can be named as if each were a program of its own.
const OFFLINE: &str = "offline";

/// Names of its modules.
fn offline_modules() -> Result<Vec<String>> {
    let file = workspace()?.join("tests").join(OFFLINE).with_extension("rs");
    let text = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
    let names = text.lines().filter_map(|line| line.strip_prefix("mod ")?.strip_suffix(';'));
    Ok(names.map(|name| name.trim_start_matches("r#").to_owned()).collect())
}

/// The arguments with `--test MODULE` as cargo knows it: `--test offline`, and the module's tests unless tests are named.
fn in_programs(arguments: &[String], modules: &[String]) -> Vec<String> {
    let end = arguments.iter().position(|word| word == "--").unwrap_or(arguments.len());
    let (own, behind) = arguments.split_at(end);
    let (mut programs, mut wanted, mut more) = (Vec::new(), Vec::new(), Vec::new());
    let mut words = own.iter();
    while let Some(word) = words.next() {
        let name = match word.strip_prefix("--test=") {
            Some(name) => Some(name.to_owned()),
            None if word == "--test" => words.next().cloned(),
            None => None,
        };
        match name {
            Some(name) if modules.contains(&name) => wanted.push(name),
            Some(name) => programs.push(name),
            None => more.push(word.clone()),
        }
    }
    let names_tests = more.iter().any(|word| !word.starts_with('-'));
    let is_alone = programs.is_empty();
    if !wanted.is_empty() {
        programs.push(OFFLINE.to_owned());
    }
    let mut all: Vec<String> = programs.into_iter().flat_map(|name| ["--test".to_owned(), name]).collect();
    all.extend(more);
    all.extend(behind.first().cloned());
    // A filter applies to all programs: if another program is named too, all tests of this one run.
    if !names_tests && is_alone && !wanted.is_empty() {
        if behind.is_empty() {
            all.push("--".to_owned());
        }
        all.extend(wanted.iter().map(|name| format!("{name}::")));
    }
    all.extend(behind.iter().skip(1).cloned());
    all
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

#[cfg(test)]
mod tests {
    use super::in_programs;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn module_of_the_offline_program_is_named_like_a_program() {
        for (given, wanted) in [
            ("", ""),
            ("--test gate", "--test gate"),
            ("--test gate ipv6 -- --nocapture", "--test gate ipv6 -- --nocapture"),
            ("--test golden", "--test offline -- golden::"),
            ("--test=golden", "--test offline -- golden::"),
            ("--test golden --test list", "--test offline -- golden:: list::"),
            ("--test golden -- --nocapture", "--test offline -- golden:: --nocapture"),
            ("--test golden tables_give", "--test offline tables_give"),
            ("--test gate --test golden", "--test gate --test offline"),
            ("--no-fail-fast", "--no-fail-fast"),
        ] {
            assert_eq!(in_programs(&words(given), &words("golden list")), words(wanted), "{given}");
        }
    }
}
