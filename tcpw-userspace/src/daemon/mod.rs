//! The daemon: the loop that passes inputs to the core and carries its actions out.
//!
//! In: a configuration. Out: enforcement until told to stop.
//! Invariant: nothing in the loop sleeps, parses, compiles, reads a file or waits for a lock: an action that
//! takes longer than a system call or two runs on a thread or task of `outside`, and its result is an input.

mod clock;
mod exporter;
mod inbox;
mod kept;
mod load;
mod names_key;
mod outside;
mod privacy_key;
pub mod rights;

use anyhow::{Result, anyhow};

use crate::{
    config::Config,
    control::{self, Lock},
    core::{Core, Input},
    host::{Starter, give_memory_back, raise_file_limit, set_preferred},
    kernel::Pins,
};
use exporter::Exporter;
use inbox::{Arrival, Inbox};
use outside::Outside;

/// Does what needs rights that are then given up. To be called by the main thread while it is the only one: others
/// inherit what is left.
///
/// # Errors
/// The rights cannot be given up.
pub fn prepare() -> Result<Starter> {
    give_memory_back();
    raise_file_limit();
    let starter = Starter::start()?;
    rights::give_up()?;
    Ok(starter)
}

/// Runs until SIGTERM, SIGINT or a command ends it.
///
/// # Errors
/// The start failed. After that errors are only logged.
pub async fn run(config: Config, starter: Starter) -> Result<()> {
    let _lock = Lock::take(&config.run_dir)?;
    let _pins = load::lock_pins(&config)?;
    names_key::take(&config.run_dir)?;
    let control = control::Server::bind(&config.run_dir, config.readers)?;
    let pins = config.pin.then(|| Pins::new(&config.pin_dir));
    let is_adoption = pins.as_ref().is_some_and(Pins::hold_a_gate);
    let mut is_enforcing = false;
    let result = enforce(config, starter, control, &mut is_enforcing).await;
    if !is_enforcing && !is_adoption {
        // The start is undone.
        load::undo(pins.as_ref());
    }
    result
}

async fn enforce(
    config: Config,
    starter: Starter,
    control: control::Server,
    is_enforcing: &mut bool,
) -> Result<()> {
    let _exporter = Exporter::start(&config.metrics, &control.asker());
    let mut core = Core::new(config.clone(), clock::now());
    let (mut inbox, results) = Inbox::new(control)?;
    let (mut outside, started) = Outside::new(config, starter, &mut inbox, results)?;
    let mut end = outside.carry_out(core.on(Input::Started(started), clock::now()));
    prefer("clients that are held, and tcpw status,");
    while end.is_none() {
        let arrived = inbox.next(core.deadline(), core.is_enforcing()).await?;
        if arrived.stops() && core.is_enforcing() {
            // Attempts that were read before the stop have their lines.
            while let Some(records) = inbox.last_reports().await.filter(|_| end.is_none()) {
                end = handle(Arrival::Reports(records), &mut core, &mut outside);
            }
        }
        end = end.or_else(|| handle(arrived, &mut core, &mut outside));
        *is_enforcing |= core.is_enforcing();
    }
    outside.close().await;
    inbox.close().await;
    end.unwrap_or(Ok(())).map_err(|error| anyhow!(error))
}

/// Passes what arrived to the core and carries its actions out; returns how to leave the loop, if one says so.
fn handle(arrived: Arrival, core: &mut Core, outside: &mut Outside) -> Option<Result<(), String>> {
    let mut input = Some(outside.complete(arrived));
    while let Some(one) = input.take() {
        let end = outside.carry_out(core.on(one, clock::now()));
        if end.is_some() {
            return end;
        }
        input = outside.done();
    }
    None
}

/// The calling thread is preferred to those of a flood's clients and of daemons; `waiting` are what waits for it.
fn prefer(waiting: &str) {
    if let Err(error) = set_preferred() {
        log::debug!("{waiting} may wait longer on a busy machine: set a niceness: {error}");
    }
}
