//! The real libwrap at work: Debian's tcpd under xinetd, which leaves the tables to it.

use std::{
    fs,
    net::IpAddr,
    os::unix::{fs::PermissionsExt as _, net::UnixDatagram},
    process::Command,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use anyhow::{Context, Result};

use crate::{
    namespace::Listening,
    process::Process,
    sandbox::{Place, SERVER_V4, SERVER_V6, Sandbox},
    wait::wait_for,
};

/// A running xinetd whose one service tcpd guards, and tcpw does not.
#[derive(Debug)]
pub struct Tcpd {
    /// xinetd.
    pub process: Process,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Tcpd {
    /// Starts it with a daemon of that name at a port of both families. Its libwrap reads the
    /// server's /etc/hosts.allow and hosts.deny.
    ///
    /// # Errors
    /// It is not installed or does not listen.
    pub fn start(sandbox: &Sandbox, daemon: &str, port: u16) -> Result<Self> {
        let directory = sandbox.scratch().join("tcpd");
        fs::create_dir(&directory).context("make a directory for tcpd")?;
        let program = directory.join(daemon);
        fs::write(&program, "#!/bin/sh\necho hello from tcpd\n").context("write a daemon")?;
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).context("make it a program")?;
        let service = |address: IpAddr, family| {
            format!(
                "service {daemon}\n\
                 {{\n\
                 \ttype\t\t= UNLISTED\n\
                 \tid\t\t= {daemon}-{family}\n\
                 \tflags\t\t= NAMEINARGS NOLIBWRAP {family}\n\
                 \tsocket_type\t= stream\n\
                 \tprotocol\t= tcp\n\
                 \tport\t\t= {port}\n\
                 \tbind\t\t= {address}\n\
                 \tuser\t\t= root\n\
                 \twait\t\t= no\n\
                 \tserver\t\t= /usr/sbin/tcpd\n\
                 \tserver_args\t= {}\n\
                 \tinstances\t= UNLIMITED\n\
                 \tper_source\t= UNLIMITED\n\
                 \tcps\t\t= 10000 1\n\
                 }}\n",
                program.display()
            )
        };
        let configuration = directory.join("xinetd.conf");
        let text = [service(SERVER_V4, "IPv4"), service(SERVER_V6, "IPv6")].concat();
        fs::write(&configuration, text).context("write xinetd.conf")?;
        let socket = UnixDatagram::bind(sandbox.scratch().join("run/dev-log")).context("bind /dev/log")?;
        let lines: Arc<Mutex<Vec<String>>> = Arc::default();
        let read = Arc::clone(&lines);
        thread::spawn(move || {
            let mut packet = [0; 4096];
            // The last of the two is ours: nobody listens any more.
            while Arc::strong_count(&read) > 1 {
                drop(socket.set_read_timeout(Some(Duration::from_millis(200))));
                if let Ok(length) = socket.recv(&mut packet) {
                    let text = String::from_utf8_lossy(&packet[..length]).trim_end().to_owned();
                    read.lock().unwrap_or_else(PoisonError::into_inner).push(text);
                }
            }
        });
        let mut xinetd = Command::new("/usr/sbin/xinetd");
        xinetd.args(["-dontfork", "-stayalive", "-pidfile", "/run/tcpd.pid", "-f"]).arg(&configuration);
        let mut process = sandbox.spawn(Place::Server, xinetd)?;
        let both = [false, true].map(|v6| Listening { v6, port });
        sandbox.wait_listening(&mut process, &both).context("xinetd")?;
        Ok(Self { process, lines })
    }

    /// How many lines it logged so far.
    pub fn mark(&self) -> usize {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// What follows name and process id in a line that holds a text, if there is one.
    pub fn line_with(&self, mark: usize, text: &str) -> Option<String> {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let found = lines.iter().skip(mark).find(|line| line.contains(text))?;
        Some(found.split_once("]: ").map_or(found.as_str(), |(_, said)| said).to_owned())
    }

    /// tcpd's own line about a client: what follows its name and process id.
    ///
    /// # Errors
    /// There is none in time.
    pub fn wait_for_client(&self, mark: usize, address: &str, timeout: Duration) -> Result<String> {
        let end = format!(" ({address})");
        let said = || {
            let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
            lines[mark.min(lines.len())..].to_vec()
        };
        let line = wait_for(&format!("tcpd's line about {address}"), timeout, || {
            Ok(said().into_iter().find(|line| line.contains("connect from ") && line.ends_with(&end)))
        })
        .with_context(|| said().join("\n"))?;
        Ok(line.split_once("]: ").map_or(line.as_str(), |(_, said)| said).to_owned())
    }
}
