//! Asks the real libwrap.so.0: `tcpw-oracle [--verify] [--trace] [FILE...]`, as root.
//!
//! In: cases, one JSON object a line ([`Case`]), of files or standard input.
//! Out: the same with the library's answer ([`Answered`](tcpw_tests::differential::Answered)), in order;
//! with `--trace` also the log lines, commands and sleeps. `--verify` compares with the
//! answers that stand in the input instead: it prints the differences and a count, and
//! exits with 1 if there are any.
//! Invariant: each case has a process of its own, for options change the process's state.
//! Nothing is run, logged or sent, and no file of the machine is read but the library's own
//! and the account files: there are a private /tmp, and a network without interfaces.
//! `LIBWRAP` names another library.

mod answer;
mod ask;
mod library;
mod place;
mod recording;

use std::{
    env,
    fs::File,
    io::{self, BufRead, BufReader, BufWriter, Write},
    process::ExitCode,
};

use anyhow::{Context, Result, bail};
use ask::Oracle;
use serde::Serialize;
use serde_json::{Value, json};
use tcpw_tests::differential::{Answer, Case};

/// What is asked for on the command line.
#[derive(Default)]
struct Arguments {
    verify: bool,
    trace: bool,
    files: Vec<String>,
}

fn main() -> ExitCode {
    let result = arguments().and_then(|arguments| run(&arguments));
    match result {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_differences) => ExitCode::from(1),
        Err(error) => {
            drop(writeln!(io::stderr(), "tcpw-oracle: error: {error:#}"));
            ExitCode::from(2)
        }
    }
}

fn arguments() -> Result<Arguments> {
    let mut found = Arguments::default();
    for argument in env::args().skip(1) {
        match argument.as_str() {
            "--verify" => found.verify = true,
            "--trace" => found.trace = true,
            flag if flag.starts_with('-') && flag != "-" => {
                bail!("unknown option {flag}: use tcpw-oracle [--verify] [--trace] [FILE...]")
            }
            file => found.files.push(file.to_owned()),
        }
    }
    Ok(found)
}

/// Asks every case; the number of differences.
fn run(arguments: &Arguments) -> Result<usize> {
    // Before the oracle has a /tmp of its own.
    let mut inputs: Vec<(String, Box<dyn BufRead>)> = Vec::new();
    for file in &arguments.files {
        let input = File::open(file).with_context(|| format!("open {file}"))?;
        inputs.push((file.clone(), Box::new(BufReader::new(input))));
    }
    if inputs.is_empty() {
        inputs.push(("standard input".into(), Box::new(io::stdin().lock())));
    }
    let mut oracle = Oracle::new()?;
    let mut out = BufWriter::new(io::stdout().lock());
    let (mut count, mut differences) = (0, 0);
    for (name, input) in inputs {
        for (index, line) in input.lines().enumerate() {
            let place = || format!("{name}:{}", index + 1);
            let line = line.with_context(place)?;
            if line.trim().is_empty() {
                continue;
            }
            let case: Case = serde_json::from_str(&line).with_context(place)?;
            let run = oracle.ask(&case).with_context(place)?;
            count += 1;
            if !arguments.verify {
                let trace = arguments.trace.then(|| run.trace());
                let line = Line { case: &case, answer: &run.answer(), trace };
                serde_json::to_writer(&mut out, &line)?;
                writeln!(out)?;
            } else if let Some(said) = differs(&line, &run.answer())? {
                differences += 1;
                writeln!(out, "{}: {} {said}", place(), case.id)?;
            }
        }
    }
    if arguments.verify {
        writeln!(out, "{count} cases, {differences} differences")?;
    }
    out.flush().context("write the answers")?;
    Ok(differences)
}

/// A line of output.
#[derive(Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    case: &'a Case,
    #[serde(flatten)]
    answer: &'a Answer,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace: Option<Vec<String>>,
}

/// What a line of a corpus says that the library did not answer.
fn differs(line: &str, answer: &Answer) -> Result<Option<Value>> {
    let said: Answer = serde_json::from_str(line)?;
    let answered = answer;
    Ok((said != *answered).then(|| json!({ "file": said, "library": answered })))
}
