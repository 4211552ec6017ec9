//! What commands of the tables need in a sandbox: their user, a place to write to, and a look at it.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result};

use crate::{sandbox::Sandbox, wait::wait_for};

/// A directory that the commands' user may write to, and settings that say so.
#[derive(Clone, Debug)]
pub struct Commands {
    /// The directory, at the same path inside and outside.
    pub out: PathBuf,
    /// User `tcpw`. Another one in each sandbox that runs at a time: some limits count all its processes.
    pub uid: u32,
}

impl Commands {
    /// Makes user and directory.
    ///
    /// # Errors
    /// The disk is full.
    pub fn prepare(sandbox: &Sandbox, uid: u32) -> Result<Self> {
        let user = format!("tcpw:x:{uid}:{uid}::/nonexistent:/usr/sbin/nologin\n");
        for (file, line) in [("passwd", user), ("group", format!("tcpw:x:{uid}:\n"))] {
            let file = sandbox.etc().join(file);
            let text = fs::read_to_string(&file).context("read accounts")? + &line;
            fs::write(&file, text).context("write accounts")?;
        }
        let out = sandbox.scratch().join("out");
        fs::create_dir(&out).context("make a directory for commands")?;
        std::os::unix::fs::chown(&out, Some(uid), Some(uid)).context("chown")?;
        Ok(Self { out, uid })
    }

    /// Writes a file of settings, with more lines in `[effects]`.
    ///
    /// # Errors
    /// The disk is full.
    pub fn settings(&self, sandbox: &Sandbox, more: &str) -> Result<PathBuf> {
        let file = sandbox.scratch().join("tcpw.toml");
        let out = self.out.display();
        let text = format!("[effects]\nwritable = [\"{out}\", \"/tmp\", \"/var/tmp\"]\n{more}");
        fs::write(&file, text).context("write settings")?;
        Ok(file)
    }

    /// Lines of a file the commands write, once there are so many.
    ///
    /// # Errors
    /// There are not in time: with what is there.
    pub fn lines(&self, name: &str, count: usize, timeout: Duration) -> Result<Vec<String>> {
        lines(&self.out.join(name), count, timeout)
    }
}

fn lines(file: &Path, count: usize, timeout: Duration) -> Result<Vec<String>> {
    let read = || fs::read_to_string(file).unwrap_or_default();
    wait_for(&format!("{count} lines in {}", file.display()), timeout, || {
        let lines: Vec<String> = read().lines().map(str::to_owned).collect();
        Ok((lines.len() >= count).then_some(lines))
    })
    .with_context(read)
}
