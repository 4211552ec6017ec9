//! A directory for files of one test, and `tcpw` as a command that ends.

use std::{
    fs,
    path::PathBuf,
    process::{Command, Stdio},
};

use crate::tcpw::tcpw_binary;

/// A directory of its own, removed at the end.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    /// Makes one; `name` is the test's.
    ///
    /// # Panics
    /// It cannot be made.
    pub fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("tcpw-{name}-{}", std::process::id()));
        fs::create_dir(&path).expect("make a directory");
        Self(path)
    }

    /// A path in it.
    pub fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }

    /// Writes a file, with the directories above it; its path.
    ///
    /// # Panics
    /// It cannot be written.
    pub fn write(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        let above = path.parent().expect("it is below the directory");
        fs::create_dir_all(above).and_then(|()| fs::write(&path, text)).expect("write a file");
        self.path(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// `tcpw ARGUMENTS`, without a terminal: exit code, standard output, standard error.
///
/// # Panics
/// It cannot be started, or does not end by itself.
pub fn tcpw_output(arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(tcpw_binary().expect("tcpw is built"));
    command.args(arguments).stdin(Stdio::null()).env_remove("TCPW_LOG");
    let output = command.output().expect("start tcpw");
    let text = |bytes| String::from_utf8(bytes).expect("tcpw writes text");
    (output.status.code().expect("tcpw ends by itself"), text(output.stdout), text(output.stderr))
}
