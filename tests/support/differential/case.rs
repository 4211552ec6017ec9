//! One question to libwrap, and what it answers: a JSON line of cases.jsonl.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Text;

/// A request and the two tables it is judged by.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Case {
    /// Names it.
    #[serde(default)]
    pub id: String,
    /// Text of hosts.allow; `None`: there is none.
    pub allow: Option<Text>,
    /// Text of hosts.deny, likewise.
    pub deny: Option<Text>,
    /// Name of the daemon.
    pub daemon: Text,
    /// Address of the client; `None` is unknown.
    pub client_addr: Option<Text>,
    /// Its name; `None` is unknown, "paranoid" is one that does not fit the address.
    pub client_name: Option<Text>,
    /// Its user; `None` is unknown.
    pub client_user: Option<Text>,
    /// Address of the server's end.
    pub server_addr: Option<Text>,
    /// Its name.
    pub server_name: Option<Text>,
    /// Port of the server; without it there is no socket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_port: Option<u16>,
    /// Port of the client, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_port: Option<u16>,
    /// Pattern files and banners: paths below [`Self::FILES`], and their texts.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<String, Text>,
    /// The daemon serves more than one client.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub resident: bool,
}

impl Case {
    /// Above all files of a case.
    pub const FILES: &str = "/tmp/lwc/";
}

/// What the library did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// "allow" or "deny"; tcpw calls it the verdict.
    #[serde(alias = "verdict")]
    pub expect: String,
    /// What decided: default, rule, option, error, table-error, twist, exit, crash, timeout.
    pub via: String,
    /// "allow:N", "deny:N" with the line, or "none".
    pub matched: String,
    /// Messages, from their first word, "warning:" or "error:".
    #[serde(default)]
    pub warnings: Vec<String>,
    /// Commands that were, or would have been, run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub spawned: Vec<String>,
    /// What the client was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub banner: Option<String>,
    /// Priority of a refusal's log line, if an option set it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub severity: Option<String>,
    /// The process's umask, if it changed; octal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub umask: Option<String>,
    /// Its niceness, if it changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nice: Option<i32>,
    /// Time limit of user look-ups in seconds, if it changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rfc931: Option<i32>,
    /// Its user, if not root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<i32>,
    /// Its group, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gid: Option<i32>,
    /// The signal it died of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
}

/// A case with its answer: a line of a corpus.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Answered {
    /// The question.
    #[serde(flatten)]
    pub case: Case,
    /// The library's answer.
    #[serde(flatten)]
    pub answer: Answer,
}
