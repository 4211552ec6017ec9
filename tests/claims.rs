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

const LIBWRAP: &[Requirement] = &[Requirement::Root, Requirement::Library("libwrap.so.0")];

struct Claim {
    code: &'static str,
    /// The table with the mistake.
    text: &'static str,
    is_allow: bool,
    client: &'static str,
    /// Part of what is said to follow.
    said: &'static str,
    /// What libwrap answers, and with the fix; `None`: there is none.
    verdicts: (&'static str, Option<&'static str>),
}

/// A mistake in hosts.allow; hosts.deny refuses all others.
const fn allow(
    code: &'static str,
    text: &'static str,
    client: &'static str,
    said: &'static str,
    before: &'static str,
    after: Option<&'static str>,
) -> Claim {
    Claim { code, text, is_allow: true, client, said, verdicts: (before, after) }
}

/// A mistake in hosts.deny; hosts.allow is for another daemon.
const fn deny(
    code: &'static str,
    text: &'static str,
    client: &'static str,
    said: &'static str,
    before: &'static str,
    after: Option<&'static str>,
) -> Claim {
    Claim { code, text, is_allow: false, client, said, verdicts: (before, after) }
}

const V4: &str = "192.0.2.1";
const V6: &str = "2001:db8::1";
const NOT_REFUSED: &str = "are not refused by this rule";
const INSTEAD: &str = "every client of this rule is refused instead of allowed";

