//! What the checker says of clients is what libwrap does with them.
//!
//! Each claim is a pair of tables with one mistake, a client, what the checker says of the mistake, and the verdict
//! of the real libwrap.so.0: before, and with the fix that is offered.

use tcpw_tests::{
    Requirement, can_run,
    differential::{Answer, Case, Programs},
};
use tcpw_userspace::parse::diagnostic::Fix;

use crate::mistakes::{both, fixed, shown};
use table::{CLAIMS, Claim, V4};

mod table;

const LIBWRAP: &[Requirement] = &[Requirement::Root, Requirement::Library("libwrap.so.0")];

fn case(claim: &Claim, text: &str) -> Case {
    let (allow, deny) = if claim.is_allow { (text, "ALL: ALL\n") } else { ("vsftpd: 127.0.0.1\n", text) };
    Case {
        allow: Some(allow.into()),
        deny: Some(deny.into()),
        daemon: "sshd".into(),
        client_addr: Some(claim.client.into()),
        ..Case::default()
    }
}

#[test]
fn what_is_said_of_clients_is_what_libwrap_does() {
    if !can_run("what_is_said_of_clients_is_what_libwrap_does", LIBWRAP) {
        return;
    }
    let mut failures = Vec::new();
    let (mut cases, mut wanted) = (Vec::new(), Vec::new());
    for claim in CLAIMS {
        let Claim { code, text, is_allow, said, verdicts: (before, after), .. } = claim;
        cases.push(case(claim, text));
        wanted.push((claim, *before));
        let (allow, deny) = if *is_allow { (*text, "ALL: ALL\n") } else { ("vsftpd: 127.0.0.1\n", *text) };
        let mut found = both(Some(allow), Some(deny));
        found.retain(|it| it.origin.path.ends_with(if *is_allow { "hosts.allow" } else { "hosts.deny" }));
        let finding = found.iter().find(|it| it.code == *code && it.consequence.contains(said));
        let fix = finding.and_then(|it| match &it.fix {
            Some(Fix::Replace(with)) => Some(fixed(text, it, with)),
            Some(Fix::Advice(_)) | None => None,
        });
        match (finding, fix, after) {
            (None, _, _) => failures.push(format!("{code}: not said {said:?} of\n{text}{}", shown(&found))),
            (Some(_), Some(fix), Some(after)) => {
                cases.push(case(claim, &fix));
                wanted.push((claim, *after));
            }
            (Some(_), None, None) => {}
            (Some(finding), fix, after) => {
                failures.push(format!("{code}: the fix {fix:?} for {after:?} of\n{text}{finding}"));
            }
        }
    }
    let answers = Programs::find().unwrap().libwrap(&cases).unwrap();
    for (((claim, verdict), case), answer) in wanted.iter().zip(&cases).zip(&answers) {
        let Answer { expect, .. } = answer;
        if expect != verdict {
            failures.push(format!("{}: {verdict} was claimed: {answer:?}\n{case:?}", claim.code));
        }
    }
    let codes: std::collections::BTreeSet<_> = CLAIMS.iter().map(|claim| claim.code).collect();
    println!("{} questions to libwrap, {} codes", cases.len(), codes.len());
    assert!(failures.is_empty(), "{}\n{} failures", failures.join("\n"), failures.len());
}

#[test]
fn a_user_begins_a_word_as_it_likes() {
    if !can_run("a_user_begins_a_word_as_it_likes", LIBWRAP) {
        return;
    }
    // H079: what the shell would act on is replaced, "-", "/" and ".." are not.
    let deny = "sshd: ALL: spawn /tmp/lwc/rec %u\n";
    let found = both(Some("vsftpd: 127.0.0.1\n"), Some(deny));
    assert!(
        found.iter().any(|it| it.code == "H079" && it.consequence.contains("replaces characters")),
        "{}",
        shown(&found)
    );
    let case = Case {
        deny: Some(deny.into()),
        daemon: "sshd".into(),
        client_addr: Some(V4.into()),
        client_user: Some("-x/../y;z".into()),
        ..Case::default()
    };
    let answer = &Programs::find().unwrap().libwrap(&[case]).unwrap()[0];
    assert_eq!(answer.spawned, ["/tmp/lwc/rec -x/../y_z"]);
}

