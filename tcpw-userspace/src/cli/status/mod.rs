//! `tcpw status`: what is in force, and for which listeners.

mod listeners;
mod table;

use std::{
    io::{self, IsTerminal, Write},
    path::Path,
    time::Duration,
};

use clap::Args;
use tcpw_common::ABI_VERSION;

use super::{Failure, Outcome, PlaceArgs};
use crate::{
    config::Mode,
    control::{AskError, Request, Status, ask_for},
    kernel::{PinnedStatus, Pins},
};

const PATIENCE: Duration = Duration::from_secs(5);

const AFTER_HELP: &str = "\
Exit code: 0 the files are enforced, 1 something needs you, 2 nothing is enforced (audit mode included).";

/// Flags of `tcpw status`.
#[derive(Args, Clone, Debug)]
#[command(after_help = AFTER_HELP)]
pub struct StatusArgs {
    /// Print JSON, with every field and counter
    #[arg(long)]
    pub json: bool,
    /// Print counters that are 0, and columns for which the terminal is too narrow
    #[arg(long, conflicts_with = "json")]
    pub all: bool,
    /// Where.
    #[command(flatten)]
    pub place: PlaceArgs,
}

/// Shows the daemon's status; without one, what its predecessor left in force.
///
/// Exit code 1 if something is wrong with what is enforced, 2 if nothing is.
///
/// # Errors
///
/// It cannot be found out.
pub fn run(arguments: &StatusArgs) -> Result<Outcome, Failure> {
    let (run_dir, pin_dir) = arguments.place.resolve()?;
    let (run_dir, pin_dir) = (run_dir.as_path(), pin_dir.as_path());
    let mut out = io::stdout().lock();
    let width = width(&out);
    let paint = Paint(out.is_terminal() && std::env::var_os("NO_COLOR").is_none());
    match ask_for::<Box<Status>>(run_dir, Request::Status, PATIENCE) {
        Ok(status) => {
            if arguments.json {
                json(&mut out, &serde_json::to_value(&*status).map(running))?;
            } else {
                table::print(&mut out, &status, arguments.all, (paint, width))?;
            }
            Ok(verdict(&status))
        }
        Err(AskError::NotRunning) => {
            // Pins belong to root: other users cannot see whether there are any.
            crate::host::privileges().map_err(Failure::usage)?;
            super::refuse_followed(pin_dir)?;
            let pinned = Pins::new(pin_dir).status()?;
            without_daemon(&mut out, pinned.as_ref(), pin_dir, arguments, paint)
        }
        Err(error @ (AskError::NotAllowed | AskError::NoAnswer(_) | AskError::Failed(_))) => {
            Err(error.into())
        }
    }
}

/// The columns of the terminal that is written to; `None` if it is none.
fn width(out: &impl IsTerminal) -> Option<usize> {
    // It asks the terminal of standard output first.
    let size = || ratatui::crossterm::terminal::size().ok();
    out.is_terminal().then(size)?.map(|(columns, _)| columns.into())
}

/// The form of the JSON; a field may be added without another number. Source: docs/status.schema.json.
const SCHEMA: u32 = 1;

/// With what the JSON says of a daemon that does not run, too.
fn running(mut status: serde_json::Value) -> serde_json::Value {
    if let Some(fields) = status.as_object_mut() {
        fields.insert("schema".into(), SCHEMA.into());
        fields.insert("running".into(), true.into());
    }
    status
}

fn verdict(status: &Status) -> Outcome {
    match status.mode {
        Mode::Audit => Outcome::Wrong,
        Mode::Enforce if status.problem.is_some() => Outcome::Finding,
        Mode::Enforce => Outcome::Fine,
    }
}

