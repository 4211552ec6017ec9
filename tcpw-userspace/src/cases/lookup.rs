//! What a case tells of its world: names, users, commands, and an account list of its own.

use super::{bytes::Bytes, case::Case};
use crate::{
    evaluate::request::{HostName, Lookup},
    parse::rule::Text,
};

/// Users that exist for a case, wherever it is judged: those every Debian has.
const USERS: [&str; 18] = [
    "root", "daemon", "bin", "sys", "sync", "games", "man", "lp", "mail", "news", "uucp", "proxy",
    "www-data", "backup", "list", "irc", "_apt", "nobody",
];

/// Groups that exist for a case, likewise.
const GROUPS: [&str; 38] = [
    "root", "daemon", "bin", "sys", "adm", "tty", "disk", "lp", "mail", "news", "uucp", "man", "proxy",
    "kmem", "dialout", "fax", "voice", "cdrom", "floppy", "tape", "sudo", "audio", "dip", "www-data",
    "backup", "operator", "list", "irc", "src", "shadow", "utmp", "video", "sasl", "plugdev", "staff",
    "games", "users", "nogroup",
];

/// The answers of a case.
pub(super) struct Given<'a>(pub(super) &'a Case<'a>);

/// A name as a program gives it to libwrap.
pub(super) fn host_name(name: Option<&Bytes<'_>>) -> HostName {
    match name.map(|name| name.0.as_ref()) {
        None | Some(b"" | b"unknown") => HostName::Unknown,
        Some(b"paranoid") => HostName::Paranoid,
        Some(name) => HostName::Known(name.into()),
    }
}

impl Lookup for Given<'_> {
    fn client_name(&self) -> HostName {
        host_name(self.0.client_name.as_ref())
    }

    fn server_name(&self) -> HostName {
        host_name(self.0.server_name.as_ref())
    }

    fn client_user(&self) -> Option<Text> {
        self.0.client_user.as_ref().map(|user| user.0.as_ref().into())
    }

    fn user_exists(&self, name: &[u8]) -> bool {
        USERS.iter().any(|user| user.as_bytes() == name)
    }

    fn group_exists(&self, name: &[u8]) -> bool {
        GROUPS.iter().any(|group| group.as_bytes() == name)
    }

    fn command_succeeds(&self, command: &[u8]) -> bool {
        // The oracle really runs these; it takes any other for a success.
        !matches!(command, b"false" | b"/bin/false" | b"kill -9 $$")
            && command.strip_prefix(b"exit ").is_none_or(|status| status == b"0")
    }
}
