use std::{cell::RefCell, collections::BTreeMap, path::PathBuf, sync::Arc};

use super::{
    request::{CommandResult, HostName, Purpose},
    *,
};
use crate::parse::{
    parse, pattern_files,
    rule::TableKind,
    text::{FileText, Texts},
};

fn tables(allow: &str, deny: &str) -> Tables {
    let table =
        |name: &str, text: &str| (Arc::new(PathBuf::from(name)), FileText::Bytes(text.as_bytes().into()));
    let texts = Texts {
        allow: table("hosts.allow", allow),
        deny: table("hosts.deny", deny),
        files: BTreeMap::from([
            ("/self".into(), FileText::Bytes((*b"/self /other 10.").into())),
            ("/other".into(), FileText::Bytes((*b"/self 11.").into())),
            ("/bad".into(), FileText::Unreadable("Permission denied".into())),
        ]),
    };
    parse(&texts).tables
}

/// Counts what is asked.
#[derive(Default)]
struct CountingLookup(RefCell<Vec<&'static str>>);

impl Lookup for CountingLookup {
    fn client_name(&self) -> HostName {
        self.0.borrow_mut().push("client");
        HostName::Known((*b"a.example.com").into())
    }
    fn server_name(&self) -> HostName {
        self.0.borrow_mut().push("server");
        HostName::Unknown
    }
    fn client_user(&self, _: u32) -> Option<Text> {
        self.0.borrow_mut().push("user");
        None
    }
    fn in_netgroup(&self, _: &[u8], _: Option<&[u8]>, _: Option<&[u8]>) -> bool {
        self.0.borrow_mut().push("netgroup");
        false
    }
    fn user_exists(&self, _: &[u8]) -> bool {
        false
    }
    fn group_exists(&self, _: &[u8]) -> bool {
        false
    }
    fn run(&self, _: Purpose, _: &[u8]) -> CommandResult {
        self.0.borrow_mut().push("command");
        CommandResult::Exited(1)
    }
}

fn ask(allow: &str, deny: &str, names: &[&str]) -> (Judgement, Vec<&'static str>) {
    let daemons: Vec<Text> = names.iter().map(|name| name.as_bytes().into()).collect();
    let request = AccessRequest {
        daemons: &daemons,
        client_address: Some("10.1.2.3"),
        server_address: Some("192.0.2.1"),
        server_port: Some(22),
        ..AccessRequest::default()
    };
    let asked = CountingLookup::default();
    let judgement = evaluate(&tables(allow, deny), &request, &asked);
    (judgement, asked.0.into_inner())
}

macro_rules! asks {
    ($($name:ident: $allow:expr => $want:expr;)*) => {
        $(#[test] fn $name() {
            let want: &[&str] = &$want;
            assert_eq!(ask($allow, "", &["sshd"]).1, want);
        })*
    };
}

asks! {
    address_match_asks_nothing: "ALL: 10. .example.com LOCAL @group\n" => [];
    name_is_asked_once: "ALL: .org LOCAL www.\nsshd: .example.net\n" => ["client"];
    numeric_and_net_ask_nothing: "ALL: 11. 1.2.3.4 11.0.0.0/8 [::]/0\n" => [];
    bracketed_asks: "ALL: [::1]\n" => ["client"];
    client_is_not_asked_for_another_daemon: "vsftpd: .example.com\n" => [];
    user_is_not_asked_of_another_host: "ALL: root@11.\n" => [];
    user_is_asked_after_the_host: "ALL: root@10.\n" => ["user"];
    server_is_asked_for_a_name: "sshd@x.test: ALL\n" => ["server"];
    exception_is_asked_after_a_match: "ALL: 10. EXCEPT .org\n" => ["client"];
    exception_is_not_asked_without: "ALL: 11. EXCEPT .org\n" => [];
}

macro_rules! judges {
    ($($name:ident: $allow:expr, $deny:expr, $names:expr => $verdict:ident $reason:ident;)*) => {
        $(#[test] fn $name() {
            let judgement = ask($allow, $deny, &$names).0;
            assert_eq!((judgement.verdict, judgement.reason), (Verdict::$verdict, Reason::$reason));
        })*
    };
}