/// What is in force without a daemon.
fn without_daemon(
    out: &mut impl Write,
    pinned: Option<&PinnedStatus>,
    pin_dir: &Path,
    arguments: &StatusArgs,
    paint: Paint,
) -> Result<Outcome, Failure> {
    // Enforced, but without lines and reloads: something to look at.
    let is_enforced = pinned.is_some_and(|pinned| !pinned.audit && pinned.cgroup != 0);
    let outcome = if is_enforced { Outcome::Finding } else { Outcome::Wrong };
    if arguments.json {
        let pinned = pinned.map(|it| {
            let counters: std::collections::BTreeMap<_, _> = it.counters.iter().map(|(metric, value)| (metric.name, *value)).collect();
            serde_json::json!({
                "pin_dir": pin_dir, "version": it.version, "generation": it.generation,
                "mode": if it.audit { "audit" } else { "enforce" }, "cgroup_id": it.cgroup, "counters": counters,
            })
        });
        json(out, &Ok(serde_json::json!({ "schema": SCHEMA, "running": false, "pinned": pinned })))?;
        return Ok(outcome);
    }
    let Some(pinned) = pinned else {
        writeln!(out, "{}", paint.red("not running: nothing is enforced (start it with \"tcpw run\")"))?;
        return Ok(outcome);
    };
    if pinned.audit {
        writeln!(
            out,
            "{}",
            paint.red("not running; the pinned policy is in audit mode: nothing is refused")
        )?;
    } else {
        writeln!(
            out,
            "{}; the pinned policy is enforced",
            paint.red("not running: nothing is logged, edits are not followed")
        )?;
    }
    let by = if pinned.version == ABI_VERSION {
        String::new()
    } else {
        format!(
            " by another version (layout {}, this one has {ABI_VERSION}): \"tcpw run --pin\" takes over",
            pinned.version
        )
    };
    let rows = [
        ("pinned in", format!("{}{by}", pin_dir.display())),
        ("generation", pinned.generation.to_string()),
        ("cgroup", if pinned.cgroup == 0 { paint.red("gone") } else { format!("id {}", pinned.cgroup) }),
    ];
    for (name, value) in rows {
        writeln!(out, "{name:<12} {value}")?;
    }
    let counters = pinned.counters.iter().map(|(metric, value)| (metric.name, *value));
    table::print_counters(out, counters, arguments.all, paint)?;
    Ok(outcome)
}

fn json(out: &mut impl Write, value: &serde_json::Result<serde_json::Value>) -> Result<(), Failure> {
    match value {
        Ok(value) => Ok(writeln!(out, "{value:#}")?),
        Err(error) => Err(anyhow::anyhow!("{error}").into()),
    }
}

/// Colour, if there is a terminal to show it.
#[derive(Clone, Copy)]
struct Paint(bool);

impl Paint {
    fn red(self, text: &str) -> String {
        if self.0 { format!("\x1b[31m{text}\x1b[0m") } else { text.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(pinned: Option<&PinnedStatus>, as_json: bool) -> String {
        let mut out = Vec::new();
        let place = PlaceArgs { config: None, run_dir: None, pin_dir: None };
        let arguments = StatusArgs { json: as_json, all: false, place };
        let outcome = without_daemon(&mut out, pinned, Path::new("/pins"), &arguments, Paint(false)).unwrap();
        let is_enforced = pinned.is_some_and(|it| !it.audit);
        assert_eq!(outcome, if is_enforced { Outcome::Finding } else { Outcome::Wrong });
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn without_a_daemon_it_says_what_is_still_in_force() {
        let pinned = PinnedStatus {
            version: ABI_VERSION,
            generation: 4,
            audit: false,
            cgroup: 17,
            counters: vec![(tcpw_common::counter::Counter::Refused.metric(), 9)],
        };
        assert!(shown(None, false).contains("nothing is enforced"));
        let text = shown(Some(&pinned), false);
        assert!(text.contains("the pinned policy is enforced") && text.contains("refused"), "{text}");
        assert!(!text.contains("another version"), "{text}");
        let other = PinnedStatus { version: 1, ..pinned.clone() };
        assert!(shown(Some(&other), false).contains("another version (layout 1"));
        let audit = PinnedStatus { audit: true, ..pinned.clone() };
        assert!(shown(Some(&audit), false).contains("nothing is refused"));
        let value: serde_json::Value = serde_json::from_str(&shown(Some(&pinned), true)).unwrap();
        assert_eq!(value["pinned"]["counters"]["refused"], 9);
        let value: serde_json::Value = serde_json::from_str(&shown(None, true)).unwrap();
        assert!(value["pinned"].is_null() && value["running"] == false);
    }
}
