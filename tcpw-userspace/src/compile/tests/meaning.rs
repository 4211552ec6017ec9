//! Which clients reach what, and what changes, in a short notation: `+` allowed, `-` refused, `?` depends on what is
//! not known; `a0` rule 0 of hosts.allow, `d0` of hosts.deny, `none` no rule; `?a0>d0` a0 if it matches, else d0.

use super::unreachable::parsed;
use crate::{
    compile::{
        AddressVerdict, ChangeKind, DaemonName, Decider, Detail, Networks, Port, RuleDecision, ServerAddress,
        Service, ServiceFilter, diff, survey,
    },
    evaluate::Unknown,
    evaluate::request::RuleIndex,
    parse::rule::TableKind,
};

fn rule(rule: &RuleIndex) -> String {
    match rule.table {
        TableKind::Allow => format!("a{}", rule.index),
        TableKind::Deny => format!("d{}", rule.index),
    }
}

fn decision(decision: &RuleDecision) -> String {
    let answer = match decision.answer {
        AddressVerdict::Allow => "+",
        AddressVerdict::Refuse => "-",
        AddressVerdict::Depends => "?",
    };
    let by = match &decision.by {
        Decider::Rule(by) => rule(by),
        Decider::Rules(run) => format!("{}..{}", rule(&run.first), run.last),
        Decider::NoRule => "none".to_owned(),
        Decider::TableBroken => "broken".to_owned(),
    };
    let before: Vec<_> = decision.before.iter().map(rule).collect();
    if before.is_empty() { format!("{answer}{by}") } else { format!("{answer}{}>{by}", before.join(">")) }
}

fn networks(networks: &Networks) -> String {
    let all: Vec<_> = networks.iter().map(|net| net.to_string()).collect();
    if all.len() > 4 { format!("{} networks", all.len()) } else { all.join(" ") }
}

fn service(service: &Service) -> String {
    let text = |text: &[u8]| String::from_utf8_lossy(text).into_owned();
    let mut name = match &service.daemon {
        DaemonName::Named(name) => text(name),
        DaemonName::Matching { patterns, .. } => {
            patterns.iter().map(|it| text(it)).collect::<Vec<_>>().join("&")
        }
        DaemonName::Other { is_any: true, .. } => "any".to_owned(),
        DaemonName::Other { is_any: false, .. } => "other".to_owned(),
    };
    match service.port {
        Port::Any => {}
        Port::Other => name.push_str(":other"),
        Port::Number(port) => name.push_str(&format!(":{port}")),
    }
    match &service.server {
        ServerAddress::Any => {}
        ServerAddress::Other(_) => name.push_str("@other"),
        ServerAddress::In(all) => name.push_str(&format!("@{}", networks(all))),
    }
    name
}

fn surveyed(allow: &str, deny: &str) -> Vec<String> {
    surveyed_as(allow, deny, Detail::Rules)
}

fn surveyed_as(allow: &str, deny: &str, detail: Detail) -> Vec<String> {
    let tables = parsed(allow, deny);
    let mut all = Vec::new();
    for surveyed in survey(&tables, &Unknown, &ServiceFilter::default(), detail).unwrap() {
        let services: Vec<_> = surveyed.services.iter().map(service).collect();
        let areas = surveyed.areas.iter();
        let areas: Vec<_> =
            areas.map(|area| format!("{} {}", decision(&area.decision), networks(&area.networks))).collect();
        all.push(format!("{}: {}", services.join(" "), areas.join(", ")));
    }
    all
}

fn changed(old: [&str; 2], new: [&str; 2]) -> Vec<String> {
    let (old, new) = (parsed(old[0], old[1]), parsed(new[0], new[1]));
    let mut all = Vec::new();
    for change in diff(&old, &new, &Unknown, Detail::Rules).unwrap() {
        let services: Vec<_> = change.services.iter().map(service).collect();
        let kind = match change.kind {
            ChangeKind::Verdict => "",
            ChangeKind::Depends => "perhaps ",
            ChangeKind::Effects => "effects ",
        };
        let (old, new) = (decision(&change.old), decision(&change.new));
        all.push(format!("{}: {kind}{} {old} to {new}", services.join(" "), networks(&change.networks)));
    }
    all
}

