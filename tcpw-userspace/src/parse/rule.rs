//! What a table says: rules, lists and patterns, each with its origin.
//!
//! Text is bytes: a table may hold any byte but NUL, and libwrap compares bytes.
//! Source: hosts_access(5), hosts_options(5); tcp_wrappers 7.6.q `hosts_access.c`.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, Ipv6Addr},
    path::PathBuf,
    sync::Arc,
};

use smallvec::SmallVec;

pub use super::{
    rules::{PlainRule, RuleEntry, RuleIter, RuleRef, Rules},
    table_text::{Span, TableText},
};

/// Text of a table.
pub type Text = Box<[u8]>;

/// Both tables and every pattern file they name, parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tables {
    /// hosts.allow.
    pub allow: Table,
    /// hosts.deny.
    pub deny: Table,
    /// Pattern files by the path the tables spell.
    pub files: BTreeMap<PathBuf, PatternFile>,
}

/// Which of the two tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TableKind {
    /// hosts.allow.
    Allow,
    /// hosts.deny.
    Deny,
}

impl TableKind {
    /// The other one.
    pub const fn other(self) -> Self {
        match self {
            Self::Allow => Self::Deny,
            Self::Deny => Self::Allow,
        }
    }
}

/// One table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Which one.
    pub kind: TableKind,
    /// Where it was read from.
    pub path: Arc<PathBuf>,
    /// Its rules, in order.
    pub rules: Rules,
    /// How it ends.
    pub end: TableEnd,
    /// What libwrap says when a search passes a faulty place.
    pub complaints: Vec<Complaint>,
}

/// A faulty place of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    /// Index of the rule that follows it, the number of rules if none does.
    pub before: usize,
    /// libwrap's words, `warning: ` included.
    pub text: String,
}

/// How a table ends: what a search that found no rule in it returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableEnd {
    /// No match (libwrap's NO): the table was read to its end, or does not exist.
    Complete,
    /// Error (libwrap's ERR): unreadable, last line without newline, or a line too
    /// long. In hosts.deny this refuses every client that no rule decided.
    Broken,
}

/// Where something stands, for messages. Lines and columns count from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// File.
    pub path: Arc<PathBuf>,
    /// Physical line.
    pub line: u32,
    /// Column in bytes.
    pub column: u32,
    /// Length in bytes, at least 1.
    pub length: u32,
}

/// One rule: `daemons : clients [: option]...`.
///
/// Its place and its text are made when they are asked for.
#[derive(Clone, Debug)]
pub struct Rule {
    /// The text it stands in.
    pub(crate) source: Arc<TableText>,
    /// Offset in the text where its line begins.
    pub(crate) start: u32,
    /// The line number libwrap gives it: that of its last physical line.
    pub number: u32,
    /// Daemon list. Rules whose lists have the same text may share one list.
    pub daemons: Arc<List<DaemonPattern>>,
    /// Client list.
    pub clients: List<ClientPattern>,
    /// Option fields in order; an erroneous one refuses when the rule matches.
    pub options: Vec<OptionField>,
}

/// A list with EXCEPT: matches if one of `patterns` does and `except` does not.
///
/// `a EXCEPT b EXCEPT c` is `a` and not (`b` and not `c`). Without patterns it never matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List<P> {
    /// Patterns before the first EXCEPT.
    /// Most lists have one: it lies in the rule, which a search of many rules reads faster.
    pub patterns: SmallVec<[P; 1]>,
    /// What follows it.
    pub except: Option<Box<List<P>>>,
}

/// One token of a daemon list: `daemon[@server]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DaemonPattern {
    /// Where it stands in the rule.
    pub span: Span,
    /// The daemon part.
    pub daemon: Daemon,
    /// The pattern for the server's end, after `@`.
    pub server: Option<HostPattern>,
}

/// Daemon part of a daemon token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Daemon {
    /// Digits: the server port.
    Port(u16),
    /// Anything else: a name.
    Name(TextPattern),
    /// Never matches: `sshd@` (empty server part).
    Never,
}

/// One token of a client list: `[user@]host`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientPattern {
    /// Where it stands in the rule.
    pub span: Span,
    /// The user part: a string match on the user's name, whatever it looks like.
    pub user: Option<TextPattern>,
    /// The host part.
    pub host: HostPattern,
}

/// A pattern for one end of a connection, in the order libwrap tries them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostPattern {
    /// `@name`: a netgroup of host names.
    Netgroup(Text),
    /// `/path`: a file of patterns.
    File(PathBuf),
    /// `KNOWN`: address and name known.
    Known,
    /// `LOCAL`: a known name without a dot.
    Local,
    /// `net/mask` of IPv4: `address & mask == net`.
    NetV4 {
        /// Network; host bits that are set make it match nothing.
        net: Ipv4Addr,
        /// Mask; any bits.
        mask: Ipv4Addr,
    },
    /// `[net]/len`: the first `prefix_bits` are compared.
    NetV6 {
        /// Network; host bits are ignored.
        net: Ipv6Addr,
        /// 0 to 128.
        prefix_bits: u8,
    },
    /// Text with a `/` that is no usable network: never matches.
    Never,
    /// Matched against the address and then, unless it is numeric, the name.
    Text {
        /// How.
        pattern: TextPattern,
        /// Only digits, `.` and `/`: the name is never looked at.
        numeric: bool,
    },
}

/// libwrap's `string_match`: one pattern against one string, ASCII case ignored.
///
/// A subject `::ffff:a.b.c.d` is reduced to `a.b.c.d` first.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TextPattern {
    /// Has `*` or `?`: a glob over the whole subject.
    Glob(Text),
    /// `.suffix`: proper suffix.
    Suffix(Text),
    /// `ALL`.
    All,
    /// `KNOWN`: anything but "unknown".
    Known,
    /// `prefix.`: textual prefix.
    Prefix(Text),
    /// `[...]`: equal IPv6 address; `None` if it does not parse (never matches).
    Bracketed(Option<Ipv6Addr>),
    /// Equal.
    Exact(Text),
}

/// A pattern file: tokens, each a host pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PatternFile {
    /// Path as the tables spell it.
    pub path: Arc<PathBuf>,
    /// Its tokens, in order; empty for a missing file.
    pub patterns: Vec<(Origin, HostPattern)>,
    /// strerror(3)'s text if it exists but cannot be read.
    pub unreadable: Option<String>,
}

/// One option field of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OptionField {
    /// Where it stands in the rule.
    pub span: Span,
    /// The option, or why libwrap refuses it (its own words, after `error: F, line N: `).
    pub option: Result<RuleOption, String>,
}

/// An option of hosts_options(5), checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RuleOption {
    /// `allow`.
    Allow,
    /// `deny`.
    Deny,
    /// `severity [facility.]level`: the syslog priority (facility | level); facility 0 if unset.
    Severity(i32),
    /// `spawn`.
    Spawn(Text),
    /// `twist`.
    Twist(Text),
    /// `aclexec`.
    Aclexec(Text),
    /// `keepalive`.
    Keepalive,
    /// `linger`, in seconds.
    Linger(u32),
    /// `rfc931`, timeout in seconds.
    Rfc931(Option<u32>),
    /// `setenv name value`, both before % expansion.
    Setenv(Text),
    /// `nice`.
    Nice(i32),
    /// `umask`.
    Umask(u32),
    /// `user name[.group]`.
    User(Text),
    /// `group name`.
    Group(Text),
    /// `banners directory`.
    Banners(PathBuf),
}
