//! The evaluator's input: a request, and the interface for look-ups.

use std::path::Path;

pub use super::judgement::{Judgement, Reason, RuleIndex, Verdict};
use crate::parse::rule::Text;

/// libwrap's time limit for a user look-up, in seconds, unless `rfc931` sets another.
pub const RFC931_TIMEOUT_S: u32 = 10;

/// Both ends of a connection attempt, as libwrap has them: text.
#[derive(Clone, Copy, Debug, Default)]
pub struct AccessRequest<'a> {
    /// Names of the daemon; a daemon token matches if it matches any of them.
    /// libwrap has exactly one; a listener may have several, or none (then only
    /// a pattern that matches every name matches). The first is `%d`.
    pub daemons: &'a [Text],
    /// Client address as getnameinfo(3) prints it; `None` is "unknown".
    pub client_address: Option<&'a str>,
    /// Server address, likewise.
    pub server_address: Option<&'a str>,
    /// Client port; `None` without socket information.
    pub client_port: Option<u16>,
    /// Server port, likewise.
    pub server_port: Option<u16>,
    /// Process id of the daemon: `%p`.
    pub pid: u32,
    /// The daemon serves more than one client (libwrap's `resident`): `twist` is an error.
    pub resident: bool,
    /// Facts that need no look-up.
    pub known: Known<'a>,
}

/// Results of look-ups that the caller has already made.
#[derive(Clone, Copy, Debug, Default)]
pub struct Known<'a> {
    /// Name of the client.
    pub client_name: Option<&'a HostName>,
    /// Name of the server's end.
    pub server_name: Option<&'a HostName>,
    /// User of the client; "unknown" where there is none.
    pub client_user: Option<&'a [u8]>,
}

/// A host name as libwrap knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostName {
    /// Looked up and verified.
    Known(Text),
    /// No name.
    Unknown,
    /// Name and address disagree.
    Paranoid,
}

/// Facts that need a look-up; asked for on demand, at most once per request and question.
///
/// Each method has a default, for implementations without that look-up: names and users are unknown, no host
/// is in a netgroup, commands succeed, there are no banners.
pub trait Lookup {
    /// Name of the client.
    fn client_name(&self) -> HostName {
        HostName::Unknown
    }

    /// Name of the server's end.
    fn server_name(&self) -> HostName {
        HostName::Unknown
    }

    /// User of the client (ident, RFC 1413); `None` is "unknown".
    fn client_user(&self, _timeout_s: u32) -> Option<Text> {
        None
    }

    /// innetgr(3): is (host, user) a member of the netgroup.
    fn in_netgroup(&self, _group: &[u8], _host: Option<&[u8]>, _user: Option<&[u8]>) -> bool {
        false
    }

    /// getpwnam(3): does the user exist.
    fn user_exists(&self, name: &[u8]) -> bool;

    /// getgrnam(3): does the group exist.
    fn group_exists(&self, name: &[u8]) -> bool;

    /// Runs a command of `spawn` or `aclexec` to its end, as `/bin/sh -c` would.
    fn run(&self, _purpose: Purpose, _command: &[u8]) -> CommandResult {
        CommandResult::Exited(0)
    }

    /// Reads the banner `directory`/`daemon`.
    fn banner(&self, _directory: &Path, _daemon: &[u8]) -> Banner {
        Banner::Missing
    }
}

/// What a command is run for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// `spawn`: its result is ignored.
    Spawn,
    /// `aclexec`: its result decides.
    Aclexec,
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommandResult {
    /// With this exit status, 0 to 255.
    Exited(u8),
    /// By a signal.
    Killed {
        /// The process.
        pid: u32,
        /// The signal.
        signal: i32,
    },
}

/// The result of reading a banner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Banner {
    /// Its text, before % expansion.
    Text(Vec<u8>),
    /// There is none for this daemon.
    Missing,
    /// The directory does not exist either: strerror(3)'s text.
    NoDirectory(String),
}
