//! xinetd with the service the seed guards: daytime-stream.

use std::{fs, os::unix::process::CommandExt, process::Command};

use anyhow::{Context, Result};

use crate::{
    namespace::Listening,
    process::Process,
    sandbox::{Place, Sandbox},
};

/// A running xinetd, under the name the seed's log has.
#[derive(Debug)]
pub struct Xinetd {
    /// Its process; it logs to the sandbox's /dev/log.
    pub process: Process,
    /// The port of daytime-stream, a dual-stack socket.
    pub port: u16,
}

impl Xinetd {
    /// Starts it with one service: id daytime-stream, name daytime.
    ///
    /// # Errors
    /// It is not installed or does not listen.
    pub fn start(sandbox: &Sandbox, port: u16) -> Result<Self> {
        // As Debian's xinetd.d/daytime, but enabled, logging, on IPv6 and on a port of its own.
        let service = format!(
            "service daytime\n\
             {{\n\
             \tdisable\t\t= no\n\
             \ttype\t\t= INTERNAL UNLISTED\n\
             \tid\t\t= daytime-stream\n\
             \tsocket_type\t= stream\n\
             \tprotocol\t= tcp\n\
             \tport\t\t= {port}\n\
             \tflags\t\t= IPv6\n\
             \tuser\t\t= root\n\
             \twait\t\t= no\n\
             \tlog_type\t= SYSLOG daemon info\n\
             \tlog_on_success\t= HOST PID\n\
             \tlog_on_failure\t= HOST\n\
             }}\n"
        );
        let file = sandbox.etc().join("xinetd.d/daytime");
        fs::write(&file, service).with_context(|| format!("write {}", file.display()))?;
        let mut xinetd = Command::new("/usr/sbin/xinetd");
        xinetd.arg0("xinetd-ipv6").args(["-dontfork", "-stayalive", "-pidfile", "/run/xinetd.pid"]);
        let mut process = sandbox.spawn(Place::Guarded, xinetd)?;
        sandbox.wait_listening(&mut process, &[Listening { v6: true, port }]).context("xinetd")?;
        Ok(Self { process, port })
    }
}
