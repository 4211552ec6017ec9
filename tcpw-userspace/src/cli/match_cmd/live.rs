//! `tcpw match --live`: the running daemon answers.

use std::{
    io::{self, Write},
    path::Path,
    time::Duration,
};

use super::{MatchArgs, ask::AskedConnection};
use crate::{
    cli::{Failure, Outcome},
    control::{LiveAnswer, LiveQuestion, Request, ask_for},
    log::printable,
};

/// Longer than the daemon's own patience with itself.
const PATIENCE: Duration = Duration::from_secs(35);

/// Asks for every address of the client.
pub(super) fn run(arguments: &MatchArgs, questions: &[AskedConnection]) -> Result<Outcome, Failure> {
    let (run_dir, _) = arguments.place().resolve()?;
    let mut answers = Vec::new();
    for question in questions {
        if question.user.is_some() {
            return Err(Failure::usage("--live: the daemon does not know users: leave USER@ out"));
        }
        answers.push(ask_about(&run_dir, question)?);
    }
    let mut out = io::stdout().lock();
    if arguments.json {
        serde_json::to_writer_pretty(&mut out, &answers).map_err(io::Error::from)?;
        writeln!(out)?;
    } else {
        for (question, answer) in questions.iter().zip(&answers) {
            show(question, answer, &mut out)?;
        }
    }
    let is_refused = answers.iter().any(|answer| answer.verdict == "deny");
    Ok(if is_refused { Outcome::Finding } else { Outcome::Fine })
}

/// Asks the daemon about one address.
pub(super) fn ask_about(run_dir: &Path, question: &AskedConnection) -> Result<LiveAnswer, Failure> {
    let Some(client) = question.client.ip else {
        return Err(Failure::usage(
            "the daemon is not asked: no address: write one, or a host name that can be looked up",
        ));
    };
    let live = LiveQuestion {
        daemon: question.daemon.clone(),
        client,
        server: question.server.ip,
        port: question.port,
    };
    Ok(*ask_for::<Box<LiveAnswer>>(run_dir, Request::Match(live), PATIENCE)?)
}

fn show(question: &AskedConnection, answer: &LiveAnswer, out: &mut impl Write) -> io::Result<()> {
    let verdict = if answer.verdict == "allow" { "allowed" } else { "refused" };
    let address = question.client.address.as_deref().unwrap_or("unknown");
    write!(out, "{verdict}: {} from {address}: ", question.daemon)?;
    match (&answer.file, answer.line) {
        (Some(file), Some(line)) => writeln!(out, "{file}:{line}")?,
        _ if answer.ban.is_some() => {
            writeln!(out, "{}", printable(answer.ban.as_deref().unwrap_or_default()))?;
        }
        _ if answer.via == "exempt" => writeln!(out, "exempt")?,
        _ if answer.via == "table-error" => writeln!(out, "hosts.deny cannot be read to its end")?,
        _ => writeln!(out, "no rule matches")?,
    }
    show_facts(answer, out)?;
    writeln!(out, "policy:   generation {}", answer.generation)
}

/// The client and the listener as the daemon knows them, and the look-ups.
pub(super) fn show_facts(answer: &LiveAnswer, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "client:   {}", printable(&answer.client))?;
    let none = "no known listener has that name".to_owned();
    writeln!(out, "listener: {}", printable(answer.listener.as_ref().unwrap_or(&none)))?;
    writeln!(out, "names:    {}", printable(&answer.names.join(", ")))?;
    for look_up in &answer.lookups {
        let confirmation = look_up.confirmation.as_ref().map(|text| format!(" ({text})")).unwrap_or_default();
        writeln!(
            out,
            "look-up:  {}: {}{confirmation}; {} s old, remembered for {} s more",
            look_up.what,
            printable(&look_up.answer),
            look_up.age_ms / 1000,
            look_up.holds_ms / 1000
        )?;
    }
    if answer.lookups.is_empty() && !answer.unnamed {
        writeln!(out, "look-up:  none was needed")?;
    }
    if answer.gave_up {
        writeln!(out, "note:     the time limit passed; what was not found is unknown")?;
    }
    if answer.unnamed {
        writeln!(out, "note:     this is a name server's port: every name is unknown")?;
    }
    Ok(())
}
