//! OpenSMTPD, which puts mail to local users into their mailboxes.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use nix::mount::{MsFlags, mount};

use crate::{
    process::Process,
    sandbox::{Place, Sandbox},
};

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
        let (spool, mailboxes) = (sandbox.scratch().join("spool"), sandbox.scratch().join("mail"));
        fs::create_dir_all(spool.join("smtpd")).context("make a spool")?;
        fs::create_dir(&mailboxes).context("make a directory of mailboxes")?;
        fs::set_permissions(spool.join("smtpd"), fs::Permissions::from_mode(0o711))?;
        fs::set_permissions(&mailboxes, fs::Permissions::from_mode(0o1777))?;
        sandbox.mounts().run(|| bind(&spool, "/var/spool").and_then(|()| bind(&mailboxes, "/var/mail")))?;
        fs::write(sandbox.etc().join("mailname"), "gate\n")?;
        fs::write(sandbox.etc().join("aliases"), "postmaster: root\n")?;
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
        let deadline = Instant::now() + Duration::from_secs(10);
        while !sandbox.scratch().join("run/smtpd.sock").exists() {
            if !process.is_running() || Instant::now() > deadline {
                bail!("smtpd does not listen; its last lines:\n{}", process.tail());
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(Self { process, mailboxes })
    }

    /// Waits until a user's mailbox has something with `pattern` in it: all of it.
    ///
    /// # Errors
    /// It does not in time: with what is there.
    pub fn wait_for_mail(&self, user: &str, pattern: &str, timeout: Duration) -> Result<String> {
        let deadline = Instant::now() + timeout;
        loop {
            let mail = fs::read_to_string(self.mailboxes.join(user)).unwrap_or_default();
            if mail.contains(pattern) {
                return Ok(mail);
            }
            if Instant::now() > deadline {
                bail!("no \"{pattern}\" in the mail of {user}:\n{mail}\n{}", self.process.tail());
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}

fn bind(from: &Path, to: &str) -> Result<()> {
    mount(Some(from), to, None::<&str>, MsFlags::MS_BIND, None::<&str>)
        .with_context(|| format!("bind to {to}"))
}
