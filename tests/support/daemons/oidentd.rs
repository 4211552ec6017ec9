//! Debian's ident server.

use std::{process::Command, time::Duration};

use anyhow::Result;

use crate::{
    process::Process,
    sandbox::{Place, Sandbox},
    wait::wait_ready,
};

/// Starts oidentd; it answers at port 113 when this returns.
///
/// # Errors
/// It is not installed or does not listen.
pub fn oidentd(sandbox: &Sandbox, place: Place) -> Result<Process> {
    let mut command = Command::new("/usr/sbin/oidentd");
    command.args(["--foreground", "--nosyslog", "--user", "root", "--group", "root"]);
    let mut process = sandbox.spawn(place, command)?;
    let netns = match place {
        Place::Client | Place::GuardedClient => sandbox.client(),
        Place::Server | Place::Guarded => sandbox.server(),
    };
    wait_ready(&mut process, "oidentd listens", Duration::from_secs(10), || {
        Ok(netns.listening()?.iter().any(|socket| socket.port == 113))
    })?;
    Ok(process)
}
