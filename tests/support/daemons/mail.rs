//! Debian's other mailers: Debian lets only one be installed.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, chown, symlink},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result};
use nix::mount::{MsFlags, mount};

use crate::{
    process::Process,
    sandbox::{Place, Sandbox},
    unpacked::{account, add, lay_over, layer, mark},
    wait::{wait_for, wait_ready},
};

/// Users and groups that the packages would have made.
const POSTFIX: (u32, u32) = (64101, 64101);
const POSTDROP: u32 = 64102;
const EXIM: (u32, u32) = (64110, 64110);

/// Directory of the sandbox's mailboxes, /var/mail there.
pub(super) fn mailboxes(sandbox: &Sandbox) -> Result<PathBuf> {
    let mailboxes = sandbox.scratch().join("mail");
    fs::create_dir(&mailboxes).context("make a directory of mailboxes")?;
    fs::set_permissions(&mailboxes, fs::Permissions::from_mode(0o1777))?;
    let spool = sandbox.scratch().join("spool");
    fs::create_dir(&spool).context("make a spool")?;
    sandbox.mounts().run(|| bind(&spool, "/var/spool").and_then(|()| bind(&mailboxes, "/var/mail")))?;
    fs::write(sandbox.etc().join("mailname"), "gate\n")?;
    fs::write(sandbox.etc().join("aliases"), "postmaster: root\n")?;
    Ok(mailboxes)
}

/// Waits until a mailbox has something with `pattern` in it: all of it.
pub(super) fn wait_for_mail(
    mailbox: &Path,
    pattern: &str,
    timeout: Duration,
    process: &Process,
) -> Result<String> {
    let read = || fs::read_to_string(mailbox).unwrap_or_default();
    wait_for(&format!("\"{pattern}\" is in {}", mailbox.display()), timeout, || {
        Ok(Some(read()).filter(|mail| mail.contains(pattern)))
    })
    .with_context(|| format!("{}\n{}", read(), process.tail()))
}

fn bind(from: &Path, to: &str) -> Result<()> {
    mount(Some(from), to, None::<&str>, MsFlags::MS_BIND, None::<&str>)
        .with_context(|| format!("bind to {to}"))
}

/// A running Postfix or exim.
#[derive(Debug)]
pub struct Mail {
    /// Its process.
    pub process: Process,
    mailbox: PathBuf,
}

impl Mail {
    /// Starts Postfix, whose set-gid part is `postdrop`.
    ///
    /// # Errors
    /// Its package is not unpacked, or it does not take mail.
    pub fn postfix(sandbox: &Sandbox) -> Result<Self> {
        lay_over(sandbox, &["postfix"])?;
        let (usr, etc) = (layer(sandbox, "postfix"), sandbox.etc());
        account(sandbox, "postfix", POSTFIX)?;
        add(&sandbox.etc().join("group"), &format!("postdrop:x:{POSTDROP}:\n"))?;
        let mailboxes = mailboxes(sandbox)?;
        for program in ["postdrop", "postqueue"] {
            mark(&usr.join("sbin").join(program), (0, POSTDROP), 0o2555)?;
        }
        fs::create_dir_all(sandbox.scratch().join("spool/postfix"))?;
        let main = "compatibility_level = 3.6\nmyhostname = gate\nmydestination = gate, localhost\n\
                    inet_interfaces = loopback-only\nalias_maps =\nalias_database =\n\
                    data_directory = /run/postfix\nmaillog_file = /var/log/mail.log\ndefault_transport = error\n";
        fs::write(etc.join("postfix/main.cf"), main)?;
        let services = fs::read_to_string(usr.join("share/postfix/master.cf.dist"))?;
        // No port 25: nothing but the local hand-over is wanted.
        fs::write(etc.join("postfix/master.cf"), services.replace("\nsmtp      inet", "\n#smtp     inet"))?;
        let mut postfix = Command::new("/usr/sbin/postfix");
        postfix.arg("start-fg");
        let mut process = sandbox.spawn(Place::Server, postfix)?;
        let pickup = sandbox.scratch().join("spool/postfix/public/pickup");
        wait_made(&pickup, &mut process)?;
        Ok(Self { process, mailbox: mailboxes.join("root") })
    }

    /// Starts exim, which is set-uid root.
    ///
    /// # Errors
    /// Its package is not unpacked, or it does not start.
    pub fn exim(sandbox: &Sandbox) -> Result<Self> {
        lay_over(sandbox, &["exim4"])?;
        let (usr, etc) = (layer(sandbox, "exim4"), sandbox.etc());
        account(sandbox, "Debian-exim", EXIM)?;
        let mailboxes = mailboxes(sandbox)?;
        mark(&usr.join("sbin/exim4"), (0, 0), 0o4755)?;
        drop(fs::remove_file(usr.join("sbin/sendmail")));
        symlink("exim4", usr.join("sbin/sendmail"))?;
        let scratch = sandbox.scratch();
        for (directory, owner) in [
            ("spool/exim4", EXIM),
            ("spool/exim4/db", EXIM),
            ("spool/exim4/input", EXIM),
            ("spool/exim4/msglog", EXIM),
            ("log/exim4", EXIM),
        ] {
            let directory = scratch.join(directory);
            fs::create_dir(&directory).with_context(|| format!("make {}", directory.display()))?;
            chown(&directory, Some(owner.0), Some(owner.1))?;
        }
        // As Debian's questions are answered by default.
        let answers = "dc_eximconfig_configtype='local'\ndc_other_hostnames='gate'\ndc_local_interfaces='127.0.0.1 ; ::1'\n\
                       dc_readhost=''\ndc_relay_domains=''\ndc_minimaldns='false'\ndc_relay_nets=''\ndc_smarthost=''\n\
                       CFILEMODE='644'\ndc_use_split_config='false'\ndc_hide_mailname=''\ndc_mailname_in_oh='true'\n\
                       dc_localdelivery='mail_spool'\n";
        fs::write(etc.join("exim4/update-exim4.conf.conf"), answers)?;
        let state = scratch.join("state");
        fs::create_dir_all(state.join("exim4"))?;
        sandbox.mounts().run(|| bind(&state, "/var/lib"))?;
        sandbox.run(Place::Server, Command::new("/usr/sbin/update-exim4.conf"), Duration::from_secs(20))?;
        let mut exim = Command::new("/usr/sbin/exim4");
        exim.args(["-bdf", "-q30m", "-oX", "2525", "-oP", "/run/exim.pid"]);
        let mut process = sandbox.spawn(Place::Server, exim)?;
        wait_made(&scratch.join("run/exim.pid"), &mut process)?;
        // What is for root goes to another user's box: exim delivers nothing as root.
        Ok(Self { process, mailbox: mailboxes.join("mail") })
    }

    /// Waits until root's mailbox has something with `pattern` in it: all of it.
    ///
    /// # Errors
    /// It does not in time: with what is there.
    pub fn wait_for_mail(&self, pattern: &str, timeout: Duration) -> Result<String> {
        wait_for_mail(&self.mailbox, pattern, timeout, &self.process)
    }
}

fn wait_made(file: &Path, process: &mut Process) -> Result<()> {
    wait_ready(process, &format!("{} is made", file.display()), Duration::from_secs(20), || Ok(file.exists()))
}
