//! One case, as it is written.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

use super::bytes::Bytes;

/// A case: tables, a request, and perhaps the answer that is expected.
#[derive(Debug, Deserialize)]
pub struct Case<'a> {
    /// Name of the case.
    #[serde(borrow, default)]
    pub id: Option<&'a RawValue>,
    /// hosts.allow: a string, null for a missing file; absent: the table of the command line.
    #[serde(borrow, default, deserialize_with = "given")]
    pub allow: Option<&'a RawValue>,
    /// hosts.deny, likewise.
    #[serde(borrow, default, deserialize_with = "given")]
    pub deny: Option<&'a RawValue>,
    /// Pattern files and banners: texts by their paths.
    #[serde(borrow, default)]
    pub files: Option<&'a RawValue>,
    /// Name of the daemon.
    #[serde(borrow)]
    pub daemon: Bytes<'a>,
    /// Client address; null: unknown.
    #[serde(borrow, default)]
    pub client_addr: Option<Bytes<'a>>,
    /// Client name; null: unknown; "paranoid": name and address disagree.
    #[serde(borrow, default)]
    pub client_name: Option<Bytes<'a>>,
    /// Client user; null: unknown.
    #[serde(borrow, default)]
    pub client_user: Option<Bytes<'a>>,
    /// Client port; null: no socket.
    #[serde(default)]
    pub client_port: Option<u16>,
    /// Server address; null: unknown.
    #[serde(borrow, default)]
    pub server_addr: Option<Bytes<'a>>,
    /// Server name, as `client_name`.
    #[serde(borrow, default)]
    pub server_name: Option<Bytes<'a>>,
    /// Server port; null: no socket.
    #[serde(default)]
    pub server_port: Option<u16>,
    /// The daemon serves more than one client.
    #[serde(default)]
    pub resident: Option<bool>,
    /// The expected verdict; without it nothing is compared.
    #[serde(default)]
    pub expect: Option<Expect>,
    /// The expected rule: `allow:LINE`, `deny:LINE` or `none`.
    #[serde(borrow, default)]
    pub matched: Option<Bytes<'a>>,
    /// What is expected to decide.
    #[serde(borrow, default)]
    pub via: Option<Bytes<'a>>,
    /// Expected warnings. With `via` and these the case is a whole answer: commands,
    /// banners and a priority that it does not name are expected not to be.
    #[serde(borrow, default)]
    pub warnings: Option<Vec<Bytes<'a>>>,
    /// Expected priority of the log line.
    #[serde(borrow, default)]
    pub severity: Option<Bytes<'a>>,
    /// Commands that are expected to be run.
    #[serde(borrow, default)]
    pub spawned: Option<Vec<Bytes<'a>>>,
    /// The expected banner.
    #[serde(borrow, default)]
    pub banner: Option<Bytes<'a>>,
    /// The expected file mode mask.
    #[serde(borrow, default)]
    pub umask: Option<Bytes<'a>>,
    /// The expected niceness.
    #[serde(default)]
    pub nice: Option<i32>,
    /// The expected time limit of user look-ups.
    #[serde(default)]
    pub rfc931: Option<u32>,
}

/// An expected verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Expect {
    /// Allowed.
    Allow,
    /// Refused.
    Deny,
}

/// Keeps null apart from an absent field.
fn given<'de: 'a, 'a, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'a RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// The files of a case, in its order.
#[derive(Debug, Default)]
pub(super) struct Files<'a>(pub(super) Vec<(Bytes<'a>, Bytes<'a>)>);

impl<'de: 'a, 'a> Deserialize<'de> for Files<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;

        impl<'de> Visitor<'de> for Entries {
            type Value = Files<'de>;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("an object of texts by their paths")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Files<'de>, A::Error> {
                let mut files = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    files.push(entry);
                }
                Ok(Files(files))
            }
        }

        deserializer.deserialize_map(Entries)
    }
}