#[test]
fn names_decide_as_is_said() {
    if !can_run("names_decide_as_is_said", LIBWRAP) {
        return;
    }
    // Any owner of a domain can choose such names, and libwrap matches them.
    let claims = [
        ("W118", "sshd: www*\n", "www.attacker.example", "allow"),
        ("W118", "sshd: www.\n", "www.attacker.example", "allow"),
        ("W056", "sshd: 10.*\n", "10.attacker.example", "allow"),
        ("W056", "sshd: fe80*\n", "fe80.attacker.example", "allow"),
        ("W113", "sshd: a.example.\n", "a.example.attacker.example", "allow"),
        ("W118", "sshd: www*\n", "mail.example", "deny"),
        ("H174", "sshd: *\n", "a.example.com", "allow"),
        ("H034", "sshd: .example.com\n", "a.example.com", "allow"),
        ("H114", "sshd: gate\n", "gate.example.com", "deny"),
    ];
    let case = |(_, allow, name, _): &(&str, &'static str, &'static str, &str)| Case {
        allow: Some((*allow).into()),
        deny: Some("ALL: ALL\n".into()),
        daemon: "sshd".into(),
        client_addr: Some(V4.into()),
        client_name: Some((*name).into()),
        ..Case::default()
    };
    let cases: Vec<Case> = claims.iter().map(case).collect();
    let answers = Programs::find().unwrap().libwrap(&cases).unwrap();
    for ((code, allow, name, verdict), answer) in claims.into_iter().zip(answers) {
        let found = both(Some(allow), Some("ALL: ALL\n"));
        assert!(found.iter().any(|it| it.code == code), "{allow}{}", shown(&found));
        assert_eq!(answer.expect, verdict, "{allow}{name}");
    }
}

#[test]
fn an_empty_device_is_an_empty_file_of_patterns() {
    if !can_run("an_empty_device_is_an_empty_file_of_patterns", LIBWRAP) {
        return;
    }
    // No W009 for /dev/null: it is read at once, and matches no client.
    let deny = "sshd: /dev/null\nsshd: 192.0.2.1\n";
    let found = both(Some("vsftpd: 127.0.0.1\n"), Some(deny));
    assert!(!found.iter().any(|it| it.code == "W009"), "{}", shown(&found));
    let case = Case {
        deny: Some(deny.into()),
        daemon: "sshd".into(),
        client_addr: Some(V4.into()),
        ..Case::default()
    };
    let answer = &Programs::find().unwrap().libwrap(&[case]).unwrap()[0];
    assert_eq!((answer.matched.as_str(), answer.warnings.len()), ("deny:2", 0), "{answer:?}");
}

/// What libwrap answers a client of sshd.
fn answers(tables: &[(&str, &str)]) -> Vec<Answer> {
    let case = |(allow, deny): &(&str, &str)| Case {
        allow: Some((*allow).into()),
        deny: Some((*deny).into()),
        daemon: "sshd".into(),
        client_addr: Some(V4.into()),
        ..Case::default()
    };
    let cases: Vec<Case> = tables.iter().map(case).collect();
    Programs::find().expect("the programs").libwrap(&cases).expect("libwrap answers")
}

#[test]
fn a_command_that_fails_spoils_hosts_deny() {
    if !can_run("a_command_that_fails_spoils_hosts_deny", LIBWRAP) {
        return;
    }
    // W123: a rule of hosts.deny with options lets in, one without refuses.
    let allow = "sshd: 192.0.2.1: aclexec exit 1\n";
    let with_options = "sshd: ALL: severity info\n";
    let found = both(Some(allow), Some(with_options));
    let finding = found.iter().find(|it| it.code == "W123").unwrap_or_else(|| panic!("{}", shown(&found)));
    assert!(finding.consequence.contains("lets in clients that it should refuse"), "{finding}");
    let found = both(Some(allow), Some("sshd: ALL\n"));
    assert!(!found.iter().any(|it| it.code == "W123"), "{}", shown(&found));
    let verdicts = answers(&[(allow, with_options), (allow, "sshd: ALL\n"), ("", with_options)]);
    let verdicts: Vec<&str> = verdicts.iter().map(|it| it.expect.as_str()).collect();
    assert_eq!(verdicts, ["allow", "deny", "deny"]);
}

