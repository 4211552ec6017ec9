//! A sandbox whose tcpw has something for the clients it refuses.

use std::{
    fs,
    io::{ErrorKind, Read as _},
    net::{IpAddr, SocketAddr, TcpStream},
    path::PathBuf,
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use anyhow::{Context as _, Result};
use tcpw_tests::{
    CLIENT_V4, CLIENT_V6, Place as At, Requirement, SERVER_V4, SERVER_V6, Sandbox, Tcpw, can_run,
    client::{Ended, connect, lose_answers},
    wait_until,
};
pub(crate) use tcpw_tests::{LO_V4, LO_V6};

pub(crate) const SOON: Duration = Duration::from_secs(10);

/// The user of the commands: another one in each sandbox, as some limits count all its processes.
static NEXT_UID: AtomicU32 = AtomicU32::new(65001);

pub(crate) fn ready() -> bool {
    can_run("twist", &[Requirement::Root])
}

/// A sandbox with the commands' user, a directory it may write to, and one of banners.
pub(crate) struct Place {
    pub(crate) sandbox: Sandbox,
    pub(crate) out: PathBuf,
    pub(crate) banners: PathBuf,
}

impl Place {
    pub(crate) fn new(name: &str) -> Result<Self> {
        let sandbox = Sandbox::new(name)?;
        let uid = NEXT_UID.fetch_add(1, Ordering::Relaxed);
        let user = format!("tcpw:x:{uid}:{uid}::/nonexistent:/usr/sbin/nologin\n");
        for (file, line) in [("passwd", user), ("group", format!("tcpw:x:{uid}:\n"))] {
            let file = sandbox.etc().join(file);
            let text = fs::read_to_string(&file)? + &line;
            fs::write(&file, text)?;
        }
        let out = sandbox.scratch().join("out");
        fs::create_dir(&out)?;
        std::os::unix::fs::chown(&out, Some(uid), Some(uid))?;
        let banners = sandbox.scratch().join("banners");
        fs::create_dir(&banners)?;
        Ok(Self { sandbox, out, banners })
    }

    /// Starts tcpw with more lines in `[effects]`.
    pub(crate) fn tcpw(&self, settings: &str, more: &[&str]) -> Result<Tcpw> {
        let file = self.sandbox.scratch().join("tcpw.toml");
        let out = self.out.display();
        fs::write(
            &file,
            format!(
                "[effects]\nwritable = [\"{out}\", \"/tmp\", \"/var/tmp\"]\nper-minute-and-source = 1000\nper-minute = 1000\n{settings}"
            ),
        )?;
        let file = file.to_string_lossy();
        Tcpw::start(&self.sandbox, &[&["--config", &*file], more].concat())
    }

    /// What a client gets at the server until the connection ends.
    pub(crate) fn ask(&self, client: IpAddr, port: u16) -> Result<String> {
        self.ask_at(client, SocketAddr::new(self.server_of(client), port))
    }

    /// Where a client finds the server.
    #[expect(clippy::unused_self, reason = "it is this place's server")]
    pub(crate) fn server_of(&self, client: IpAddr) -> IpAddr {
        match client {
            _ if client.is_loopback() => client,
            IpAddr::V4(_) => SERVER_V4,
            IpAddr::V6(_) => SERVER_V6,
        }
    }

    pub(crate) fn ask_at(&self, client: IpAddr, server: SocketAddr) -> Result<String> {
        let mut stream = self.open(client, server)?;
        read_all(&mut stream)
    }

    pub(crate) fn open(&self, client: IpAddr, server: SocketAddr) -> Result<TcpStream> {
        let netns = self.sandbox.netns_of(client);
        match connect(netns, client, server, SOON)?.ended {
            Ended::Connected(stream) => Ok(stream),
            other @ (Ended::ConnectedAndReset | Ended::Refused | Ended::TimedOut) => {
                anyhow::bail!("{client} to {server}: {other:?}")
            }
        }
    }

    /// Waits until clients of a port are led to what their rule has for them.
    pub(crate) fn wait_served(&self, client: IpAddr, port: u16, text: &str) -> Result<()> {
        let server = SocketAddr::new(if client.is_ipv4() { SERVER_V4 } else { SERVER_V6 }, port);
        wait_until(&format!("{client} gets something at port {port}"), SOON, || {
            let attempt = connect(self.sandbox.client(), client, server, Duration::from_millis(900))?;
            Ok(match attempt.ended {
                Ended::Connected(mut stream) => read_all(&mut stream)?.contains(text),
                Ended::ConnectedAndReset | Ended::Refused | Ended::TimedOut => false,
            })
        })
    }

    /// As [`lose_answers`], of the client's host.
    pub(crate) fn lose_answers(&self, are_lost: bool) -> Result<()> {
        lose_answers(self.sandbox.client(), are_lost)
    }

    /// What a program on the client's host prints, however it ends.
    pub(crate) fn printed(&self, program: &str, arguments: &str) -> Result<String> {
        let mut command = Command::new(program);
        command.args(arguments.split(' '));
        let mut process = self.sandbox.spawn(At::Client, command)?;
        process.wait(SOON)?;
        Ok(process.lines().into_iter().map(|line| line.text + "\n").collect())
    }

    /// Waits until a counter has a value.
    pub(crate) fn wait_counter(&self, name: &str, value: u64) -> Result<()> {
        Tcpw::wait_counter(&self.sandbox, name, value, SOON)
    }
}

/// What comes until the connection ends, however it does.
pub(crate) fn read_all(stream: &mut TcpStream) -> Result<String> {
    stream.set_read_timeout(Some(SOON))?;
    let mut all = Vec::new();
    match stream.read_to_end(&mut all) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        Err(error) => return Err(error).with_context(|| String::from_utf8_lossy(&all).into_owned()),
    }
    Ok(String::from_utf8_lossy(&all).into_owned())
}

/// Lines of tcpw's that hold a text, from a mark on.
pub(crate) fn lines_with(tcpw: &Tcpw, mark: usize, text: &str) -> Vec<String> {
    let lines = tcpw.process.lines().into_iter().skip(mark).map(|line| line.text);
    lines.filter(|line| line.contains(text)).collect()
}

/// A client of each way there is to the server.
pub(crate) const CLIENTS: [IpAddr; 4] = [CLIENT_V4, CLIENT_V6, LO_V4, LO_V6];
