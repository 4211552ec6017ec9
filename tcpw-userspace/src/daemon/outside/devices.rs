//! Looks at the devices of `early-drop`, on a thread.
//!
//! In: their names. Out: [`SeenNetwork`].

use std::io;

use tokio::task::spawn_blocking;

use super::{Results, TaskResult, guard::guarded};
use crate::{
    core::{Input, input::SeenNetwork},
    host::Network,
    kernel::Kernel,
};

/// Begins to look.
pub(super) fn look(names: Vec<String>, results: Results) {
    drop(spawn_blocking(move || {
        let seen = guarded("a look at network devices", || Network::look(&names));
        let seen = seen.unwrap_or_else(|| Err(io::Error::other("it ended early")));
        let _ = results.send(TaskResult::Network(seen));
    }));
}

/// Adds which devices have the program.
pub(super) fn seen(network: io::Result<Network>, kernel: &Kernel) -> Input {
    let with_program = |network| SeenNetwork { network, attached: kernel.early.attached() };
    Input::Network(network.map(with_program).map_err(|error| error.to_string()))
}
