//! Look-ups with an answer for everything.

use std::path::Path;

use tcpw_userspace::{
    evaluate::request::{Banner, CommandResult, HostName, Lookup, Purpose},
    parse::rule::Text,
};

/// Everybody has a name, and much of what is asked for exists.
pub(crate) struct Answers;

impl Lookup for Answers {
    fn client_name(&self) -> HostName {
        HostName::Known(Text::from(*b"Host.Example.com"))
    }

    fn server_name(&self) -> HostName {
        HostName::Paranoid
    }

    fn client_user(&self, _: u32) -> Option<Text> {
        Some(Text::from(*b"root\xff;rm"))
    }

    fn in_netgroup(&self, group: &[u8], _: Option<&[u8]>, _: Option<&[u8]>) -> bool {
        group.len().is_multiple_of(2)
    }

    fn user_exists(&self, name: &[u8]) -> bool {
        name == b"root"
    }

    fn group_exists(&self, name: &[u8]) -> bool {
        name == b"root"
    }

    fn run(&self, _: Purpose, command: &[u8]) -> CommandResult {
        match command.len() % 3 {
            0 => CommandResult::Exited(0),
            1 => CommandResult::Exited(1),
            _ => CommandResult::Killed { pid: 1, signal: 9 },
        }
    }

    fn banner(&self, directory: &Path, daemon: &[u8]) -> Banner {
        match directory.as_os_str().len() % 3 {
            0 => Banner::Missing,
            1 => Banner::NoDirectory("No such file or directory".into()),
            _ => Banner::Text([b"%c %u\n%", daemon].concat()),
        }
    }
}
