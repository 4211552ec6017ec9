//! `tcpw explain`: the verdict of the files as they are, of the running daemon, and of the kernel.
//!
//! In: a daemon's name, and a client. Out: an explanation, with all three side by side.

use std::{
    io::{self, Write},
    path::Path,
};

use clap::Args;
use serde::Serialize;

use super::{ask, ask::AskedConnection, explain::Explanation, live, places, show};
use crate::{
    cli::{DaemonArgs, Failure, Outcome, in_use::tables_in_use},
    config::TableArgs,
    control::{AskError, LiveAnswer},
    log::printable,
    source::Source,
};

const AFTER_HELP: &str = "\
Three are asked: the rules in the files as they are now, the running daemon (policy in force, names that it
remembers), and the kernel (the gate's own code on the loaded tables; nothing is sent).

Exit code: 0 allowed, 1 refused (of several addresses: any of them), 2 error, or the kernel decides otherwise
than the daemon.";

/// Flags of `tcpw explain`.
#[derive(Args, Clone, Debug)]
#[command(after_help = AFTER_HELP)]
pub struct ExplainArgs {
    /// The daemon, by name or, in digits, by port; the local address or name that the client connects to
    #[arg(value_name = "DAEMON[@SERVER]")]
    pub daemon: String,
    /// An address, or a host name (all its addresses are judged); and its user
    #[arg(value_name = "[USER@]CLIENT")]
    pub client: String,
    /// The port the daemon listens on
    #[arg(long, value_name = "N")]
    pub port: Option<u16>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Which tables.
    #[command(flatten)]
    pub tables: TableArgs,
    /// Where.
    #[command(flatten)]
    pub daemon_place: DaemonArgs,
}

/// One address of the client.
#[derive(Serialize)]
struct Explained {
    /// By the files.
    files: Explanation,
    /// By the running daemon, and by the kernel.
    in_force: Option<LiveAnswer>,
    /// Why that is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    in_force_unknown: Option<String>,
}

/// Explains. Exit code 1 for a refusal, 2 for an error or a disagreement.
///
/// # Errors
/// A file or host that was named is not there.
pub fn run(arguments: &ExplainArgs) -> Result<Outcome, Failure> {
    // Exit code 1 would be a verdict.
    run_all(arguments).map_err(|failure| match failure {
        Failure::Runtime(error) => Failure::Usage(format!("{error:#}")),
        Failure::Usage(message) => Failure::Usage(message),
    })
}

fn run_all(arguments: &ExplainArgs) -> Result<Outcome, Failure> {
    let run_dir = arguments.daemon_place.run_dir()?;
    let [allow, deny] = tables_in_use(&arguments.tables, arguments.daemon_place.config.as_deref())?;
    let questions = ask::questions(&arguments.daemon, &arguments.client, arguments.port, true)?;
    let places = places(&Source::new(allow, deny), true);
    let explained: Vec<Explained> = questions
        .iter()
        .map(|question| {
            let files = super::explain::explain(question, &places, true);
            let (in_force, in_force_unknown) = match in_force(&run_dir, question) {
                Ok(answer) => (Some(answer), None),
                Err(reason) => (None, Some(reason)),
            };
            Explained { files, in_force, in_force_unknown }
        })
        .collect();
    let mut out = io::stdout().lock();
    if arguments.json {
        serde_json::to_writer_pretty(&mut out, &explained).map_err(io::Error::from)?;
        writeln!(out)?;
    } else {
        for (number, (question, one)) in questions.iter().zip(&explained).enumerate() {
            if number > 0 {
                writeln!(out)?;
            }
            show::show(question, &one.files, &mut out)?;
            writeln!(out)?;
            show_in_force(one, &mut out)?;
        }
    }
    Ok(explained.iter().map(outcome).max().unwrap_or(Outcome::Fine))
}

/// Asks the daemon; or why it was not asked, or has no answer.
fn in_force(run_dir: &Path, question: &AskedConnection) -> Result<LiveAnswer, String> {
    if question.user.is_some() {
        return Err("the daemon asks clients for their user itself: leave USER@ out".into());
    }
    live::ask_about(run_dir, question).map_err(|failure| match failure {
        Failure::Runtime(error) if matches!(error.downcast_ref(), Some(AskError::NotRunning)) => {
            "no daemon is running: see \"tcpw status\" for what its predecessor left in force".into()
        }
        Failure::Runtime(error) => format!("{error:#}"),
        Failure::Usage(message) => message,
    })
}

fn outcome(explained: &Explained) -> Outcome {
    let kernel = explained.in_force.as_ref().and_then(|answer| answer.kernel.as_ref());
    let verdict = explained.in_force.as_ref().map_or(explained.files.verdict, |answer| &answer.verdict);
    match verdict {
        _ if kernel.is_some_and(|kernel| !kernel.agrees) => Outcome::Wrong,
        "allow" => Outcome::Fine,
        _ => Outcome::Finding,
    }
}

fn show_in_force(explained: &Explained, out: &mut impl Write) -> io::Result<()> {
    let Some(answer) = &explained.in_force else {
        let reason = explained.in_force_unknown.as_deref().unwrap_or_default();
        return writeln!(out, "in force: unknown: {}", printable(reason));
    };
    let verdict = if answer.verdict == "allow" { "allowed" } else { "refused" };
    let by = match (&answer.file, answer.line) {
        (Some(file), Some(line)) => format!("by {file}:{line}"),
        _ if answer.ban.is_some() => format!("by a {}", answer.ban.as_deref().unwrap_or_default()),
        _ if answer.via == "exempt" => "it is exempt".into(),
        _ if answer.via == "table-error" => "hosts.deny cannot be read to its end".into(),
        _ => "no rule matches".into(),
    };
    writeln!(out, "in force: {verdict}: {} (generation {})", printable(&by), answer.generation)?;
    live::show_facts(answer, out)?;
    let is_same =
        (answer.verdict.as_str(), &answer.matched) == (explained.files.verdict, &explained.files.matched);
    if !is_same && answer.via != "exempt" && answer.ban.is_none() {
        writeln!(
            out,
            "note:     the files say otherwise: an edit is not in force, or what was looked up differs: \
             see \"tcpw status\""
        )?;
    }
    match (&answer.kernel, &answer.kernel_not_asked) {
        (Some(kernel), _) => {
            let does = match kernel.verdict.as_str() {
                "allow" => "allows",
                "deny" => "refuses",
                _ => "leaves the client to the daemon",
            };
            let agrees = match (kernel.agrees, kernel.verdict.as_str()) {
                (false, _) => "NOT what the daemon says: please report this",
                (true, "ask") => "a look-up, a user or a command decides",
                (true, _) => "what the daemon says",
            };
            writeln!(out, "kernel:   {does}: {agrees} (generation {})", kernel.generation)
        }
        (None, reason) => {
            writeln!(
                out,
                "kernel:   not asked: {}",
                printable(reason.as_deref().unwrap_or("no reason given"))
            )
        }
    }
}