/// `name: hosts.allow, hosts.deny => services`
macro_rules! surveys {
    ($($name:ident: $allow:expr, $deny:expr => [$($want:literal),* $(,)?];)*) => {$(
        #[test]
        fn $name() {
            assert_eq!(surveyed($allow, $deny), [$($want),*] as [&str; _]);
        }
    )*};
}

surveys! {
    empty_tables_allow_everyone: "", "" => ["any: +none 0.0.0.0/0 ::/0"];
    one_network: "ALL: 10.\n", "ALL: ALL\n" => ["any: -d0 9 networks, +a0 10.0.0.0/8"];
    two_daemons_alike: "sshd ftpd: ALL\n", "ALL: ALL\n" =>
        ["ftpd sshd: +a0 0.0.0.0/0 ::/0", "other: -d0 0.0.0.0/0 ::/0"];
    patterns_make_kinds_of_names: "in.: ALL\n", "sshd: ALL\n" =>
        ["sshd: -d0 0.0.0.0/0 ::/0", "in.: +a0 0.0.0.0/0 ::/0", "other: +none 0.0.0.0/0 ::/0"];
    ports_and_servers: "22: ALL\nsshd@10.0.0.1: ALL\n", "ALL: ALL\n" => [
        "sshd:22@10.0.0.1/32 sshd:22@other other:22@10.0.0.1/32 other:22@other: +a0 0.0.0.0/0 ::/0",
        "sshd:other@10.0.0.1/32: +a1 0.0.0.0/0 ::/0",
        "sshd:other@other other:other@10.0.0.1/32 other:other@other: -d0 0.0.0.0/0 ::/0",
    ];
    a_name_may_allow: "ALL: .example.com\n", "ALL: ALL\n" => ["any: ?a0>d0 0.0.0.0/0 ::/0"];
    a_name_may_allow_what_is_allowed: "ALL: .example.com\n", "" => ["any: +none 0.0.0.0/0 ::/0"];
    the_same_name_twice_allows_either_way: "ALL: .example.com\nALL: .EXAMPLE.com: deny\n", "" =>
        ["any: +none 0.0.0.0/0 ::/0"];
    a_name_and_a_network: "ALL: .example.com 0.0.0.0/1\n", "ALL: ALL\n" =>
        ["any: +a0 0.0.0.0/1, ?a0>d0 128.0.0.0/1 ::/0"];
    a_user: "ALL: root@0.0.0.0/1\n", "ALL: [::]/0 0.0.0.0/0.0.0.0\n" =>
        ["any: ?a0>d0 0.0.0.0/1, -d0 128.0.0.0/1 ::/0"];
    all_but_a_name: "", "ALL: ALL EXCEPT .example.com 0.0.0.0/1\n" =>
        ["any: +none 0.0.0.0/1, ?d0>none 128.0.0.0/1 ::/0"];
    a_command_decides: "ALL: 0.0.0.0/1: aclexec true\n", "ALL: ALL\n" =>
        ["any: ?a0>d0 0.0.0.0/1, -d0 128.0.0.0/1 ::/0"];
    after_a_failed_command_a_rule_with_options_in_hosts_deny_allows: "ALL: 0.0.0.0/1: aclexec true\n", "ALL: ALL: spawn x\n" =>
        ["any: +d0 0.0.0.0/1, -d0 128.0.0.0/1 ::/0"];
    a_failed_command_ends_its_table: "ALL: 0.0.0.0/1: aclexec true\nALL: ALL\n", "ALL: ALL\n" =>
        ["any: ?a0>d0 0.0.0.0/1, +a1 128.0.0.0/1 ::/0"];
    a_broken_table: "ALL: 0.0.0.0/1\n", "x" => ["any: +a0 0.0.0.0/1, -broken 128.0.0.0/1 ::/0"];
}

/// `name: [allow, deny] before, [allow, deny] after => changes`.
macro_rules! diffs {
    ($($name:ident: $old:expr, $new:expr => [$($want:literal),* $(,)?];)*) => {$(
        #[test]
        fn $name() {
            assert_eq!(changed($old, $new), [$($want),*] as [&str; _]);
        }
    )*};
}

