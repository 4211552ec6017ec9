//! `tcpw list`: who may reach what, as networks; for a person and as JSON.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fmt::Write,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tcpw_tests::{Scratch, tcpw_output};

/// The tables of a directory.
fn tables(dir: &Scratch, allow: &str, deny: &str) -> [String; 4] {
    let (allow, deny) = (dir.write("hosts.allow", allow), dir.write("hosts.deny", deny));
    ["--hosts-allow".into(), allow, "--hosts-deny".into(), deny]
}

/// `tcpw list` with the tables: standard output.
fn list(tables: &[String], arguments: &[&str]) -> String {
    let flags: Vec<&str> = tables.iter().map(String::as_str).collect();
    let (code, stdout, stderr) = tcpw_output(&[&["list"], arguments, &flags].concat());
    assert_eq!((code, stderr.as_str()), (0, ""), "{stdout}");
    stdout
}

fn json(tables: &[String], arguments: &[&str]) -> Value {
    serde_json::from_str(&list(tables, &[&["--json"], arguments].concat())).unwrap()
}

#[test]
fn clients_of_both_families_with_the_rule_that_decides() {
    let dir = Scratch::new("list-families");
    let tables = tables(&dir, "sshd: 192.0.2.0/25 192.0.2.128/25 [2001:db8::]/32\n", "ALL: ALL\n");
    let (allow, deny) = (&tables[1], &tables[3]);
    assert_eq!(
        list(&tables, &["sshd"]),
        format!(
            "sshd:\n  allowed: 192.0.2.0/24, 2001:db8::/32\n      {allow}:1:1  sshd: 192.0.2.0/25 192.0.2.128/25 \
             [2001:db8::]/32\n  refused: everyone else\n      {deny}:1:1  ALL: ALL\n"
        )
    );
    assert_eq!(
        list(&tables, &["in.ftpd"]),
        format!("in.ftpd:\n  refused: everyone\n      {deny}:1:1  ALL: ALL\n")
    );
    // Without a service: all that the tables tell apart.
    let all = list(&tables, &[]);
    assert!(all.starts_with("sshd:\n") && all.contains("\nany other daemon:\n"), "{all}");
}

#[test]
fn v4_mapped_networks_are_ipv4() {
    let dir = Scratch::new("list-mapped");
    let tables = tables(&dir, "", "ALL: 198.51.100.7\n");
    let all = list(&tables, &[]);
    assert!(all.starts_with("every daemon:\n  refused: 198.51.100.7 (1 address)\n"), "{all}");
}

#[test]
fn services_by_port_and_server_address() {
    let dir = Scratch::new("list-services");
    let allowed = |allow: &str, service: &str| {
        let text = list(&tables(&dir, allow, "ALL: ALL\n"), &[service]);
        text.lines().find(|line| line.contains("allowed: ")).map(|line| line.trim().to_owned())
    };
    let port = "22: 192.0.2.1\n";
    assert_eq!(allowed(port, "22").as_deref(), Some("allowed: 192.0.2.1 (1 address)"));
    assert_eq!(allowed(port, "80"), None);
    let server = "sshd@10.0.0.1: 192.0.2.2\n";
    assert_eq!(allowed(server, "sshd@10.0.0.1").as_deref(), Some("allowed: 192.0.2.2 (1 address)"));
    assert_eq!(allowed(server, "sshd@10.0.0.2"), None);
    assert_eq!(allowed(server, "sshd@[2001:db8::1]"), None);
}

#[test]
fn what_a_name_decides_is_told_apart() {
    let dir = Scratch::new("list-names");
    let tables = tables(&dir, "sshd: 192.0.2. .example.com\n", "ALL: ALL\n");
    let (allow, deny) = (&tables[1], &tables[3]);
    assert_eq!(
        list(&tables, &["sshd"]),
        format!(
            "sshd:\n  allowed: 192.0.2.0/24 (256 addresses)\n      {allow}:1:1  sshd: 192.0.2. .example.com\n  \
             depends on the client's name: everyone else\n      {allow}:1:1  sshd: 192.0.2. .example.com  \
             (allowed)\n      otherwise {deny}:1:1  ALL: ALL  (refused)\n"
        )
    );
}