#[test]
fn a_directory_of_banners_that_is_missing_is_warned_of() {
    if !can_run("a_directory_of_banners_that_is_missing_is_warned_of", LIBWRAP) {
        return;
    }
    // W128: no banner, and a warning each time; the verdict is that of the table.
    for (allow, deny, verdict) in [
        ("sshd: ALL: banners /tmp/lwc/nowhere\n", "ALL: ALL\n", "allow"),
        ("vsftpd: ALL\n", "sshd: ALL: banners /tmp/lwc/nowhere\n", "deny"),
    ] {
        let found = both(Some(allow), Some(deny));
        let finding =
            found.iter().find(|it| it.code == "W128").unwrap_or_else(|| panic!("{}", shown(&found)));
        assert_eq!(finding.consequence, "no banner is sent; libwrap warns each time");
        let answer = &answers(&[(allow, deny)])[0];
        assert_eq!((answer.expect.as_str(), answer.banner.as_deref()), (verdict, None), "{answer:?}");
        assert!(answer.warnings.iter().any(|it| it.contains("/tmp/lwc/nowhere")), "{answer:?}");
    }
}

#[test]
fn what_decides_before_a_mistake_is_what_libwrap_matches() {
    if !can_run("what_decides_before_a_mistake_is_what_libwrap_matches", LIBWRAP) {
        return;
    }
    // Tables, the code, and the rule that decides; none: the rule is reached with the fix, or its mistake matters.
    let claims = [
        ("sshd: 192.0.2.\n", "sshd: 192.0.2.1/24\n", "W041", "allow:1"),
        ("sshd: 192.0.2.\n", "sshd: 192.0.2.9: deny sshd: 192.0.2.1\n", "E097", "allow:1"),
        ("sshd: ALL: deny\n", "sshd: 192.0.2.1: allow yes\n", "E066", "allow:1"),
        ("sshd: ALL\nsshd: 192.0.2.*\n", "ALL: ALL\n", "W056", "allow:1"),
        ("sshd: ALL\nsshd: [fe80::]/\n", "ALL: ALL\n", "W043", "allow:1"),
        ("sshd: ALL\n", "sshd: [::ffff:192.0.2.1]\n", "W054", "allow:1"),
        ("vsftpd: ALL\n", "ALL: 192.0.2.0/24\nsshd: 192.0.2.1/30\n", "W041", "deny:1"),
        ("sshd: 192.0.2.\n", "sshd: 192.0.2.9\\\n", "E003", "allow:1"),
        ("sshd: 198.51.100.\n", "sshd: 192.0.2.1/24\n", "W041", ""),
        ("vsftpd: 192.0.2.\n", "sshd: 192.0.2.1/24\n", "W041", ""),
        ("sshd: 192.0.2.128/25\n", "sshd: 192.0.2.1/24\n", "W041", ""),
        ("sshd: [fe80::]/10\nsshd: [fe80::1]/\n", "ALL: ALL\n", "W043", ""),
        ("sshd: 192.0.2.1: aclexec false\n", "sshd: 192.0.2.1/32 192.0.2.9/24\n", "W041", ""),
    ];
    let tables: Vec<_> = claims.iter().map(|(allow, deny, ..)| (*allow, *deny)).collect();
    for ((allow, deny, code, decides), answer) in claims.iter().zip(answers(&tables)) {
        let found = both(Some(allow), Some(deny));
        let finding = found.iter().find(|it| it.code == *code).unwrap_or_else(|| panic!("{}", shown(&found)));
        let Some((table, line)) = decides.split_once(':') else {
            assert!(!finding.consequence.contains("decides before"), "{allow}{deny}{finding}");
            continue;
        };
        let said = format!("but hosts.{table}:{line} decides before this rule");
        assert!(finding.consequence.contains(&said), "{allow}{deny}{finding}");
        assert_eq!(answer.matched, *decides, "{allow}{deny}{answer:?}");
    }
}

#[test]
fn the_command_that_is_given_deletes_a_byte_order_mark() {
    let text = "\u{feff}sshd: 198.51.100.7\n";
    let found = both(None, Some(text));
    let finding = found.iter().find(|it| it.code == "W012").unwrap_or_else(|| panic!("{}", shown(&found)));
    let (_, behind) = finding.message.split_once("; ").unwrap();
    let command = behind.strip_suffix(" deletes it").unwrap();
    let directory = std::env::temp_dir().join(format!("tcpw-mark-{}", std::process::id()));
    std::fs::create_dir(&directory).unwrap();
    for locale in ["C", "C.UTF-8"] {
        std::fs::write(directory.join("hosts.deny"), text).unwrap();
        let mut shell = std::process::Command::new("sh");
        let status =
            shell.args(["-c", command]).current_dir(&directory).env("LC_ALL", locale).status().unwrap();
        let left = std::fs::read(directory.join("hosts.deny")).unwrap();
        assert!(status.success() && left == b"sshd: 198.51.100.7\n", "{command} with {locale}: {left:?}");
    }
    std::fs::remove_dir_all(&directory).unwrap();
}