diffs! {
    nothing: ["sshd: 10.\n", "ALL: ALL\n"], ["sshd: 10.0.0.0/8\n", "sshd: ALL\nALL: ALL\n"] => [];
    a_rule_more: ["", ""], ["", "sshd: 10.\n"] => ["sshd: 10.0.0.0/8 +none to -d0"];
    halves_that_are_one: ["", "ALL: 10.0.0.0/9\nALL: 10.128.0.0/9\n"], ["", "ALL: 10.\n"] => [];
    names_in_another_order: ["ALL: .a.org\nALL: .b.org\n", "ALL: ALL\n"], ["ALL: .b.org .a.org\n", "ALL: ALL\n"] => [];
    another_name: ["ALL: .a.org\n", "ALL: ALL\n"], ["ALL: .b.org\n", "ALL: ALL\n"] =>
        ["any: perhaps 0.0.0.0/0 ::/0 ?a0>d0 to ?a0>d0"];
    a_network_instead_of_a_name: ["ALL: .a.org\n", "ALL: ALL\n"], ["ALL: 0.0.0.0/1\n", "ALL: ALL\n"] =>
        ["any: perhaps 0.0.0.0/1 ?a0>d0 to +a0", "any: perhaps 128.0.0.0/1 ::/0 ?a0>d0 to -d0"];
    a_network_beside_an_exception: ["", "ALL: ALL EXCEPT .a.org\n"], ["", "ALL: ALL EXCEPT .a.org 0.0.0.0/1\n"] =>
        ["any: perhaps 0.0.0.0/1 ?d0>none to +none"];
    users_of_a_smaller_network: ["ALL: root@0.0.0.0/1\n", "ALL: ALL\n"], ["ALL: root@0.0.0.0/2\n", "ALL: ALL\n"] =>
        ["any: perhaps 64.0.0.0/2 ?a0>d0 to -d0"];
    other_effects: ["ALL: 10.\n", ""], ["ALL: 10.: severity info\n", ""] =>
        ["any: effects 10.0.0.0/8 +a0 to +a0"];
    other_effects_of_a_rule_that_may_match: ["ALL: .a.org: spawn x\n", ""], ["ALL: .a.org: spawn y\n", ""] =>
        ["any: effects 0.0.0.0/0 ::/0 +a0>none to +a0>none"];
    services_with_one_change_in_common: ["", ""], ["", "ALL: 10.\nsshd: 11.\n"] =>
        ["sshd: 11.0.0.0/8 +none to -d1", "sshd other: 10.0.0.0/8 +none to -d0"];
    another_command: ["ALL: 10.: aclexec a\n", "ALL: ALL\n"], ["ALL: 10.: aclexec b\n", "ALL: ALL\n"] =>
        ["any: perhaps 10.0.0.0/8 ?a0>d0 to ?a0>d0"];
}

#[test]
fn a_run_of_rules_is_one_decider_but_for_a_few_networks() {
    let bans: String = (1..=12).map(|last| format!("ALL: 10.0.{last}.0/24\n")).collect();
    // The first networks are decided on before, and a rule of another kind ends the run.
    let deny = format!(
        "ALL: 10.0.1.0/24 10.0.2.0/24 10.0.4.0/22 10.0.8.0/22\n{bans}ALL: 10.0.0.0/16: severity info\n"
    );
    assert_eq!(
        surveyed_as("", &deny, Detail::Runs),
        [concat!(
            "any: +none 17 networks, -d13 7 networks, -d0 10.0.1.0/24 10.0.2.0/24 10.0.4.0/22 10.0.8.0/22, ",
            "-d3 10.0.3.0/24, -d12 10.0.12.0/24"
        )]
    );
    let many: String = (1..=12).map(|last| format!("ALL: 10.{}.0.0/16\n", 2 * last)).collect();
    assert_eq!(
        surveyed_as("", &format!("ALL: ALL: severity info\n{many}"), Detail::Runs),
        ["any: -d0 0.0.0.0/0 ::/0"]
    );
    let told = surveyed_as("", &many, Detail::Runs);
    assert!(told[0].ends_with(", -d0..11 12 networks"), "{told:?}");
}
