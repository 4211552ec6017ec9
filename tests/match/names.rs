//! `tcpw match` with the names and netgroups of a host, and tcpdmatch beside it.

use std::{collections::BTreeMap, fs, process::Command, time::Duration};

use tcpw_tests::{Place, Requirement, Sandbox, can_run, tcpw_binary};

use super::{ALLOW, DENY};

const HOSTS: &str = "\
127.0.0.1 localhost
192.0.2.7 good.example.com alias.example.com
192.0.2.8 multi.example.com
192.0.2.9 multi.example.com
192.0.2.31 other.example.com bad.example.com
192.0.2.30 bad.example.com
192.0.2.50 192.0.2.51
192.0.2.50 numeric.example.com
2001:db8::7 six.example.com
10.9.9.9 srv.example.net
10.9.9.10 two.example.net
10.9.9.11 two.example.net
";

/// A host of its own: names only from its /etc/hosts, netgroups from its /etc/netgroup.
fn sandbox(name: &str) -> Option<Sandbox> {
    if !can_run(name, &[Requirement::Root]) {
        return None;
    }
    let sandbox = Sandbox::new(name).unwrap();
    let long =
        format!("192.0.2.60 {}.{}.{}.example.com long\n", "a".repeat(60), "b".repeat(60), "c".repeat(60));
    fs::write(sandbox.etc().join("hosts"), format!("{HOSTS}{long}")).unwrap();
    fs::write(sandbox.etc().join("netgroup"), "good (netgroup.example.com,,) (good.example.com,,)\n")
        .unwrap();
    let files =
        ["hosts", "netgroup", "passwd", "group"].map(|service| format!("{service}: files\n")).concat();
    fs::write(sandbox.etc().join("nsswitch.conf"), files).unwrap();
    fs::write(sandbox.scratch().join("hosts.allow"), ALLOW).unwrap();
    fs::write(sandbox.scratch().join("hosts.deny"), DENY).unwrap();
    fs::write(sandbox.scratch().join("inetd.conf"), "").unwrap();
    Some(sandbox)
}

/// Runs a program in that sandbox: exit code and lines.
fn run_in(sandbox: &Sandbox, program: &str, arguments: &[&str]) -> (i32, Vec<String>) {
    // Entering the sandbox's files leaves the directory.
    let mut command = Command::new("sh");
    command.args(["-c", "cd \"$1\" && shift && exec \"$@\"", "sh"]).arg(sandbox.scratch()).arg(program);
    command.args(arguments);
    let mut process = sandbox.spawn(Place::Server, command).unwrap();
    let status = process.wait(Duration::from_secs(60)).unwrap();
    (status.code().unwrap(), process.lines().into_iter().map(|line| line.text).collect())
}

fn tcpw_in(sandbox: &Sandbox, arguments: &[&str]) -> (i32, Vec<String>) {
    let tcpw = tcpw_binary().unwrap();
    run_in(sandbox, tcpw.to_str().unwrap(), &[&["match", "-d"], arguments].concat())
}

#[test]
fn names_are_believed_as_libwrap_believes_them() {
    let Some(sandbox) = sandbox("match-names") else { return };
    let long = "a".repeat(60) + "." + &"b".repeat(60) + "." + &"c".repeat(5);
    for (address, name, warning) in [
        ("192.0.2.7", "good.example.com", None),
        ("::ffff:192.0.2.7", "good.example.com", None),
        ("2001:db8::7", "six.example.com", None),
        ("127.0.0.1", "localhost", None),
        ("192.0.2.99", "unknown", None),
        (
            "192.0.2.30",
            "paranoid",
            Some("host name/name mismatch: bad.example.com != other.example.com".to_owned()),
        ),
        (
            "192.0.2.50",
            "paranoid",
            Some("host name/name mismatch: reverse lookup results in non-FQDN 192.0.2.51".into()),
        ),
        (
            "192.0.2.60",
            "paranoid",
            Some(format!("can't verify hostname: getaddrinfo({long}, AF_INET) failed")),
        ),
    ] {
        let (_, lines) = tcpw_in(&sandbox, &["--resolve", "sshd", address]);
        let look_up = format!("look-up:  client name for hosts.allow:2:7: .example.com: {name}");
        assert!(lines.contains(&look_up), "{address}: {lines:#?}");
        let warnings: Vec<&str> = lines.iter().filter_map(|line| line.strip_prefix("warning:  ")).collect();
        assert_eq!(warnings, warning.as_deref().into_iter().collect::<Vec<_>>(), "{address}");
    }
}

#[test]
fn every_address_of_a_name_is_judged() {
    let Some(sandbox) = sandbox("match-addresses") else { return };
    fs::write(sandbox.scratch().join("hosts.allow"), "sshd: 192.0.2.8\n").unwrap();
    let (code, lines) = tcpw_in(&sandbox, &["sshd", "multi.example.com"]);
    assert_eq!(code, 1, "one of them is refused");
    let access: Vec<&str> = lines.iter().filter_map(|line| line.strip_prefix("access:   ")).collect();
    assert_eq!(access, ["granted", "denied"]);
    assert_eq!(lines.last().map(String::as_str), Some("1 of 2 addresses are refused"));
    let (code, lines) = tcpw_in(&sandbox, &["sshd@two.example.net", "192.0.2.8"]);
    let want =
        "tcpw: error: two.example.net has more than one address: write one of them, 10.9.9.10 or 10.9.9.11";
    assert_eq!((code, lines), (2, vec![want.to_owned()]));
}

