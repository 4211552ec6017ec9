//! A request and its judgement.

use crate::parse::rule::{TableKind, Text};

/// Who wants to connect to whom, in libwrap's terms: text.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// Names of the daemon; a daemon token matches if it matches any of them.
    /// libwrap has exactly one; a listener may have several, or none (then only
    /// what matches every name matches).
    pub daemons: &'a [Text],
    /// Client address as getnameinfo(3) prints it; `None` is "unknown".
    pub client_address: Option<&'a str>,
    /// Server address, likewise.
    pub server_address: Option<&'a str>,
    /// Server port; `None` without socket information.
    pub server_port: Option<u16>,
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

/// What only a look-up can tell; asked on demand, at most once per request and question.
///
/// Each has an answer for those who cannot look: names and users are unknown, nobody is in a
/// netgroup, commands succeed.
pub trait Lookup {
    /// Name of the client.
    fn client_name(&self) -> HostName {
        HostName::Unknown
    }

    /// Name of the server's end.
    fn server_name(&self) -> HostName {
        HostName::Unknown
    }

    /// User of the client (ident); `None` is "unknown".
    fn client_user(&self) -> Option<Text> {
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

    /// Exit status 0 of an aclexec command.
    fn command_succeeds(&self, _command: &[u8]) -> bool {
        true
    }
}

/// Allow or refuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verdict {
    /// The connection passes.
    Allow,
    /// The connection is refused.
    Refuse,
}

/// Which rule: an index into a table's rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RuleIndex {
    /// The table.
    pub table: TableKind,
    /// Index into its rules.
    pub index: usize,
}

/// Why a verdict is what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The first matching rule decided by the table it stands in.
    Rule,
    /// Its explicit `allow` or `deny` option decided.
    Option,
    /// One of its options is wrong: refused.
    OptionError,
    /// `twist` takes the connection from the daemon.
    Twist,
    /// hosts.deny could not be read to its end: refused.
    TableBroken,
    /// No rule matched: allowed.
    NoRule,
}

/// The reference evaluator's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// Allow or refuse.
    pub verdict: Verdict,
    /// Why.
    pub reason: Reason,
    /// The rule that matched.
    pub rule: Option<RuleIndex>,
    /// Priority of the log line if the rule has `severity`.
    pub severity: Option<i32>,
    /// libwrap's warnings and errors of this request, as it words them.
    pub warnings: Vec<String>,
}