#[test]
fn as_json() {
    let dir = Scratch::new("list-json");
    let tables = tables(&dir, "sshd: 192.0.2. .example.com\nsshd: [2001:db8::]/32\n", "sshd: ALL\n");
    let (allow, deny) = (&tables[1], &tables[3]);
    let document = json(&tables, &["sshd"]);
    assert_eq!(document["errors"], 0);
    let group = &document["groups"][0];
    assert_eq!(group["services"][0]["daemon"], "sshd");
    let clients = group["clients"].as_array().unwrap();
    let of = |verdict: &str, via: u64| {
        let is_one = |it: &&Value| it["verdict"] == verdict && it["rule"]["line"] == via;
        clients.iter().find(is_one).unwrap_or_else(|| panic!("{verdict} {via}: {document:#}"))
    };
    let allowed = of("allow", 1);
    assert_eq!(allowed["networks"], json!(["192.0.2.0/24"]));
    assert_eq!(
        allowed["rule"],
        json!({ "file": allow, "line": 1, "column": 1, "text": "sshd: 192.0.2. .example.com" })
    );
    // Allowed by whichever of the two rules.
    assert_eq!(of("allow", 2)["networks"], json!(["2001:db8::/32"]));
    let depends = clients.iter().find(|it| it["verdict"] == "depends").unwrap();
    assert_eq!(depends["hangs_on"], json!(["name"]));
    assert_eq!(depends["rule"]["file"], json!(deny));
    assert_eq!(depends["before"][0]["file"], json!(allow));
}

#[test]
fn errors_in_the_tables_are_said() {
    let dir = Scratch::new("list-errors");
    let tables = tables(&dir, "sshd 192.0.2.1\n", "ALL: ALL\n");
    assert!(
        list(&tables, &[]).ends_with("\nThe tables have 1 error, judged as libwrap does: see tcpw check\n")
    );
    assert_eq!(json(&tables, &[])["errors"], 1);
}

#[test]
fn deny_all_by_a_missing_newline_is_shown() {
    let dir = Scratch::new("list-broken");
    let tables = tables(&dir, "sshd: 192.0.2.1\n", "in.telnetd: ALL");
    let all = list(&tables, &["sshd"]);
    assert!(
        all.contains("refused: everyone else\n      ") && all.contains("cannot be read to its end"),
        "{all}"
    );
}

#[test]
fn settings_name_the_tables_in_use() {
    let dir = Scratch::new("list-settings");
    let [_, allow, _, deny] = tables(&dir, "sshd: 192.0.2.1\n", "ALL: ALL\n");
    let settings = dir.write("tcpw.toml", &format!("hosts-allow = {allow:?}\nhosts-deny = {deny:?}\n"));
    let (code, stdout, stderr) = tcpw_output(&["list", "sshd", "--config", &settings]);
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert!(stdout.contains("allowed: 192.0.2.1 (1 address)"), "{stdout}");
    let wrong = dir.write("wrong.toml", "hosts-dney = \"/x\"\n");
    let (code, stdout, stderr) = tcpw_output(&["list", "sshd", "--config", &wrong]);
    assert_eq!((code, stdout.as_str()), (2, ""));
    assert!(stderr.starts_with(&format!("tcpw: error: {wrong}:1:1: unknown key \"hosts-dney\"")), "{stderr}");
}

#[test]
fn wrong_use() {
    for (arguments, expected) in [
        (["list", "--hosts-allow", "/nonexistent"].as_slice(), "/nonexistent: No such file or directory"),
        (&["list", "sshd@nowhere"], "\"nowhere\" is no address"),
        (&["list", ""], "the service is empty"),
    ] {
        let (code, stdout, stderr) = tcpw_output(arguments);
        assert_eq!((code, stdout.as_str()), (2, ""), "{arguments:?}");
        assert!(stderr.starts_with("tcpw: error: ") && stderr.contains(expected), "{stderr}");
    }
}

