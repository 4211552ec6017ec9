//! tcpdmatch(8) of Debian's package tcpd: the verdict an administrator is shown.
//!
//! In: cases it can be asked: addresses alone, no look-ups, nothing of a process that really runs.
//! Out: its verdict. It reads the tables from a directory of its own, in a network without
//! interfaces.

use std::{
    fs,
    net::IpAddr,
    path::PathBuf,
    process::{Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context, Result, bail};

use super::{Answer, Case, Text};
use crate::Netns;

/// What it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// The client is served.
    Granted,
    /// It is not.
    Denied,
    /// `twist`: another program serves it.
    Delegated,
}

impl Access {
    /// What an answer comes to.
    pub fn of(answer: &Answer) -> Self {
        match (answer.expect.as_str(), answer.via.as_str()) {
            ("allow", _) => Self::Granted,
            (_, "twist") => Self::Delegated,
            _ => Self::Denied,
        }
    }
}

/// The program, with a directory for tables.
#[derive(Debug)]
pub struct Tcpdmatch {
    directory: PathBuf,
    netns: Netns,
}

impl Tcpdmatch {
    /// Where it is installed.
    pub const PROGRAM: &str = "/usr/sbin/tcpdmatch";

    /// Makes a directory and a network for it.
    ///
    /// # Errors
    /// Not root.
    pub fn new() -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("tcpdmatch-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let directory = std::env::temp_dir().join(name);
        fs::create_dir(&directory).with_context(|| format!("make {}", directory.display()))?;
        // Without one it says nothing.
        fs::write(directory.join("inetd.conf"), "").context("write inetd.conf")?;
        Ok(Self { directory, netns: Netns::new()? })
    }

    /// What a case comes to when it is reduced to what tcpdmatch can be asked, if anything.
    pub fn reduce(case: Case) -> Option<Case> {
        let is_address = |text: &Option<Text>| {
            let text = text.as_ref().and_then(|text| str::from_utf8(text.as_bytes()).ok());
            text.is_some_and(|text| text.parse::<IpAddr>().is_ok())
        };
        let tables = || case.allow.iter().chain(&case.deny).map(Text::as_bytes);
        let has = |word: &[u8]| {
            tables().any(|text| text.windows(word.len()).any(|part| part.eq_ignore_ascii_case(word)))
        };
        // It really changes to the user; it runs no command, so aclexec always succeeds; it ends
        // without a word where an expansion is too long.
        let acts = [&b"user"[..], b"group", b"aclexec", b"%n%n", b"%a%c"].into_iter().any(has);
        let daemon = case.daemon.as_bytes();
        let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        let plain = !daemon.is_empty() && daemon[0] != b'-' && daemon.iter().all(is_word);
        // Its files would be the machine's.
        let asks =
            plain && is_address(&case.client_addr) && !acts && case.files.is_empty() && !has(b"/tmp/lwc");
        let server_addr = case.server_addr.clone().filter(|address| is_address(&Some(address.clone())));
        asks.then_some(Case {
            // It makes a socket address of the server's, with port 0: the token `0` matches it.
            server_port: server_addr.as_ref().map(|_| 0),
            server_addr,
            client_name: None,
            client_user: None,
            server_name: None,
            client_port: None,
            resident: false,
            ..case
        })
    }

    /// Asks it about a reduced case.
    ///
    /// # Errors
    /// It does not answer.
    pub fn ask(&self, case: &Case) -> Result<Access> {
        for (name, text) in [("hosts.allow", &case.allow), ("hosts.deny", &case.deny)] {
            let path = self.directory.join(name);
            match text {
                Some(text) => fs::write(&path, text.as_bytes()),
                None if path.exists() => fs::remove_file(&path),
                None => Ok(()),
            }
            .with_context(|| format!("write {}", path.display()))?;
        }
        let word = |text: &Text| String::from_utf8_lossy(text.as_bytes()).into_owned();
        let mut daemon = word(&case.daemon);
        if let Some(server) = &case.server_addr {
            daemon = format!("{daemon}@{}", word(server));
        }
        let client = case.client_addr.as_ref().map(word).context("a client's address")?;
        let mut command = Command::new(Self::PROGRAM);
        command.args(["-d", "-i", "inetd.conf", &daemon, &client]).current_dir(&self.directory);
        let done = self.netns.run(|| command.stdin(Stdio::null()).output().context("start tcpdmatch"))?;
        let said = String::from_utf8_lossy(&done.stdout);
        match said.lines().find_map(|line| line.strip_prefix("access:")).map(str::trim) {
            Some("granted") => Ok(Access::Granted),
            Some("denied") => Ok(Access::Denied),
            Some("delegated") => Ok(Access::Delegated),
            _ => bail!("tcpdmatch {daemon} {client} said \"{said}\" ({})", done.status),
        }
    }
}

impl Drop for Tcpdmatch {
    fn drop(&mut self) {
        // Nobody is left to be told.
        drop(fs::remove_dir_all(&self.directory));
    }
}