const CLAIMS: &[Claim] = &[
    // Addresses with colons.
    deny("E090", "sshd: 2001:db8::1\n", V6, "this rule does not refuse 2001:db8::1", "allow", Some("deny")),
    allow("E024", "sshd: 2001:db8::1\n", V6, "this rule does not allow 2001:db8::1", "deny", Some("allow")),
    allow(
        "E024",
        "sshd@2001:db8::5: 192.0.2.1\n",
        V4,
        "this rule does not allow its clients",
        "deny",
        Some("deny"),
    ),
    allow("E024", "sshd: 192.0.2.1 2001:db8::1\n", V4, "refuses its other clients", "deny", Some("allow")),
    deny("E091", "ALL:2001:db8::1\n", V6, "this rule does not refuse", "allow", Some("deny")),
    deny("W150", "sshd: [2001:db8::1]%eth0\n", V6, NOT_REFUSED, "allow", Some("deny")),
    deny("W150", "sshd: [2001:db8::1]x\n", V6, NOT_REFUSED, "allow", None),
    allow(
        "W043",
        "sshd: [fe80::]/\n",
        V6,
        "every IPv6 client, which this rule then allows",
        "allow",
        Some("deny"),
    ),
    allow(
        "W109",
        "sshd: [fe80::]/0\n",
        V6,
        "every IPv6 client, which this rule then allows",
        "allow",
        Some("deny"),
    ),
    deny("W013", "sshd: [2001:db8::1\n", V6, NOT_REFUSED, "allow", Some("deny")),
    // Options.
    allow("E060", "sshd: 192.0.2.1:\n", V4, INSTEAD, "deny", Some("allow")),
    allow("E061", "sshd: 192.0.2.1: (echo %a) &\n", V4, "refused instead of allowed", "deny", Some("allow")),
    deny(
        "E061",
        "sshd: 192.0.2.1: (echo %a) &\n",
        V4,
        "every client of this rule is refused",
        "deny",
        Some("deny"),
    ),
    allow("E064", "sshd: 192.0.2.1: permit\n", V4, INSTEAD, "deny", Some("allow")),
    allow("E064", "sshd:22: 192.0.2.1\n", V4, "it does not allow 192.0.2.1", "deny", Some("allow")),
    deny("E064", "sshd:22: 192.0.2.1\n", V4, "it does not refuse 192.0.2.1", "allow", Some("deny")),
    allow("E066", "sshd: 192.0.2.1: allow yes\n", V4, INSTEAD, "deny", Some("allow")),
    allow("E067", "sshd: 192.0.2.1: allow: severity info\n", V4, INSTEAD, "deny", None),
    allow("E062", "sshd: 192.0.2.1: severity authpriv.info\n", V4, INSTEAD, "deny", Some("allow")),
    allow("E063", "sshd: 192.0.2.1: setenv A=b\n", V4, INSTEAD, "deny", Some("allow")),
    allow("E069", "sshd: 192.0.2.1: linger x\n", V4, INSTEAD, "deny", None),
    allow(
        "E166",
        "sshd: 192.0.2.1: spawn (echo a: %a) &\n",
        V4,
        "refused instead of allowed",
        "deny",
        Some("allow"),
    ),
    allow("E151", "sshd: 192.0.2.1 deny\n", V4, "this rule allows its clients", "allow", Some("deny")),
    deny("E151", "sshd: 192.0.2.1 allow\n", V4, "this rule refuses its clients", "deny", Some("allow")),
    allow(
        "W152",
        "sshd: 192.0.2.1 allow\n",
        V4,
        "this rule allows its clients all the same",
        "allow",
        Some("allow"),
    ),
    allow(
        "W070",
        "sshd: 192.0.2.1: user tcpw-none\n",
        V4,
        "it refuses every client it matches",
        "deny",
        None,
    ),
    // Several lines.
    allow(
        "E097",
        "sshd: 192.0.2.9: allow sshd: 192.0.2.1\n",
        V4,
        "does not allow its clients",
        "deny",
        Some("allow"),
    ),
    allow(
        "E097",
        "sshd: 192.0.2.1: allow sshd: 192.0.2.9\n",
        V4,
        "refused instead of allowed",
        "deny",
        Some("allow"),
    ),
    deny("E097", "sshd: 192.0.2.9ALL: 192.0.2.1\n", V4, "does not refuse its clients", "allow", Some("deny")),
    deny(
        "E157",
        "sshd: 192.0.2.9,\n 192.0.2.1\n",
        V4,
        "does not refuse the clients behind it",
        "allow",
        Some("deny"),
    ),
    deny("W011", "sshd: 192.0.2.9 \\\r\n 192.0.2.1\n", V4, NOT_REFUSED, "allow", Some("deny")),
    deny("W017", "sshd: 192.0.2.9 \\ \n 192.0.2.1\n", V4, NOT_REFUSED, "allow", Some("deny")),
    deny("W012", "\u{feff}sshd: 192.0.2.1\n", V4, NOT_REFUSED, "allow", Some("deny")),
    deny("W014", "# a comment \\\nsshd: 192.0.2.1\n", V4, "its clients are not refused", "allow", None),
    deny("W018", "sshd: 192.0.2.1\\\n192.0.2.2\n", V4, NOT_REFUSED, "allow", None),
    deny("W098", "# the endALL: 192.0.2.1\n", V4, "the client is not refused", "allow", Some("deny")),
    // Comments.
    allow("W015", "  # sshd: 192.0.2.1\n", V4, "it allows its clients at sshd", "allow", Some("deny")),
    allow("W167", "// sshd: 192.0.2.1\n", V4, "it allows its clients at sshd", "allow", Some("deny")),
    allow("E168", "sshd: 192.0.2.1 # at home: me\n", V4, INSTEAD, "deny", Some("allow")),
    allow("W023", "sshd: 192.0.2.1 # at home\n", V4, "is taken for a client's name", "allow", Some("allow")),
    // Lists.
    deny("W020", "sshd:\n", V4, "this rule refuses no client", "allow", None),
    deny("W021", "sshd: EXCEPT 10.\n", V4, "this rule refuses no client", "allow", Some("deny")),
    deny("W022", "sshd: 192.0.2. EXCEPT\n", V4, "nothing is excepted", "deny", Some("deny")),
    deny("W028", "sshd: 192.0.2. EXCEPT ALL\n", V4, "this rule refuses no client", "allow", None),
    deny("W035", "sshd: ALLL\n", V4, NOT_REFUSED, "allow", Some("deny")),
    deny(
        "W035",
        "sshd: ALL EXECPT 192.0.2.\n",
        V4,
        "this rule refuses those clients, too",
        "deny",
        Some("allow"),
    ),
    deny("W107", "192.0.2.1: sshd\n", V4, NOT_REFUSED, "allow", None),
    deny("W101", "ssh: 192.0.2.1\n", V4, "clients of sshd are not refused", "allow", Some("deny")),
    deny("W031", "/usr/sbin/sshd: 192.0.2.1\n", V4, NOT_REFUSED, "allow", Some("deny")),
    deny("W016", "sshd: 192.0.2.1;192.0.2.2\n", V4, NOT_REFUSED, "allow", Some("deny")),
    deny("W016", "sshd: \"192.0.2.1\"\n", V4, NOT_REFUSED, "allow", Some("deny")),
    deny("W159", "sshd: <ip>\n", V4, NOT_REFUSED, "allow", None),
    deny("W163", "sshd: 192.0.2.1\u{a0}192.0.2.2\n", V4, NOT_REFUSED, "allow", Some("deny")),
    allow("E164", "sshd: 192.0.2.1:\u{a0}allow\n", V4, INSTEAD, "deny", Some("allow")),
    // Networks and addresses.
    deny("W041", "sshd: 192.0.2.1/24\n", V4, NOT_REFUSED, "allow", Some("deny")),
    deny("W041", "sshd: ALL EXCEPT 192.0.2.1/24\n", V4, "this rule refuses them, too", "deny", Some("allow")),
    allow(
        "W040",
        "sshd: 010.0.0.0/8\n",
        "8.0.0.9",
        "it matches another network, which this rule then allows",
        "allow",
        Some("deny"),
    ),
    deny("W049", "sshd: 192.0.2/24\n", V4, NOT_REFUSED, "allow", Some("deny")),
    deny("W050", "sshd: 192.0.2.1/255.255.255.255\n", V4, NOT_REFUSED, "allow", Some("deny")),
    allow(
        "W051",
        "sshd: .2.1\n",
        V4,
        "the addresses that end so, which this rule then allows",
        "allow",
        None,
    ),
    deny("W053", "sshd: 192.0.2\n", V4, NOT_REFUSED, "allow", Some("deny")),
    deny("W054", "sshd: [::ffff:192.0.2.1]\n", V4, NOT_REFUSED, "allow", Some("deny")),
    deny("W059", "sshd: 192.0.2.0/0.0.0.255\n", V4, NOT_REFUSED, "allow", Some("deny")),
    deny("W059", "sshd: 192.7.2.0/255.0.255.0\n", V4, NOT_REFUSED, "allow", None),
    deny(
        "W059",
        "sshd: 192.0.2.0/255.0.255.255\n",
        "192.7.2.0",
        "which this rule then refuses",
        "deny",
        None,
    ),
    deny("W111", "sshd: 192.0.02.\n", V4, NOT_REFUSED, "allow", Some("deny")),
    deny("W112", "sshd: 192.0.2.0-192.0.2.3\n", V4, NOT_REFUSED, "allow", Some("deny")),
    deny("W112", "sshd: 192.0.2.0 - 192.0.2.3\n", V4, NOT_REFUSED, "allow", Some("deny")),
    deny("W112", "sshd: 192.0.2.{1,2}\n", V4, NOT_REFUSED, "allow", Some("deny")),
    deny("W119", "sshd: 0.0.0.0\n", V4, NOT_REFUSED, "allow", Some("deny")),
    deny("W153", "sshd: 192.0.2.0 255.255.255.0\n", V4, NOT_REFUSED, "allow", Some("deny")),
    deny("W154", "sshd: 192.0.2.0\n", V4, NOT_REFUSED, "allow", None),
    // Users.
    allow("H032", "sshd: ALL@192.0.2.1\n", V4, "libwrap asks port 113 of the client", "allow", Some("allow")),
];

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
