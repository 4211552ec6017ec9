//! Which rules are never reached, and because of which.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use crate::{
    compile::unreachable,
    parse::{
        parse,
        rule::{TableKind, Tables},
        text::{FileText, Texts},
    },
};

pub(super) fn parsed(allow: &str, deny: &str) -> Tables {
    let table =
        |name: &str, text: &str| (Arc::new(PathBuf::from(name)), FileText::Bytes(text.as_bytes().into()));
    let texts = Texts { allow: table("allow", allow), deny: table("deny", deny), files: BTreeMap::new() };
    parse(&texts).tables
}

/// Rules by table and number: `a1 < a0 a2` is rule 1 of hosts.allow, taken by 0 and 2.
fn found(allow: &str, deny: &str) -> Vec<String> {
    let tables = parsed(allow, deny);
    let name = |rule: &crate::evaluate::request::RuleIndex| match rule.table {
        TableKind::Allow => format!("a{}", rule.index),
        TableKind::Deny => format!("d{}", rule.index),
    };
    let one = |found: &crate::compile::Unreachable| {
        let by: Vec<_> = found.by.iter().map(name).collect();
        format!("{} < {}", name(&found.rule), by.join(" "))
    };
    unreachable(&tables).iter().map(one).collect()
}

/// `name: hosts.allow, hosts.deny => rules`
macro_rules! unreachable {
    ($($name:ident: $allow:expr, $deny:expr => [$($want:literal),*];)*) => {$(
        #[test]
        fn $name() {
            assert_eq!(found($allow, $deny), [$($want),*] as [&str; _]);
        }
    )*};
}

unreachable! {
    nothing: "sshd: 10.\n", "ALL: ALL\n" => [];
    the_same_rule_twice: "sshd: 10.\nsshd: 10.\n", "" => ["a1 < a0"];
    a_part_of_an_earlier_network: "sshd: 10.\nsshd: 10.1.2.3 10.9.\n", "" => ["a1 < a0"];
    one_client_more: "sshd: 10.\nsshd: 10.1.2.3 11.1.1.1\n", "" => [];
    two_halves: "sshd: 10.0.0.0/9\nALL: 10.128.0.0/9\nsshd: 10.\n", "" => ["a2 < a0 a1"];
    another_daemon: "sshd: 10.\nftpd: 10.\n", "" => [];
    all_daemons_and_all_clients: "ALL: ALL\n", "sshd: 10.\nALL: ALL\n" => ["d0 < a0", "d1 < a0"];
    all_networks_are_not_all_clients: "ALL: 0.0.0.0/0.0.0.0 [::]/0\n", "ALL: ALL\n" => [];
    all_networks_take_every_network: "ALL: 0.0.0.0/0.0.0.0 [::]/0\n", "ALL: 10.\n" => ["d0 < a0"];
    a_glob_on_the_daemon: "s*: 10.\nsshd: 10.\nsmbd: 10.\nftpd: 10.\n", "" => ["a1 < a0", "a2 < a0"];
    a_daemon_may_have_the_name_or_not: "sshd: 10.\ns*: 10.\n", "" => [];
    daemons_but_one: "ALL EXCEPT sshd: 10.\nsshd: 10.\nALL: 10.\n", "" => ["a2 < a0 a1"];
    a_listener_with_two_names: "ALL EXCEPT sshd: 10.\nftpd: 10.\n", "" => [];
    a_port_is_no_name: "22: 10.\nsshd: 10.\n", "" => [];
    the_same_port: "22 sshd: 10.\n+22: 10.\n", "" => ["a1 < a0"];
    every_name_has_every_port: "ALL: 10.\n22: 10.\n", "" => ["a1 < a0"];
    a_server_address: "sshd@10.0.0.1: ALL\nsshd@10.0.0.0/8: ALL\nsshd@10.0.0.1: 1.\n", "" => ["a2 < a0"];
    a_name_takes_nothing_for_sure: "ALL: .example.com\nALL: 10.\n", "" => [];
    a_name_never_comes: "ALL: ALL\nALL: .example.com\n", "" => ["a1 < a0"];
    unknown_clients_too: "ALL: 0.0.0.0/0.0.0.0 [::]/0\nALL: LOCAL\n", "" => [];
    a_user: "ALL: root@10.\nALL: 10.\nALL: root@10.1.\n", "" => ["a2 < a1"];
    a_command_may_fail: "ALL: ALL: aclexec false\nsshd: 10.\n", "ALL: 10.\n" => ["a1 < a0"];
    behind_a_command_that_may_fail: "ALL: 10.: aclexec false\nALL: ALL\n", "ALL: 10.\nALL: 11.\n" => ["d1 < a1"];
    behind_a_command_for_some_names: "nginx: unk*: aclexec true\n*: 0.0.0.0/0.0.0.0\n", "sshd: 128.0.0.0\n" => [];
    before_a_command_that_may_fail: "ALL: 10.\nALL: ALL: aclexec false\nALL: ALL\n", "ALL: 10.\nALL: 11.\n" => ["a2 < a1", "d0 < a0"];
    behind_a_command_a_rule_takes_once_more: "ALL: 10.: aclexec false\n", "ALL: 10.\nALL: 10.1.\n" => ["d1 < d0"];
    behind_a_command_for_another_name: "nginx: 128.: aclexec true\nALL: ALL\n", "sshd: 128.0.0.0\n" => [];
    a_command_that_decides_nothing: "ALL: ALL: aclexec false: allow\n", "ALL: 10.\n" => ["d0 < a0"];
    matches_no_client: "ALL: 10.1.2.3/8\n", "" => ["a0 < "];
    matches_no_daemon: "sshd@: ALL\n", "" => ["a0 < "];
    two_globs: "s*: 1.\n*d: 1.\nsshd: 1.\n", "" => ["a2 < a0"];
    one_rule_that_takes_all_is_named_alone: "sshd: 10.\nALL: ALL\n", "sshd: 10. 11.\n" => ["d0 < a1"];
    every_name: "s*: 1.\n*: 1.\nALL: 1.\n", "" => ["a2 < a1"];
    a_broken_table_is_no_rule: "ALL: ALL\nx", "" => [];
}

#[test]
fn too_many_patterns_end_in_the_sure_cases() {
    let globs: String = (0..40).map(|number| format!("*{number}*a*b*: 10.\n")).collect();
    assert_eq!(found(&format!("{globs}ALL: 11.\nsshd: 11.1.\n{globs}"), ""), ["a41 < a40"]);
}
