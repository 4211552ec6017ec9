//! Users and groups of this host.

use std::{cell::RefCell, collections::HashSet, slice};

use nix::unistd::{Group, User};

use crate::{
    evaluate::{consequences_of_options, request::Lookup},
    parse::rule::{Tables, Text},
};

/// Knows the users and groups of this host, as options name them; every client name and user is unknown.
#[derive(Clone, Copy, Debug, Default)]
pub struct Accounts;

impl Lookup for Accounts {
    fn user_exists(&self, name: &[u8]) -> bool {
        std::str::from_utf8(name).is_ok_and(|name| User::from_name(name).is_ok_and(|user| user.is_some()))
    }

    fn group_exists(&self, name: &[u8]) -> bool {
        std::str::from_utf8(name).is_ok_and(|name| Group::from_name(name).is_ok_and(|group| group.is_some()))
    }
}

/// Which of the users and groups that options of the tables name existed when the tables were read. Looking
/// them up may take time, and the result must be the same for a policy and for every attempt judged by it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KnownAccounts {
    users: HashSet<Text>,
    groups: HashSet<Text>,
}

impl KnownAccounts {
    /// Looks up what the evaluator asks for when it reads the options of the tables.
    pub fn of(tables: &Tables) -> Self {
        let asked = AskedFor::default();
        for table in [&tables.allow, &tables.deny] {
            // A plain rule has no option but `allow` or `deny`, which name no account.
            // Each option by itself: one that is wrong ends a rule.
            for field in table.rules.kept().flat_map(|rule| &rule.options) {
                consequences_of_options(slice::from_ref(field), table.kind, &asked);
            }
        }
        asked.0.into_inner()
    }
}

/// Looks accounts up and keeps those that exist.
#[derive(Default)]
struct AskedFor(RefCell<KnownAccounts>);

impl Lookup for AskedFor {
    fn user_exists(&self, name: &[u8]) -> bool {
        Accounts.user_exists(name) && {
            self.0.borrow_mut().users.insert(name.into());
            true
        }
    }

    fn group_exists(&self, name: &[u8]) -> bool {
        Accounts.group_exists(name) && {
            self.0.borrow_mut().groups.insert(name.into());
            true
        }
    }
}

impl Lookup for KnownAccounts {
    fn user_exists(&self, name: &[u8]) -> bool {
        self.users.contains(name)
    }

    fn group_exists(&self, name: &[u8]) -> bool {
        self.groups.contains(name)
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, sync::Arc};

    use super::*;
    use crate::parse::{
        parse,
        text::{FileText, Texts},
    };

    #[test]
    fn only_what_the_tables_name_is_looked_up() {
        let table = |text: &str| (Arc::default(), FileText::Bytes(text.as_bytes().into()));
        let allow =
            table("a: ALL: user root\nb: ALL: user tcpw-nobody: group root\nc: ALL: user daemon.bin\n");
        let texts = Texts { allow, deny: table(""), files: BTreeMap::new() };
        let known = KnownAccounts::of(&parse(&texts).tables);
        assert!(known.user_exists(b"root") && known.group_exists(b"root"));
        assert!(known.user_exists(b"daemon") && known.group_exists(b"bin"));
        assert!(!known.user_exists(b"tcpw-nobody") && !known.user_exists(b"bin"));
    }
}