#[test]
fn many_rules_in_a_row_that_do_the_same_are_told_as_one() {
    let dir = Scratch::new("list-runs");
    let ban = |last: u32| match last {
        // Another kind of address, and a comment, are among them.
        5 => "# five\nsshd: [2001:db8::5]\n".to_owned(),
        last => format!("sshd: 192.0.2.{}\n", 2 * last),
    };
    let deny: String =
        (1..=12).map(ban).chain(["sshd: 198.51.100.1\nin.ftpd: 192.0.2.99\n".into()]).collect();
    let tables = tables(&dir, "sshd: 192.0.2.6\n", &deny);
    let (allow, deny) = (&tables[1], &tables[3]);
    let text = list(&tables, &["sshd"]);
    assert_eq!(
        text,
        format!(
            "sshd:\n  allowed: 192.0.2.6 (1 address)\n      {allow}:1:1  sshd: 192.0.2.6\n  refused: 192.0.2.2, \
             192.0.2.4, 192.0.2.8, 192.0.2.12, 192.0.2.14, 192.0.2.16, 192.0.2.18, 192.0.2.20, 192.0.2.22, \
             192.0.2.24 and 2 more networks\n      {deny}:1-14  13 rules, from \"sshd: 192.0.2.2\" to \"sshd: \
             198.51.100.1\"\n  allowed: everyone else\n      no rule matches: allowed\n"
        )
    );
    let all = list(&tables, &["sshd", "--all"]);
    assert!(
        all.contains(&format!("  refused: 192.0.2.8 (1 address)\n      {deny}:4:1  sshd: 192.0.2.8\n")),
        "{all}"
    );
    assert_eq!(all.matches("refused: ").count(), 12, "{all}");
    assert_eq!(json(&tables, &["sshd"])["groups"][0]["clients"].as_array().unwrap().len(), 14);
}

/// A rule in doubt is told by itself, however many do the same before and behind it.
#[test]
fn doubtful_rules_are_in_no_run() {
    let dir = Scratch::new("list-doubt");
    let bans =
        |daemon: &str| (1..=12).map(|last| format!("{daemon}: 192.0.2.{}\n", 2 * last)).collect::<String>();
    // The mask is more networks than are spelled out.
    let masked = tables(&dir, "", &format!("{}ALL: 0.0.0.7/0.0.0.255\n", bans("ALL")));
    let text = list(&masked, &["sshd"]);
    let rule = format!("{}:13:1  ALL: 0.0.0.7/0.0.0.255  (refused)", masked[3]);
    assert!(text.contains(&rule) && text.contains("12 rules, from "), "{text}");
    let named = tables(&dir, "", &bans("sshd@gate.example.org"));
    let text = list(&named, &["sshd"]);
    let rule = format!("{}:3:1  sshd@gate.example.org: 192.0.2.6  (refused)", named[3]);
    assert!(text.contains(&rule) && !text.contains("12 rules"), "{text}");
}

#[test]
fn a_hundred_thousand_rules_do_not_take_long() {
    let dir = Scratch::new("list-many");
    let mut deny = String::new();
    for number in 0..100_000u32 {
        // No two are neighbours: none is merged.
        let _ =
            writeln!(deny, "ALL: {}.{}.{}.0/24", 1 + (number >> 15), number >> 7 & 255, (number & 127) << 1);
    }
    let tables = tables(&dir, "sshd: 192.0.2.1\n", &deny);
    let started = Instant::now();
    let document = json(&tables, &[]);
    let took = started.elapsed();
    assert!(document["groups"][0]["clients"].as_array().unwrap().len() > 100_000);
    let text = list(&tables, &["--all"]);
    assert!(text.lines().count() > 200_000);
    // What one kind of line does is told at once.
    let text = list(&tables, &[]);
    assert!(text.lines().count() < 20, "{text}");
    let run = format!("{}:1-100000  100000 rules, from \"ALL: 1.0.0.0/24\" to \"ALL: ", tables[3]);
    assert!(text.contains(&run), "{text}");
    // A quadratic step of a nanosecond would add ten seconds.
    assert!(took < Duration::from_secs(60), "{took:?}");
}
