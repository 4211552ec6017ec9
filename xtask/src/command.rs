//! Running other programs, and where things are.

use std::{
    env, fmt,
    io::Write,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, anyhow, bail};

/// The machine or the call lacks something: says what, and what to do. Exit code 2.
#[derive(Debug)]
pub(crate) struct Prerequisite(pub(crate) String);

impl fmt::Display for Prerequisite {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl std::error::Error for Prerequisite {}

/// Says on stderr what is being done.
pub(crate) fn say(text: impl fmt::Display) {
    drop(writeln!(std::io::stderr(), "xtask: {text}"));
}

/// The top directory of the workspace.
pub(crate) fn workspace() -> Result<PathBuf> {
    let xtask = env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    xtask.parent().map(Path::to_path_buf).context("the xtask package has no parent directory")
}

/// Where cargo puts what runs in user space.
pub(crate) fn target() -> Result<PathBuf> {
    Ok(workspace()?.join(env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into())))
}

/// The directory where `cargo install` puts programs.
pub(crate) fn installed() -> Option<PathBuf> {
    let root = env::var_os("CARGO_INSTALL_ROOT")
        .or_else(|| env::var_os("CARGO_HOME"))
        .map(PathBuf::from)
        .or_else(|| env::home_dir().map(|home| home.join(".cargo")))?;
    Some(root.join("bin"))
}

/// Finds a program on the PATH, in the directories of root's programs, or where cargo installs.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .chain(installed())
        .map(|directory| directory.join(program))
        .find(|file| file.is_file())
}

/// Whether this process is root's.
pub(crate) fn is_root() -> bool {
    Path::new("/proc/self").metadata().is_ok_and(|process| process.uid() == 0)
}

/// The host's cargo, in the workspace.
pub(crate) fn cargo(subcommand: &str) -> Result<Command> {
    let mut command = Command::new("cargo");
    command.arg(subcommand).current_dir(workspace()?);
    Ok(command)
}

/// Runs a program that must succeed; its output goes to the terminal.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command.status().map_err(|error| missing(command, &error))?;
    if !status.success() {
        bail!("`{}` failed ({status}); its own messages are above", shown(command));
    }
    Ok(())
}

/// Runs a program quietly; its output, if it succeeded.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let done = command.stdin(Stdio::null()).output().map_err(|error| missing(command, &error))?;
    if !done.status.success() {
        bail!("`{}` failed ({})", shown(command), done.status);
    }
    Ok(String::from_utf8_lossy(&done.stdout).trim().to_owned())
}

/// A command as one would type it.
pub(crate) fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}

fn missing(command: &Command, error: &std::io::Error) -> anyhow::Error {
    anyhow!(Prerequisite(format!("cannot start `{}`: {error}", command.get_program().display())))
}
