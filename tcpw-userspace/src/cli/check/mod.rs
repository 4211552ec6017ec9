//! `tcpw check`: what is wrong with the tables; with `--live`, which of their rules do not open for a running daemon.
//!
//! Exit codes: 0 nothing but hints, 1 warnings, 2 errors or wrong use.

mod explain;
mod json;
mod live;
mod report;
mod sarif;
mod tables;

use std::{
    io::{BufWriter, Write},
    path::PathBuf,
};

use anstream::{AutoStream, ColorChoice};
use clap::{Args, ValueEnum};

use super::{Failure, Outcome, in_use::settings_in_use};
use crate::{
    check::{Counts, check_parsed, facts::System},
    config::TableArgs,
    parse::{
        diagnostic::{Severity, Styles},
        rule::TableKind,
    },
};

/// Flags of `tcpw check`.
#[derive(Args, Clone, Debug)]
pub struct CheckArgs {
    /// One or two tables, or a directory that has them, itself or in its etc [default: the tables in use]
    #[arg(value_name = "FILE", num_args = 0..=2)]
    pub files: Vec<PathBuf>,
    /// Which tables are in use.
    #[command(flatten)]
    pub tables: TableArgs,
    /// Settings that name the tables in use [default: /etc/tcpw.toml, if it exists]
    #[arg(long, value_name = "FILE", conflicts_with = "files")]
    pub config: Option<PathBuf>,
    /// Which table FILE is, if its name says neither allow nor deny
    #[arg(long = "as", value_name = "TABLE", requires = "files")]
    pub kind: Option<TableName>,
    /// Print one JSON document
    #[arg(long, conflicts_with = "format")]
    pub json: bool,
    /// For people, as one JSON document, or as SARIF 2.1.0 for code scanners
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub format: Format,
    /// Ask the running daemon which rules do not open for a listener because its name is not proven
    #[arg(long, conflicts_with_all = ["files", "hosts_allow", "hosts_deny"])]
    pub live: bool,
    /// With --live: directory of the daemon's control socket [default: /run/tcpw]
    #[arg(long, value_name = "DIR", requires = "live")]
    pub run_dir: Option<PathBuf>,
    /// Explain a code, or list all of them
    #[arg(long, value_name = "CODE", num_args = 0..=1, default_missing_value = "", conflicts_with_all = ["files", "json", "format", "live"])]
    pub explain: Option<String>,
    /// Leave out hints and the summary; twice: print nothing
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub quiet: u8,
    /// When to use colours
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    pub color: Colour,
}

/// How the findings are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Text for people
    Text,
    /// One JSON document
    Json,
    /// SARIF 2.1.0
    Sarif,
}

/// Which of the tables a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TableName {
    /// hosts.allow
    Allow,
    /// hosts.deny
    Deny,
}

impl From<TableName> for TableKind {
    fn from(kind: TableName) -> Self {
        match kind {
            TableName::Allow => Self::Allow,
            TableName::Deny => Self::Deny,
        }
    }
}

/// When to use colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Colour {
    /// On a terminal, unless NO_COLOR is set
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// Prints every diagnostic of the tables and their pattern files.
///
/// # Errors
///
/// Wrong use: a file that is not there or not for this user to read, an unknown code. With `--live`: no daemon answers.
pub fn run(arguments: &CheckArgs) -> Result<Outcome, Failure> {
    let stdout = std::io::stdout();
    let choice = match arguments.color {
        Colour::Auto => AutoStream::choice(&stdout),
        Colour::Always => ColorChoice::Always,
        Colour::Never => ColorChoice::Never,
    };
    let styles = if choice == ColorChoice::Never { Styles::default() } else { Styles::coloured() };
    let mut out = BufWriter::new(stdout.lock());
    if let Some(code) = &arguments.explain {
        explain::run(&mut out, code, &styles)?;
        out.flush()?;
        return Ok(Outcome::Fine);
    }
    if arguments.live {
        let outcome = live::run(arguments, &mut out)?;
        out.flush()?;
        return Ok(outcome);
    }
    let tables::Read { texts, parsed, scope } = tables::read(arguments)?;
    let system = if scope.in_use { settings_in_use(arguments.config.as_deref()) } else { System::default() };
    let mut checked = check_parsed(&texts, parsed, &system, scope);
    let counts = Counts::of(&checked.diagnostics);
    if arguments.quiet > 0 {
        checked.diagnostics.retain(|it| it.severity > Severity::Hint);
    }
    let format = if arguments.json { Format::Json } else { arguments.format };
    match (arguments.quiet, format) {
        (2.., _) => {}
        (_, Format::Json) => json::write(&mut out, &checked, counts)?,
        (_, Format::Sarif) => sarif::write(&mut out, &checked, &texts)?,
        (quiet, Format::Text) => report::write(&mut out, &checked, counts, &styles, quiet == 0)?,
    }
    out.flush()?;
    Ok(match counts {
        Counts { errors: 1.., .. } => Outcome::Wrong,
        Counts { warnings: 1.., .. } => Outcome::Finding,
        Counts { .. } => Outcome::Fine,
    })
}
