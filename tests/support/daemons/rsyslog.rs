//! rsyslog behind the sandbox's /dev/log, with a secure log.

use std::{fs, path::PathBuf, process::Command, time::Duration};

use anyhow::{Context, Result};

use crate::{
    process::Process,
    sandbox::{Place, Sandbox},
    wait::{wait_for, wait_ready},
};

/// A running rsyslogd: authpriv and auth go to /var/log/secure, the rest to /var/log/messages; all of it
/// to /var/log/priorities too, with facility and level in front.
#[derive(Debug)]
pub struct Rsyslog {
    /// Its process.
    pub process: Process,
    log: PathBuf,
}

impl Rsyslog {
    /// Starts it; /dev/log takes messages when this returns.
    ///
    /// # Errors
    /// It is not installed or does not make its socket.
    pub fn start(sandbox: &Sandbox) -> Result<Self> {
        let configuration = "\
            module(load=\"imuxsock\" SysSock.Name=\"/run/dev-log\" SysSock.RateLimit.Interval=\"0\")\n\
            module(load=\"builtin:omfile\" Template=\"RSYSLOG_TraditionalFileFormat\")\n\
            auth,authpriv.*\t\t\t/var/log/secure\n\
            *.*;auth,authpriv.none\t\t/var/log/messages\n\
            template(name=\"Priorities\" type=\"string\" \
            string=\"%syslogfacility-text%.%syslogseverity-text% %syslogtag%%msg%\\n\")\n\
            *.*\t\t\t\t/var/log/priorities;Priorities\n";
        fs::write(sandbox.etc().join("rsyslog.conf"), configuration).context("write rsyslog.conf")?;
        let mut rsyslogd = Command::new("/usr/sbin/rsyslogd");
        rsyslogd.args(["-n", "-f", "/etc/rsyslog.conf", "-i", "/run/rsyslogd.pid"]);
        let mut process = sandbox.spawn(Place::Guarded, rsyslogd)?;
        let socket = sandbox.scratch().join("run/dev-log");
        wait_ready(&mut process, "rsyslogd listens", Duration::from_secs(10), || Ok(socket.exists()))?;
        Ok(Self { process, log: sandbox.scratch().join("log") })
    }

    /// Waits for a line of /var/log/secure that contains `pattern`.
    ///
    /// # Errors
    /// None in time: with the whole file.
    pub fn wait_for_secure(&self, pattern: &str, timeout: Duration) -> Result<String> {
        wait_for_line(&self.log.join("secure"), pattern, timeout)
    }

    /// Waits for a line of /var/log/messages that contains `pattern`.
    ///
    /// # Errors
    /// None in time: with the whole file.
    pub fn wait_for_message(&self, pattern: &str, timeout: Duration) -> Result<String> {
        wait_for_line(&self.log.join("messages"), pattern, timeout)
    }

    /// Waits for a message that contains `pattern`: facility and level, tag, message.
    ///
    /// # Errors
    /// None in time: with the whole file.
    pub fn wait_for_priority(&self, pattern: &str, timeout: Duration) -> Result<String> {
        wait_for_line(&self.log.join("priorities"), pattern, timeout)
    }
}

fn wait_for_line(file: &std::path::Path, pattern: &str, timeout: Duration) -> Result<String> {
    // Not there before the first message.
    let read = || fs::read_to_string(file).unwrap_or_default();
    wait_for(&format!("\"{pattern}\" is in {}", file.display()), timeout, || {
        Ok(read().lines().find(|line| line.contains(pattern)).map(str::to_owned))
    })
    .with_context(read)
}
