//! `tcpw detach`: the one way to stop enforcing a pinned policy.

use std::{io::Write, time::Duration};

use clap::Args;

use super::{Failure, Outcome, PlaceArgs};
use crate::{
    control::{AskError, Request, ask_for},
    host,
    kernel::Pins,
    log::printable,
};

/// Removing many maps takes the kernel a moment.
const PATIENCE: Duration = Duration::from_secs(20);

/// Flags of `tcpw detach`.
#[derive(Args, Clone, Debug)]
pub struct DetachArgs {
    /// Where.
    #[command(flatten)]
    pub place: PlaceArgs,
}

/// Asks the daemon to detach and end; without one, removes what is pinned.
///
/// # Errors
///
/// Something is still enforced, or it is not known.
pub fn run(arguments: &DetachArgs) -> Result<Outcome, Failure> {
    host::privileges().map_err(Failure::usage)?;
    let (run_dir, pin_dir) = arguments.place.resolve()?;
    let (run_dir, pin_dir) = (run_dir.as_path(), pin_dir.as_path());
    let removed = match ask_for::<Vec<String>>(run_dir, Request::Detach, PATIENCE) {
        Ok(removed) => removed,
        Err(AskError::NotRunning) => {
            // Everything in the directory is removed: it must be a directory of pins.
            host::can_pin_in(pin_dir).map_err(Failure::usage)?;
            super::refuse_followed(pin_dir)?;
            Pins::new(pin_dir).remove_all()?
        }
        Err(AskError::NoAnswer(reason)) => {
            return Err(Failure::Runtime(anyhow::anyhow!(
                "the daemon does not answer: {reason}: end it with kill -9, then run \"tcpw detach\" again"
            )));
        }
        Err(error @ (AskError::NotAllowed | AskError::Failed(_))) => return Err(error.into()),
    };
    let mut out = std::io::stdout().lock();
    for item in &removed {
        writeln!(out, "removed {}", printable(item))?;
    }
    if removed.is_empty() {
        writeln!(out, "nothing was pinned in {}", printable(&pin_dir.to_string_lossy()))?;
    }
    writeln!(out, "tcpw enforces nothing any more")?;
    Ok(Outcome::Fine)
}
