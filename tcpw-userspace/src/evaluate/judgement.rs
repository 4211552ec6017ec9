//! The evaluator's answer.

use super::request::CommandResult;
use crate::parse::rule::{TableKind, Text};

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
    /// `twist`: a command gets the connection instead of the daemon.
    Twist,
    /// A % expansion was too long: libwrap ends the daemon's process.
    Exit,
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
    /// The client as libwrap's callers log it: `[user@]host`, with name and user if they were
    /// looked up, sanitised if an expansion used them.
    pub client: Text,
    /// What the options did, in order, those before an error included.
    pub effects: Vec<Effect>,
    /// libwrap's warnings and errors of this request, as it words them. Bytes that are not
    /// UTF-8 are written `\xNN`.
    pub warnings: Vec<String>,
}

/// What one option did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effect {
    /// The rule it stands in. Not always the deciding one: a failed `aclexec` in hosts.allow
    /// leaves the decision to hosts.deny.
    pub rule: RuleIndex,
    /// What it did.
    pub action: EffectAction,
}

/// What an option does; commands and values are expanded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EffectAction {
    /// `spawn`: a command to run in addition.
    Spawn(Text),
    /// `aclexec`: a command that was run to decide.
    Aclexec {
        /// The command.
        command: Text,
        /// How it ended.
        result: CommandResult,
    },
    /// `twist`: a command that gets the connection.
    Twist {
        /// The command.
        command: Text,
        /// The client as the log line names it.
        client: Text,
    },
    /// `banners`: text for the client.
    Banner(Text),
    /// `severity`: syslog priority of the log line.
    Severity(i32),
    /// `keepalive`.
    Keepalive,
    /// `linger`, in seconds.
    Linger(u32),
    /// `rfc931`: the user was looked up.
    Rfc931 {
        /// Time limit in seconds.
        timeout_s: u32,
    },
    /// `setenv`.
    Setenv {
        /// Name.
        name: Text,
        /// Value.
        value: Text,
    },
    /// `nice`.
    Nice(i32),
    /// `umask`.
    Umask(u32),
    /// `user`: only that the user exists.
    User(Text),
    /// `group`: likewise.
    Group(Text),
}
