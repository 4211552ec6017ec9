//! `tcpw check --live`: which rules in force do not open for a listener, because its name is not proven.
//!
//! In: the status of the running daemon. Out: a sentence for each, with the setting that would prove the name.

use std::{io::Write, time::Duration};

use super::{CheckArgs, Format};
use crate::{
    cli::{Failure, Outcome, PlaceArgs},
    control::{ListenerStatus, Request, Status, ask_for},
    log::printable,
};

const PATIENCE: Duration = Duration::from_secs(5);

/// Asks the daemon. A rule that does not open is a finding.
pub(super) fn run(arguments: &CheckArgs, out: &mut impl Write) -> Result<Outcome, Failure> {
    let place =
        PlaceArgs { config: arguments.config.clone(), run_dir: arguments.run_dir.clone(), pin_dir: None };
    let (run_dir, _) = place.resolve()?;
    let status = ask_for::<Box<Status>>(&run_dir, Request::Status, PATIENCE)?;
    let found: Vec<&ListenerStatus> =
        status.listeners.iter().filter(|it| !it.not_opened.is_empty()).collect();
    let format = if arguments.json { Format::Json } else { arguments.format };
    match (arguments.quiet, format) {
        (2.., _) => {}
        (_, Format::Json) => {
            serde_json::to_writer_pretty(&mut *out, &found).map_err(std::io::Error::from)?;
            writeln!(out)?;
        }
        (_, Format::Sarif) => {
            return Err(Failure::usage("--live: listeners are no places in files: use text or json"));
        }
        (quiet, Format::Text) => {
            let sentences = found.iter().flat_map(|it| &it.not_opened);
            for sentence in sentences.clone() {
                writeln!(out, "warning: {}", printable(sentence))?;
            }
            if quiet == 0 {
                let (rules, of) = (sentences.count(), status.listeners.len());
                writeln!(out, "{rules} rules do not open for lack of a proven name; {of} listeners")?;
            }
        }
    }
    Ok(if found.is_empty() { Outcome::Fine } else { Outcome::Finding })
}