judges! {
    any_name_matches: "", "ssh: ALL\n", ["sshd", "ssh"] => Refuse Rule;
    except_is_on_the_set: "", "ALL EXCEPT sshd: ALL\n", ["sshd", "ssh"] => Allow NoRule;
    no_name_matches_all: "", "ALL: ALL\n", [] => Refuse Rule;
    no_name_matches_star: "", "*: ALL\n", [] => Refuse Rule;
    no_name_matches_no_name: "", "sshd KNOWN s*: ALL\n", [] => Allow NoRule;
    port_needs_no_name: "", "22: ALL\n", [] => Refuse Rule;
    port_is_no_name: "", "22: ALL\n", ["x"] => Refuse Rule;
    self_including_file_ends: "", "ALL: /self\n", ["x"] => Refuse Rule;
    self_including_file_without_match: "", "ALL: 12. EXCEPT ALL\nALL: /missing\n", ["x"] => Allow NoRule;
    failed_aclexec_ends_the_table: "ALL: ALL: aclexec x\nALL: ALL\n", "ALL: ALL\n", ["x"] => Refuse Rule;
    failed_aclexec_spoils_a_deny_rule_with_options: "ALL: ALL: aclexec x\n", "ALL: ALL: nice\n", ["x"] => Allow NoRule;
    allow_after_failed_aclexec: "ALL: ALL: aclexec x: allow\n", "ALL: ALL\n", ["x"] => Allow Option;
    unknown_user_refuses: "ALL: ALL: user x\n", "", ["x"] => Refuse OptionError;
    broken_deny_table_refuses: "", "ALL: 11.", ["x"] => Refuse TableBroken;
    broken_allow_table_goes_on: "ALL: ALL", "ALL: 11.\n", ["x"] => Allow NoRule;
}

#[test]
fn every_user_exists_by_default() {
    let request = AccessRequest::default();
    let judgement = evaluate(&tables("ALL: ALL: user x.y\n", ""), &request, &Unknown);
    assert_eq!(judgement.verdict, Verdict::Allow);
}

#[test]
fn warnings_are_worded_as_libwrap_does() {
    let warnings = ask("x\n\nALL: /bad 10.: severity mail.info: bogus\n", "", &["x"]).0.warnings;
    let want = [
        "warning: hosts.allow, line 1: missing \":\" separator",
        "warning: hosts.allow, line 3: open /bad: Permission denied",
        "error: hosts.allow, line 3: bad option name: \"bogus\"",
    ];
    assert_eq!(warnings, want);
}

#[test]
fn outcome_of_a_rule() {
    let outcome = |options: &str| {
        let tables = tables(&format!("ALL: ALL{options}\n"), "");
        outcome_of(&tables.allow.rules.get(0).unwrap(), TableKind::Allow, &Unknown)
    };
    assert_eq!(outcome(""), Verdict::Allow);
    assert_eq!(outcome(": nice: aclexec x: user y"), Verdict::Allow);
    assert_eq!(outcome(": deny"), Verdict::Refuse);
    assert_eq!(outcome(": twist x"), Verdict::Refuse);
    assert_eq!(outcome(":"), Verdict::Refuse);
}

#[test]
fn unnamed_host_is_called_unknown() {
    let tables = tables("ALL: UNKNOWN .example.com /self\n", "");
    let rule = tables.allow.rules.get(0).unwrap();
    let hosts = &rule.clients.patterns;
    let matches = |index: usize| host_matches_unnamed(&hosts[index].host, "10.1.2.3", &tables.files);
    assert_eq!([matches(0), matches(1), matches(2)], [true, false, true]);
}

#[test]
fn every_file_is_named() {
    let named = pattern_files(&tables("sshd@/s: x@/c EXCEPT /e [fe80::1%eth9]\n", ""));
    let named: Vec<_> = named.iter().filter_map(|path| path.to_str()).collect();
    assert_eq!(named, ["/bad", "/c", "/e", "/other", "/s", "/self", "/sys/class/net/eth9"]);
}
