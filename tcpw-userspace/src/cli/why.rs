//! `tcpw why`: what decided the last attempts of a client, with rules, look-ups and times.

use std::{
    io::{self, Write},
    time::Duration,
};

use clap::Args;
use serde_json::Value;

use super::{
    DaemonArgs, Failure, Outcome, events,
    recent::{end, field, rule, text},
};
use crate::control::{RecentAnswer, RecentQuestion, Request, ask_for};

const PATIENCE: Duration = Duration::from_secs(5);

/// Flags of `tcpw why`.
#[derive(Args, Clone, Debug)]
pub struct WhyArgs {
    /// The number that `tcpw events` gives an attempt, or a client, or a network of clients
    #[arg(value_name = "ID|CLIENT")]
    pub subject: String,
    /// The last N attempts
    #[arg(short = 'n', long, value_name = "N", default_value_t = 5)]
    pub lines: usize,
    /// Print JSON, one record a line: docs/records.md
    #[arg(long)]
    pub json: bool,
    /// Where.
    #[command(flatten)]
    pub daemon_place: DaemonArgs,
}

/// Tells. Exit code 1 if nothing is known of it.
///
/// # Errors
/// It is neither a number nor a client, no daemon runs, or it does not answer.
pub fn run(arguments: &WhyArgs) -> Result<Outcome, Failure> {
    let run_dir = arguments.daemon_place.run_dir()?;
    let subject = arguments.subject.as_str();
    let id = subject.strip_prefix('#').unwrap_or(subject).parse().ok();
    let client = match id {
        Some(_) => None,
        None => Some(events::network(subject).map_err(|why| {
            Failure::Usage(format!(
                "\"{subject}\": {why}, or the number of an attempt, as \"tcpw events\" shows it"
            ))
        })?),
    };
    let question = RecentQuestion { most: arguments.lines, id, client, ..RecentQuestion::default() };
    let answer = ask_for::<RecentAnswer>(&run_dir, Request::Recent(question), PATIENCE)?;
    let mut out = io::stdout().lock();
    if answer.records.is_empty() && !arguments.json {
        writeln!(
            out,
            "no record of {subject} among the last {}: refused attempts have one, allowed ones with log-allowed; \
             \"tcpw explain DAEMON CLIENT\" judges a client that has not come",
            answer.remembered
        )?;
    }
    for (number, record) in answer.records.iter().enumerate() {
        if arguments.json {
            writeln!(out, "{record}")?;
            continue;
        }
        if number > 0 {
            writeln!(out)?;
        }
        tell(record, &mut out)?;
    }
    Ok(if answer.records.is_empty() { Outcome::Finding } else { Outcome::Fine })
}

pub(super) fn tell(record: &Value, out: &mut impl Write) -> io::Result<()> {
    let (ident, pid) = (text(record, "listener.ident"), text(record, "listener.pid"));
    writeln!(
        out,
        "#{} {}: {ident}[{pid}] from {}",
        text(record, "id"),
        text(record, "fate"),
        end(record, "client")
    )?;
    let mut say = |name: &str, value: String| {
        if value.is_empty() { Ok(()) } else { writeln!(out, "  {:<11} {value}", format!("{name}:")) }
    };
    say("time", text(record, "time"))?;
    say("rule", rule(record).unwrap_or_default())?;
    say("ban", ban(record))?;
    say("reason", text(record, "reason"))?;
    say("client name", text(record, "client.name"))?;
    say("user", text(record, "client.user"))?;
    say("source", source(&text(record, "source")).into())?;
    say("listener", format!("{} {}", text(record, "protocol"), end(record, "server")))?;
    say("names", names(record))?;
    for look_up in field(record, "lookups").as_array().into_iter().flatten() {
        say("look-up", looked_up(look_up))?;
    }
    if let Some(held) = field(record, "held_us").as_u64() {
        say("held", microseconds(held))?;
    }
    say("twist", text(record, "twist"))?;
    say("policy", format!("generation {}", text(record, "generation")))
}

fn ban(record: &Value) -> String {
    if field(record, "ban").is_null() {
        return String::new();
    }
    let until = match text(record, "ban.until") {
        until if until.is_empty() => "for good".to_owned(),
        until => format!("until {until}"),
    };
    let daemon = match text(record, "ban.daemon") {
        daemon if daemon.is_empty() => daemon,
        daemon => format!(" for {daemon}"),
    };
    format!(
        "{}{daemon} {until}, by {}, {}",
        text(record, "ban.network"),
        text(record, "ban.by"),
        text(record, "ban.reason")
    )
}

fn source(word: &str) -> &'static str {
    match word {
        "handshake" => "it has completed a TCP handshake",
        "missing" => "its address may be forged",
        "trusted" => "the settings say that addresses are not forged here",
        _ => "",
    }
}

fn names(record: &Value) -> String {
    let of = |list| {
        let all = field(record, list).as_array().into_iter().flatten();
        all.map(|name| text(name, "")).collect::<Vec<_>>()
    };
    let unproven = of("listener.unproven_names").into_iter().map(|name| format!("{name} (not proven)"));
    of("listener.names").into_iter().chain(unproven).collect::<Vec<_>>().join(", ")
}

fn looked_up(look_up: &Value) -> String {
    let what = match text(look_up, "kind").as_str() {
        "netgroup" => format!("{} in netgroup {}", text(look_up, "host"), text(look_up, "asked")),
        kind => format!("{kind} of {}", text(look_up, "asked")),
    };
    let name = text(look_up, "name");
    let result = if name.is_empty() { text(look_up, "result") } else { name };
    let took = field(look_up, "took_us").as_u64().map_or("remembered".into(), microseconds);
    format!("{what}: {result} ({took})")
}

fn microseconds(us: u64) -> String {
    format!("{}.{:03} ms", us / 1000, us % 1000)
}
