//! testd under any name: a daemon that never knew libwrap.

use std::{env, fs, path::PathBuf, process::Command, time::Duration};

use anyhow::{Context, Result};

use crate::{
    process::Process,
    sandbox::{Place, Sandbox},
};

/// A running testd.
#[derive(Debug)]
pub struct Testd {
    /// Its process.
    pub process: Process,
}

impl Testd {
    /// Starts it in the guarded cgroup as the daemon `name`, and waits until it listens.
    /// `arguments` are options and ADDRESS:PORT, separated by blanks.
    ///
    /// # Errors
    /// It is not built, or cannot listen there.
    pub fn start(sandbox: &Sandbox, name: &str, arguments: &str) -> Result<Self> {
        Self::start_at(sandbox, Place::Guarded, name, arguments)
    }

    /// As [`Self::start`], at another place.
    ///
    /// # Errors
    /// It is not built, or cannot listen there.
    pub fn start_at(sandbox: &Sandbox, place: Place, name: &str, arguments: &str) -> Result<Self> {
        let mut command = Command::new(Self::program(sandbox, name)?);
        command.args(arguments.split_whitespace());
        Self::run(sandbox, place, command)
    }

    /// Runs a command that becomes testd, and waits until it listens.
    ///
    /// # Errors
    /// It does not.
    pub fn run(sandbox: &Sandbox, place: Place, command: Command) -> Result<Self> {
        let mut process = sandbox.spawn(place, command)?;
        process.wait_for_line("listening", Duration::from_secs(10))?;
        Ok(Self { process })
    }

    /// Its executable under the name `name`.
    ///
    /// # Errors
    /// It is not built.
    pub fn program(sandbox: &Sandbox, name: &str) -> Result<PathBuf> {
        let built = env::current_exe().context("find the running program")?;
        let built = built
            .ancestors()
            .skip(1)
            .take(2)
            .map(|directory| directory.join("testd"))
            .find(|file| file.is_file())
            .context("testd is not built: cargo build -p tcpw-tests")?;
        let program = sandbox.scratch().join(name);
        if !program.exists() {
            // A link where possible: a copy may still be open for writing in another test's fork.
            fs::hard_link(&built, &program)
                .or_else(|_other_file_system| fs::copy(&built, &program).map(drop))
                .with_context(|| format!("make {}", program.display()))?;
        }
        Ok(program)
    }
}
