//! What a case tells of its surroundings: names, commands, banners, and the accounts there are.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use super::{bytes::JsonBytes, tables::found};
use crate::{
    evaluate::request::{Banner, CommandResult, HostName, Lookup, Purpose},
    parse::text::FileText,
};

/// The process id of every daemon and command: `%p`.
pub(super) const PID: u32 = 4242;

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
pub(super) struct CaseLookup<'a>(pub(super) &'a BTreeMap<PathBuf, FileText>);

/// A name as a program gives it to libwrap.
pub(super) fn host_name(name: Option<&JsonBytes<'_>>) -> HostName {
    match name.map(|name| name.0.as_ref()) {
        None => HostName::Unknown,
        Some(b"paranoid") => HostName::Paranoid,
        Some(name) => HostName::Known(name.into()),
    }
}

impl Lookup for CaseLookup<'_> {
    fn user_exists(&self, name: &[u8]) -> bool {
        USERS.iter().any(|user| user.as_bytes() == name)
    }

    fn group_exists(&self, name: &[u8]) -> bool {
        GROUPS.iter().any(|group| group.as_bytes() == name)
    }

    fn run(&self, _: Purpose, command: &[u8]) -> CommandResult {
        match command {
            b"false" | b"/bin/false" => CommandResult::Exited(1),
            b"kill -9 $$" => CommandResult::Killed { pid: PID, signal: 9 },
            _ => CommandResult::Exited(command.strip_prefix(b"exit ").map_or(0, exit_status)),
        }
    }

    fn banner(&self, directory: &Path, daemon: &[u8]) -> Banner {
        match found(self.0, &directory.join(OsStr::from_bytes(daemon))) {
            FileText::Bytes(text) => return Banner::Text(text.to_vec()),
            FileText::Missing | FileText::Unreadable(_) => {}
        }
        match found(self.0, directory) {
            FileText::Bytes(_) => Banner::Missing,
            FileText::Missing => Banner::NoDirectory("No such file or directory".into()),
            FileText::Unreadable(why) => Banner::NoDirectory(why),
        }
    }
}

/// Status of `exit TEXT` in a POSIX shell: what it does not take for a number is an error of its own.
fn exit_status(text: &[u8]) -> u8 {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return 0;
    }
    let number = std::str::from_utf8(text).ok().and_then(|text| text.parse::<i32>().ok());
    number.map_or(2, |number| number.to_le_bytes()[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    macro_rules! ends {
        ($($name:ident: $command:expr => $status:expr;)*) => { $(#[test] fn $name() {
            let result = CaseLookup(&BTreeMap::new()).run(Purpose::Spawn, $command.as_bytes());
            assert_eq!(result, CommandResult::Exited($status));
        })* };
    }

    ends! {
        exit: "exit 3" => 3;
        exit_status_is_a_byte: "exit 256" => 0;
        exit_with_a_huge_number: "exit 99999999999" => 2;
        exit_with_something_else: "exit 1;" => 0;
        false_fails: "/bin/false" => 1;
        anything_else_succeeds: "rm -rf /" => 0;
    }
}
