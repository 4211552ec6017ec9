//! Debian's ident server.

use std::{
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};

use crate::{
    process::Process,
    sandbox::{Place, Sandbox},
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
    let deadline = Instant::now() + Duration::from_secs(10);
    while !netns.listening()?.iter().any(|socket| socket.port == 113) {
        ensure!(process.is_running() && Instant::now() < deadline, "oidentd:\n{}", process.tail());
        thread::sleep(Duration::from_millis(10));
    }
    Ok(process)
}
