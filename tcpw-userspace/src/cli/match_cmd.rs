//! `tcpw match`: what the tables say to a client, and why.

use std::{
    fs::File,
    io::{BufReader, BufWriter, Read, Write},
    path::{Path, PathBuf},
};

use clap::Args;

use super::{Failure, Outcome, TableArgs, must_exist};
use crate::{
    cases::{self, Cache},
    config::{DEFAULT_HOSTS_ALLOW, DEFAULT_HOSTS_DENY},
    source::{self, Source},
};

/// Bytes read and written at once.
const BUFFER: usize = 1 << 16;

/// Flags of `tcpw match`.
#[derive(Args, Clone, Debug)]
pub struct MatchArgs {
    /// Judge the cases of a file, one JSON object a line; `-` is standard input
    #[arg(long, value_name = "FILE", required = true)]
    pub cases: Option<PathBuf>,
    /// Which tables.
    #[command(flatten)]
    pub tables: TableArgs,
}

/// Judges. Exit code 1 for a refusal or a difference, 2 for an error.
///
/// # Errors
/// A file that was named is not there.
pub fn run(arguments: &MatchArgs) -> Result<Outcome, Failure> {
    let TableArgs { hosts_allow, hosts_deny } = &arguments.tables;
    must_exist("--hosts-allow", hosts_allow.as_deref())?;
    must_exist("--hosts-deny", hosts_deny.as_deref())?;
    let path = |flag: &Option<PathBuf>, default: &str| flag.clone().unwrap_or_else(|| default.into());
    let source = Source::new(path(hosts_allow, DEFAULT_HOSTS_ALLOW), path(hosts_deny, DEFAULT_HOSTS_DENY));
    match &arguments.cases {
        Some(file) => run_cases(file, source),
        None => Err(Failure::usage("no DAEMON and CLIENT: name both, or --cases FILE")),
    }
}

fn run_cases(file: &Path, source: Source) -> Result<Outcome, Failure> {
    let (name, input): (_, Box<dyn Read>) = if file == Path::new("-") {
        ("stdin".into(), Box::new(std::io::stdin().lock()))
    } else {
        let open = |error| {
            let reason = source::reason(&error);
            Failure::Usage(format!("--cases {}: {reason}: name a file of cases", file.display()))
        };
        (file.display().to_string(), Box::new(File::open(file).map_err(open)?))
    };
    let input = BufReader::with_capacity(BUFFER, input);
    let answers = BufWriter::with_capacity(BUFFER, std::io::stdout().lock());
    let mut remarks = std::io::stderr().lock();
    let count = cases::run(&name, input, answers, &mut remarks, &mut Cache::new(source))?;
    if count.compared > 0 || count.bad > 0 {
        writeln!(remarks, "{count}")?;
    }
    Ok(match count {
        cases::Count { bad: 1.., .. } => Outcome::Wrong,
        cases::Count { differing: 1.., .. } => Outcome::Finding,
        cases::Count { .. } => Outcome::Fine,
    })
}
