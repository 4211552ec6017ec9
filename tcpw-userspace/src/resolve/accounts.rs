//! Users and groups of this host.

use std::collections::HashSet;

use nix::unistd::{Group, User};

use crate::{
    evaluate::request::Lookup,
    parse::rule::{RuleOption, Tables, Text},
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
    /// Looks up what the tables name.
    pub fn of(tables: &Tables) -> Self {
        let mut known = Self::default();
        // A plain rule has no options.
        let rules = tables.allow.rules.kept().chain(tables.deny.rules.kept());
        for option in rules.flat_map(|rule| &rule.options).flat_map(|field| &field.option) {
            match option {
                // `user.group`
                RuleOption::User(text) => match text.iter().position(|byte| *byte == b'.') {
                    None => known.learn_user(text),
                    Some(dot) => {
                        known.learn_user(&text[..dot]);
                        known.learn_group(&text[dot + 1..]);
                    }
                },
                RuleOption::Group(name) => known.learn_group(name),
                RuleOption::Allow
                | RuleOption::Deny
                | RuleOption::Severity(_)
                | RuleOption::Spawn(_)
                | RuleOption::Twist(_)
                | RuleOption::Aclexec(_)
                | RuleOption::Keepalive
                | RuleOption::Linger(_)
                | RuleOption::Rfc931(_)
                | RuleOption::Setenv(_)
                | RuleOption::Nice(_)
                | RuleOption::Umask(_)
                | RuleOption::Banners(_) => {}
            }
        }
        known
    }

    fn learn_user(&mut self, name: &[u8]) {
        if Accounts.user_exists(name) {
            self.users.insert(name.into());
        }
    }

    fn learn_group(&mut self, name: &[u8]) {
        if Accounts.group_exists(name) {
            self.groups.insert(name.into());
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
