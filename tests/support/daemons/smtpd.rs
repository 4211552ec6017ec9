//! OpenSMTPD, which puts mail to local users into their mailboxes.

use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf, process::Command, time::Duration};

use super::mail;
use crate::{
    process::Process,
    sandbox::{Place, Sandbox},
    wait::wait_ready,
};
use anyhow::{Context as _, Result};

/// A running smtpd, with a spool and mailboxes of the sandbox's own.
#[derive(Debug)]
pub struct Smtpd {
    /// Its process.
    pub process: Process,
    mailboxes: PathBuf,
}

impl Smtpd {
    /// Starts it; local programs may hand over mail when this returns.
    ///
    /// # Errors
    /// It is not installed or does not make its socket.
    pub fn start(sandbox: &Sandbox) -> Result<Self> {
        let mailboxes = mail::mailboxes(sandbox)?;
        let spool = sandbox.scratch().join("spool/smtpd");
        fs::create_dir(&spool).context("make a spool")?;
        fs::set_permissions(&spool, fs::Permissions::from_mode(0o711))?;
        fs::write(
            sandbox.etc().join("smtpd.conf"),
            "table aliases file:/etc/aliases\n\
             listen on socket\n\
             action \"local\" mbox alias <aliases>\n\
             match from local for local action \"local\"\n",
        )?;
        let mut smtpd = Command::new("/usr/sbin/smtpd");
        smtpd.args(["-d", "-f", "/etc/smtpd.conf"]);
        let mut process = sandbox.spawn(Place::Server, smtpd)?;
        let socket = sandbox.scratch().join("run/smtpd.sock");
        wait_ready(&mut process, "smtpd listens", Duration::from_secs(10), || Ok(socket.exists()))?;
        Ok(Self { process, mailboxes })
    }

    /// Waits until a user's mailbox has something with `pattern` in it: all of it.
    ///
    /// # Errors
    /// It does not in time: with what is there.
    pub fn wait_for_mail(&self, user: &str, pattern: &str, timeout: Duration) -> Result<String> {
        mail::wait_for_mail(&self.mailboxes.join(user), pattern, timeout, &self.process)
    }
}
