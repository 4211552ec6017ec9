//! One case, as it is written.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{Error, IgnoredAny, MapAccess, Visitor},
};
use serde_json::value::RawValue;

use super::bytes::JsonBytes;

/// A case: tables, a request, and perhaps the answer that is expected.
#[derive(Debug, Default)]
pub struct Case<'a> {
    /// Name of the case.
    pub id: Option<&'a RawValue>,
    /// hosts.allow: a string, null for a missing file; absent: the table of the command line.
    pub allow: Option<&'a RawValue>,
    /// hosts.deny, likewise.
    pub deny: Option<&'a RawValue>,
    /// Pattern files and banners: texts by their paths.
    pub files: Option<&'a RawValue>,
    /// Name of the daemon.
    pub daemon: JsonBytes<'a>,
    /// Client address; null: unknown.
    pub client_addr: Option<JsonBytes<'a>>,
    /// Client name; null: unknown; "paranoid": name and address disagree.
    pub client_name: Option<JsonBytes<'a>>,
    /// Client user; null: unknown.
    pub client_user: Option<JsonBytes<'a>>,
    /// Client port; null: no socket.
    pub client_port: Option<u16>,
    /// Server address; null: unknown.
    pub server_addr: Option<JsonBytes<'a>>,
    /// Server name, as `client_name`.
    pub server_name: Option<JsonBytes<'a>>,
    /// Server port; null: no socket.
    pub server_port: Option<u16>,
    /// The daemon serves more than one client.
    pub resident: Option<bool>,
    /// The expected verdict; without it nothing is compared.
    pub expect: Option<Expect>,
    /// The expected rule: `allow:LINE`, `deny:LINE` or `none`.
    pub matched: Option<JsonBytes<'a>>,
    /// What is expected to decide.
    pub via: Option<JsonBytes<'a>>,
    /// Expected warnings. With `via` and these the case is a whole answer: commands,
    /// banners and a priority that it does not name are expected not to be.
    pub warnings: Option<Vec<JsonBytes<'a>>>,
    /// Expected priority of the log line.
    pub severity: Option<JsonBytes<'a>>,
    /// Commands that are expected to be run.
    pub spawned: Option<Vec<JsonBytes<'a>>>,
    /// The expected banner.
    pub banner: Option<JsonBytes<'a>>,
    /// The expected file mode mask.
    pub umask: Option<JsonBytes<'a>>,
    /// The expected niceness.
    pub nice: Option<i32>,
    /// The expected time limit of user look-ups.
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

/// The name of a field.
#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum CaseField {
    Id,
    Allow,
    Deny,
    Files,
    Daemon,
    ClientAddr,
    ClientName,
    ClientUser,
    ClientPort,
    ServerAddr,
    ServerName,
    ServerPort,
    Resident,
    Expect,
    Matched,
    Via,
    Warnings,
    Severity,
    Spawned,
    Banner,
    Umask,
    Nice,
    Rfc931,
    Other(String),
}

/// The names of all fields.
const FIELDS: [&str; 23] = [
    "id",
    "allow",
    "deny",
    "files",
    "daemon",
    "client_addr",
    "client_name",
    "client_user",
    "client_port",
    "server_addr",
    "server_name",
    "server_port",
    "resident",
    "expect",
    "matched",
    "via",
    "warnings",
    "severity",
    "spawned",
    "banner",
    "umask",
    "nice",
    "rfc931",
];

/// The field that is likely meant: tests with a misspelt field would test something else.
fn misspelt(name: &str) -> Option<&'static str> {
    let near = |known: &&str| match strsim::levenshtein(name, known) {
        0 | 1 => true,
        2 => known.len() > 5,
        _ => false,
    };
    FIELDS.into_iter().find(near)
}

impl<'de: 'a, 'a> Deserialize<'de> for Case<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;

        impl<'de> Visitor<'de> for Fields {
            type Value = Case<'de>;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Case<'de>, A::Error> {
                let mut case = Case::default();
                let mut has_daemon = false;
                while let Some(field) = map.next_key()? {
                    match field {
                        CaseField::Id => case.id = map.next_value()?,
                        // Null is not the same as absent.
                        CaseField::Allow => case.allow = Some(map.next_value()?),
                        CaseField::Deny => case.deny = Some(map.next_value()?),
                        CaseField::Files => case.files = map.next_value()?,
                        CaseField::Daemon => {
                            case.daemon = map.next_value()?;
                            has_daemon = true;
                        }
                        CaseField::ClientAddr => case.client_addr = map.next_value()?,
                        CaseField::ClientName => case.client_name = map.next_value()?,
                        CaseField::ClientUser => case.client_user = map.next_value()?,
                        CaseField::ClientPort => case.client_port = map.next_value()?,
                        CaseField::ServerAddr => case.server_addr = map.next_value()?,
                        CaseField::ServerName => case.server_name = map.next_value()?,
                        CaseField::ServerPort => case.server_port = map.next_value()?,
                        CaseField::Resident => case.resident = map.next_value()?,
                        CaseField::Expect => case.expect = map.next_value()?,
                        CaseField::Matched => case.matched = map.next_value()?,
                        CaseField::Via => case.via = map.next_value()?,
                        CaseField::Warnings => case.warnings = map.next_value()?,
                        CaseField::Severity => case.severity = map.next_value()?,
                        CaseField::Spawned => case.spawned = map.next_value()?,
                        CaseField::Banner => case.banner = map.next_value()?,
                        CaseField::Umask => case.umask = map.next_value()?,
                        CaseField::Nice => case.nice = map.next_value()?,
                        CaseField::Rfc931 => case.rfc931 = map.next_value()?,
                        CaseField::Other(name) => {
                            if let Some(known) = misspelt(&name) {
                                let text = format!("unknown field \"{name}\": perhaps \"{known}\"");
                                return Err(A::Error::custom(text));
                            }
                            map.next_value::<IgnoredAny>()?;
                        }
                    }
                }
                if has_daemon { Ok(case) } else { Err(A::Error::missing_field("daemon")) }
            }
        }

        deserializer.deserialize_map(Fields)
    }
}

/// The files of a case, in its order.
#[derive(Debug, Default)]
pub(super) struct CaseFiles<'a>(pub(super) Vec<(JsonBytes<'a>, JsonBytes<'a>)>);

impl<'de: 'a, 'a> Deserialize<'de> for CaseFiles<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FilesVisitor;

        impl<'de> Visitor<'de> for FilesVisitor {
            type Value = CaseFiles<'de>;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("an object of texts by their paths")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<CaseFiles<'de>, A::Error> {
                let mut files = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    files.push(entry);
                }
                Ok(CaseFiles(files))
            }
        }

        deserializer.deserialize_map(FilesVisitor)
    }
}
