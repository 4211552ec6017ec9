//! `tcpw events`: the last records, and those that come.

use std::{
    io::{self, Write},
    thread,
    time::Duration,
};

use clap::{Args, ValueEnum};
use ipnet::IpNet;

use super::{DaemonArgs, Failure, Outcome, recent};
use crate::control::{AskError, RecentAnswer, RecentQuestion, Request, ask_for};

const PATIENCE: Duration = Duration::from_secs(5);

/// How often `--follow` asks.
const EVERY: Duration = Duration::from_millis(250);

/// At most so many at once with `--follow`: more are told as missed.
const MOST: usize = 1000;

/// Flags of `tcpw events`.
#[derive(Args, Clone, Debug)]
pub struct EventsArgs {
    /// Go on with records as they come, until it is interrupted
    #[arg(short, long)]
    pub follow: bool,
    /// Print JSON, one record a line: docs/records.md
    #[arg(long)]
    pub json: bool,
    /// Begin with the last N records
    #[arg(short = 'n', long, value_name = "N", default_value_t = 20)]
    pub lines: usize,
    /// Only of this client, or of the clients of this network
    #[arg(long, value_name = "ADDRESS[/BITS]", value_parser = network)]
    pub client: Option<IpNet>,
    /// Only of listeners with this name
    #[arg(long, value_name = "NAME")]
    pub daemon: Option<String>,
    /// Only with this fate; may be given several times
    #[arg(long, value_name = "FATE")]
    pub fate: Vec<FateArg>,
    /// Where.
    #[command(flatten)]
    pub daemon_place: DaemonArgs,
}

/// What became of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FateArg {
    /// Refused.
    Refused,
    /// Refused, and connected to tcpw.
    Redirected,
    /// Audit mode: allowed, though the rules refuse it.
    WouldRefuse,
    /// Accepted.
    Accepted,
    /// Allowed after it was held.
    Held,
}

/// An address, or a network.
pub(super) fn network(text: &str) -> Result<IpNet, String> {
    let single = text.parse::<std::net::IpAddr>().map(IpNet::from);
    single.or_else(|_| text.parse()).map_err(|_| "write an address or a network, as 192.0.2.0/24".into())
}

/// Shows them.
///
/// # Errors
/// No daemon runs, or it does not answer.
pub fn run(arguments: &EventsArgs) -> Result<Outcome, Failure> {
    let run_dir = arguments.daemon_place.run_dir()?;
    let words = arguments.fate.iter().filter_map(ValueEnum::to_possible_value);
    let mut question = RecentQuestion {
        after: None,
        before: None,
        most: arguments.lines,
        id: None,
        client: arguments.client,
        daemon: arguments.daemon.clone(),
        fates: words.map(|word| word.get_name().to_owned()).collect(),
    };
    let mut out = io::stdout().lock();
    let mut since_us = None;
    loop {
        let request = Request::Recent(question.clone());
        let answer = match ask_for::<RecentAnswer>(&run_dir, request, PATIENCE) {
            Ok(answer) => answer,
            // It is being started anew, or replaced.
            Err(AskError::NotRunning | AskError::NoAnswer(_)) if since_us.is_some() => {
                thread::sleep(EVERY);
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        if since_us.replace(answer.since_us).is_some_and(|before| before != answer.since_us) {
            // Another daemon: it counts from 1.
            question.after = Some(0);
            continue;
        }
        if question.after.is_some() && answer.missed > 0 {
            complain(&mut out, arguments.json, answer.missed)?;
        }
        for record in &answer.records {
            if arguments.json {
                writeln!(out, "{record}")?;
            } else {
                writeln!(out, "{}", recent::line(record))?;
            }
        }
        out.flush()?;
        if !arguments.follow {
            return Ok(Outcome::Fine);
        }
        question = RecentQuestion { after: Some(answer.last), most: MOST, ..question };
        thread::sleep(EVERY);
    }
}

/// Records came faster than they were asked for.
fn complain(out: &mut impl Write, as_json: bool, missed: u64) -> io::Result<()> {
    if as_json {
        writeln!(out, "{}", serde_json::json!({ "version": 1, "kind": "missed", "records": missed }))
    } else {
        writeln!(out, "({missed} records are not shown: they came too fast)")
    }
}
