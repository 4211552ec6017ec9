//! A sandbox whose tcpw runs commands.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use anyhow::Result;
use tcpw_tests::{Commands, Requirement, SERVER_V4, SERVER_V6, Sandbox, Tcpw, can_run, client::connect};

/// A client that gets in does so within a millisecond; one let in by mistake would be in by then.
const AT_ONCE: Duration = Duration::from_millis(900);
pub(crate) const SOON: Duration = Duration::from_secs(60);

/// The user of the commands: another one in each sandbox, as some limits count all its processes.
static NEXT_UID: AtomicU32 = AtomicU32::new(64001);

/// As the seed has it, after its `ALL: ALL`.
pub(crate) const SEED: &str = "ALL: ALL: spawn (echo \"Attempt from %h %a to %d at `date`\" | tee -a /var/log/tcp.deny.log | mail root@localhost)\n";

pub(crate) fn ready() -> bool {
    can_run("effects", &[Requirement::Root])
}

pub(crate) fn has_mail(test: &str) -> bool {
    let programs = ["/usr/sbin/smtpd", "/usr/bin/mail", "/usr/sbin/sshd"].map(Requirement::Program);
    ready() && can_run(test, &programs)
}

/// A sandbox with the commands' user and a directory it may write to.
pub(crate) struct Place {
    pub(crate) sandbox: Sandbox,
    pub(crate) out: PathBuf,
    pub(crate) uid: u32,
    commands: Commands,
}

impl Place {
    pub(crate) fn new(name: &str) -> Result<Self> {
        let sandbox = Sandbox::new(name)?;
        let uid = NEXT_UID.fetch_add(1, Ordering::Relaxed);
        let commands = Commands::prepare(&sandbox, uid)?;
        Ok(Self { out: commands.out.clone(), uid, commands, sandbox })
    }

    /// Starts tcpw with more lines in `[effects]`.
    pub(crate) fn tcpw(&self, settings: &str, more: &[&str]) -> Result<Tcpw> {
        let file = self.commands.settings(&self.sandbox, settings)?;
        let file = file.to_string_lossy();
        Tcpw::start(&self.sandbox, &[&["--config", &*file], more].concat())
    }

    pub(crate) fn settings(&self) -> PathBuf {
        self.sandbox.scratch().join("tcpw.toml")
    }

    /// Whether a client is let in that should not be.
    pub(crate) fn attempt(&self, client: IpAddr, port: u16) -> Result<bool> {
        self.attempt_within(client, port, AT_ONCE)
    }

    /// Whether a client is let in that should be: on a busy machine it may take its time.
    pub(crate) fn is_let_in(&self, client: IpAddr, port: u16) -> Result<bool> {
        self.attempt_within(client, port, SOON)
    }

    pub(crate) fn attempt_within(&self, client: IpAddr, port: u16, time: Duration) -> Result<bool> {
        let server = if client.is_ipv6() { SERVER_V6 } else { SERVER_V4 };
        Ok(connect(self.sandbox.client(), client, SocketAddr::new(server, port), time)?.is_connected())
    }

    /// Lines of a file the commands write, once there are so many.
    pub(crate) fn lines(&self, name: &str, count: usize) -> Result<Vec<String>> {
        self.commands.lines(name, count, SOON)
    }

    /// Waits until a counter has a value.
    pub(crate) fn wait_counter(&self, name: &str, value: u64) -> Result<()> {
        Tcpw::wait_counter(&self.sandbox, name, value, SOON)
    }
}
