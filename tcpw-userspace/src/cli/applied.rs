//! Which policy is in force after `tcpw apply`, `tcpw confirm`, `tcpw rollback`, in words.

use std::{
    io::Write as _,
    time::{Duration, UNIX_EPOCH},
};

use super::{DaemonArgs, Failure, Outcome};
use crate::{
    control::{ApplyAnswer, ApplyDone, Request, ask_for},
    host,
    log::time_of_day,
};

/// A slow disk takes a moment.
const PATIENCE: Duration = Duration::from_secs(30);

/// Asks the daemon to confirm or to roll back, and prints its answer.
///
/// # Errors
/// No policy waits for its confirmation, or no daemon runs.
pub(super) fn ask(request: Request, daemon: &DaemonArgs, as_json: bool) -> Result<Outcome, Failure> {
    host::privileges().map_err(Failure::usage)?;
    print(&ask_for::<ApplyAnswer>(&daemon.run_dir()?, request, PATIENCE)?, as_json)
}

/// Prints it.
///
/// # Errors
/// It cannot be written.
pub(super) fn print(answer: &ApplyAnswer, as_json: bool) -> Result<Outcome, Failure> {
    let mut out = std::io::stdout().lock();
    if as_json {
        let value = serde_json::to_value(answer).map_err(anyhow::Error::from)?;
        writeln!(out, "{value:#}")?;
    } else {
        writeln!(out, "{}", words(answer))?;
    }
    Ok(Outcome::Fine)
}

fn words(answer: &ApplyAnswer) -> String {
    let (generation, other) = (answer.generation, answer.other.unwrap_or_default());
    match answer.done {
        ApplyDone::Applied => format!("generation {generation} is in force"),
        ApplyDone::WasInForce => {
            format!("generation {generation}, which is in force, has these files already")
        }
        ApplyDone::Waits => format!(
            "generation {generation} is in force until {} ({} s): tcpw confirm keeps it, tcpw rollback ends it now; \
             without either generation {other} comes back",
            time_of_day(UNIX_EPOCH + Duration::from_secs(answer.until.unwrap_or_default())),
            answer.seconds.unwrap_or_default()
        ),
        ApplyDone::Confirmed => format!("generation {generation} is confirmed"),
        ApplyDone::RolledBack => format!(
            "generation {generation} is in force again; the files are those of generation {other} still: edit them, or \
             they come into force with tcpw apply"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policy_that_waits_is_told_with_its_end_and_what_comes_then() {
        let answer = ApplyAnswer {
            done: ApplyDone::Waits,
            generation: 8,
            other: Some(7),
            until: Some(1_000_000_000),
            seconds: Some(60),
        };
        let text = words(&answer);
        assert!(text.starts_with("generation 8 is in force until ") && text.contains(" (60 s): "), "{text}");
        assert!(text.ends_with("without either generation 7 comes back"), "{text}");
    }
}
