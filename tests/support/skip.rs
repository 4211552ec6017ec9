//! Tests that cannot run say so; under CI that is a failure.

use std::{
    env,
    fs::File,
    io::{self, Write},
    path::Path,
};

/// What a test needs of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Requirement {
    /// Root's rights.
    Root,
    /// A machine that nobody works through: `cargo xtask vm` says so on its kernel's command line.
    OwnMachine,
    /// A program, by its path.
    Program(&'static str),
    /// A part of the kernel, by a path that it makes.
    Kernel(&'static str),
    /// A shared library, by its soname.
    Library(&'static str),
}

impl Requirement {
    fn lacking(self) -> Option<String> {
        match self {
            Self::Root if nix::unistd::geteuid().is_root() => None,
            Self::Root => Some("needs root".into()),
            Self::OwnMachine if is_own_machine() => None,
            Self::OwnMachine => Some("needs a machine of its own: cargo xtask vm".into()),
            Self::Program(path) if Path::new(path).exists() => None,
            Self::Program(path) => Some(format!("needs {path}: cargo xtask setup --all")),
            Self::Kernel(path) if Path::new(path).exists() => None,
            Self::Kernel(path) => Some(format!("needs a kernel with {path}: cargo xtask vm")),
            // SAFETY: the libraries that tests need have no initialisers.
            Self::Library(name) => match unsafe { libloading::Library::new(name) } {
                Ok(_library) => None,
                Err(_error) => Some(format!("needs {name}: cargo xtask setup --all")),
            },
        }
    }
}

/// No environment variable: one may be set by accident.
fn is_own_machine() -> bool {
    std::fs::read_to_string("/proc/cmdline")
        .is_ok_and(|words| words.split_whitespace().any(|word| word == "tcpw_own_machine=yes"))
}

/// Whether the test can run here; if not, it has been reported as skipped.
///
/// # Panics
/// When `CI=true` and something is lacking.
pub fn can_run(test: &str, requirements: &[Requirement]) -> bool {
    let lacking = requirements.iter().find_map(|requirement| requirement.lacking());
    if let Some(why) = &lacking {
        skip(test, why);
    }
    lacking.is_none()
}

/// Reports a test as skipped: on stderr, and to `cargo xtask test`, which prints it at the end.
///
/// # Panics
/// When `CI=true`: there nothing may be skipped.
pub fn skip(test: &str, why: &str) {
    drop(writeln!(io::stderr(), "skipped: {test}: {why}"));
    if let Some(file) = env::var_os("TCPW_SKIPPED")
        && let Ok(mut file) = File::options().append(true).create(true).open(file)
    {
        drop(writeln!(file, "{test}: {why}"));
    }
    assert!(env::var_os("CI").is_none_or(|ci| ci != "true"), "{test} cannot run: {why}");
}