#[test]
fn netgroups_are_asked() {
    let Some(sandbox) = sandbox("match-netgroups") else { return };
    fs::write(sandbox.scratch().join("hosts.allow"), "sshd: @good\n").unwrap();
    let (code, lines) = tcpw_in(&sandbox, &["sshd", "good.example.com"]);
    assert_eq!(code, 0, "{lines:#?}");
    assert!(lines.contains(
        &"look-up:  netgroup good for hosts.allow:1:7: @good: good.example.com is a member".into()
    ));
    let (code, lines) = tcpw_in(&sandbox, &["sshd", "six.example.com"]);
    assert_eq!(code, 1, "{lines:#?}");
    let (code, lines) = tcpw_in(&sandbox, &["sshd", "192.0.2.7"]);
    assert_eq!(code, 1, "its name is not looked up: {lines:#?}");
}

#[test]
fn tcpdmatch_says_the_same() {
    const TCPDMATCH: &str = "/usr/sbin/tcpdmatch";
    if !can_run("tcpdmatch_says_the_same", &[Requirement::Root, Requirement::Program(TCPDMATCH)]) {
        return;
    }
    let Some(sandbox) = sandbox("match-tcpdmatch") else { return };
    let mut seen = BTreeMap::<String, usize>::new();
    for arguments in [
        ["sshd", "192.0.2.1"],
        ["sshd", "joe@192.0.2.1"],
        ["in.ftpd", "192.0.2.2"],
        ["sshd", "good.example.com"],
        ["sshd", "alias.example.com"],
        ["sshd", "multi.example.com"],
        ["sshd", "bad.example.com"],
        ["sshd", "other.example.com"],
        ["sshd", "numeric.example.com"],
        ["sshd", "long"],
        ["sshd", "localhost"],
        ["sshd", "six.example.com"],
        ["sshd", "2001:db8::7"],
        ["sshd", "::ffff:192.0.2.1"],
        ["sshd", "unknown"],
        ["sshd", "UNKNOWN"],
        ["sshd", "paranoid"],
        ["sshd", "joe@unknown"],
        ["sshd", "joe@paranoid"],
        ["sshd@10.9.9.9", "joe@192.0.2.3"],
        ["sshd@srv.example.net", "joe@192.0.2.3"],
        ["sshd@unknown", "192.0.2.3"],
        ["sshd@paranoid", "joe@192.0.2.3"],
        ["sshd@10.9.9.8", "joe@192.0.2.3"],
        ["sshd@2001:db8::1", "192.0.2.1"],
        ["/usr/sbin/sshd", "192.0.2.1"],
        ["./sshd", "192.0.2.1"],
        ["SSHD", "192.0.2.1"],
        ["sshd", "@192.0.2.1"],
        ["sshd", "1.2.3"],
        ["sshd", "fe80::1%lo"],
        ["sshd", "255.255.255.255"],
        ["sshd", "0.0.0.0"],
        ["sshd", "10.1.2.3"],
        ["sshd", "11.1.2.3"],
        ["nosuch", "192.0.2.1"],
        // What it refuses.
        ["sshd", "nosuch.example.com"],
        ["sshd", "999.1.1.1"],
        ["sshd", ""],
        ["sshd", "joe@"],
        ["sshd@", "192.0.2.1"],
        ["sshd@two.example.net", "192.0.2.1"],
        ["sshd", "a@b@192.0.2.1"],
        ["@sshd", "192.0.2.1"],
        ["sshd", "KNOWN"],
        ["sshd", "192.0.2.1/24"],
        ["sshd", ".example.com"],
    ] {
        let (theirs, their_lines) =
            run_in(&sandbox, TCPDMATCH, &[&["-d", "-i", "inetd.conf"], &arguments[..]].concat());
        let (ours, our_lines) = tcpw_in(&sandbox, &[&["-i", "inetd.conf"], &arguments[..]].concat());
        let facts = |lines: Vec<String>| -> Vec<String> {
            let is_fact =
                |line: &String| ["client: ", "server: ", "access: "].iter().any(|it| line.starts_with(it));
            lines.into_iter().filter(is_fact).collect()
        };
        assert_eq!(ours == 2, theirs == 1, "{arguments:?}: {their_lines:#?} {our_lines:#?}");
        let our_facts = facts(our_lines);
        assert_eq!(our_facts, facts(their_lines), "{arguments:?}");
        for fact in our_facts.into_iter().filter(|fact| fact.starts_with("access: ")) {
            *seen.entry(fact).or_default() += 1;
        }
    }
    assert!(seen.len() == 3 && seen["access:   granted"] > 5 && seen["access:   denied"] > 5, "{seen:?}");
}
