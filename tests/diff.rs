//! `tcpw diff`: what an edit changes, in meaning; for a person and as JSON.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fmt::Write,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tcpw_tests::{Scratch, tcpw_output};

/// A directory with an old and a new pair of tables.
fn pairs(name: &str, old: [&str; 2], new: [&str; 2]) -> (Scratch, String, String) {
    let dir = Scratch::new(name);
    for (side, [allow, deny]) in [("old", old), ("new", new)] {
        dir.write(&format!("{side}/hosts.allow"), allow);
        dir.write(&format!("{side}/hosts.deny"), deny);
    }
    let (old, new) = (dir.path("old"), dir.path("new"));
    (dir, old, new)
}

/// `tcpw diff`: exit code, and standard output without the scratch directory's path.
fn diff(dir: &Scratch, arguments: &[&str]) -> (i32, String) {
    let (code, stdout, stderr) = tcpw_output(&[&["diff"], arguments].concat());
    assert_eq!(stderr, "", "{arguments:?}");
    (code, stdout.replace(&dir.path(""), ""))
}

fn json(arguments: &[&str]) -> Value {
    let (_, stdout, stderr) = tcpw_output(&[&["diff", "--json"], arguments].concat());
    assert_eq!(stderr, "", "{arguments:?}");
    serde_json::from_str(&stdout).unwrap()
}

/// Asserts wrong use: one line that says what to do.
fn refused(arguments: &[&str], expected: &str) {
    let (code, stdout, stderr) = tcpw_output(&[&["diff"], arguments].concat());
    assert_eq!((code, stdout.as_str()), (2, ""), "{arguments:?}");
    assert!(stderr.starts_with("tcpw: error: ") && stderr.contains(expected), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
}

#[test]
fn the_fewest_prefixes_of_both_families_with_the_old_and_the_new_rule() {
    let (dir, old, new) = pairs(
        "diff-families",
        ["sshd: 192.0.2.0/24\n", "ALL: ALL\n"],
        ["sshd: 192.0.2.0/25 192.0.2.192/26 [2001:db8::]/33 [2001:db8:8000::]/33\n", "ALL: ALL\n"],
    );
    let (code, stdout) = diff(&dir, &[&old, &new]);
    let rule = "new/hosts.allow:1:1  sshd: 192.0.2.0/25 192.0.2.192/26 [2001:db8::]/33 [2001:db8:8000::]/33";
    assert_eq!(
        stdout,
        format!(
            "sshd: 2001:db8::/32 (2^96 addresses): refused -> allowed\n    old old/hosts.deny:1:1  ALL: ALL\n    \
             new {rule}\nsshd: 192.0.2.128/26 (64 addresses): allowed -> refused\n    \
             old old/hosts.allow:1:1  sshd: 192.0.2.0/24\n    new new/hosts.deny:1:1  ALL: ALL\n"
        )
    );
    assert_eq!(code, 1);
}

#[test]
fn texts_that_mean_the_same_are_the_same() {
    let (dir, old, new) = pairs(
        "diff-same",
        ["# old\nsshd: 192.0.2.0/255.255.255.0\nsshd: 192.0.2.7\n", "ALL: ALL\n"],
        ["sshd : 192.0.2.0/25 192.0.2.128/25\n", "ALL EXCEPT in.ftpd: ALL\nALL: ALL\n"],
    );
    let (code, stdout) = diff(&dir, &[&old, &new]);
    assert_eq!((code, stdout.as_str()), (0, "No client of any service is treated differently\n"));
    assert_eq!(json(&[&old, &new]), json!({ "old_errors": 0, "new_errors": 0, "changes": [] }));
}

#[test]
fn what_hangs_on_names_is_listed_apart() {
    let (dir, old, new) = pairs(
        "diff-names",
        ["in.ftpd: .example.com\nsshd: 192.0.2.1\n", "ALL: ALL\n"],
        ["in.ftpd: .example.org\nsshd: 192.0.2.2\n", "ALL: ALL\n"],
    );
    let (code, stdout) = diff(&dir, &[&old, &new]);
    let (sure, depends) = stdout.split_once("\n\nFor some names, users or results of commands:\n").unwrap();
    assert!(
        sure.contains("sshd: 192.0.2.1 (1 address): allowed -> refused") && !sure.contains("ftpd"),
        "{sure}"
    );
    assert_eq!(
        depends,
        "in.ftpd: everyone: depends on the client's name -> depends on the client's name\n    \
         old old/hosts.allow:1:1  in.ftpd: .example.com  (allowed)\n        \
         old/hosts.deny:1:1   ALL: ALL  (refused)\n    \
         new new/hosts.allow:1:1  in.ftpd: .example.org  (allowed)\n        \
         new/hosts.deny:1:1   ALL: ALL  (refused)\n"
    );
    assert_eq!(code, 1);
}

#[test]
fn other_options_are_listed_apart() {
    let (dir, old, new) =
        pairs("diff-options", ["", "sshd: 192.0.2.1\n"], ["", "sshd: 192.0.2.1: severity mail.info\n"]);
    let (code, stdout) = diff(&dir, &[&old, &new]);
    assert_eq!(code, 1);
    assert!(
        stdout.starts_with("Same verdict, other options:\nsshd: 192.0.2.1 (1 address): refused\n"),
        "{stdout}"
    );
}

#[test]
fn as_json() {
    let (_dir, old, new) = pairs(
        "diff-json",
        ["sshd: 192.0.2.1\nin.ftpd: joe@192.0.2.3\n", "ALL: ALL\n"],
        ["sshd: 192.0.2.1 [2001:db8::1]\n", "ALL: ALL\nfoo\n"],
    );
    let document = json(&[&old, &new]);
    assert_eq!((&document["old_errors"], &document["new_errors"]), (&json!(0), &json!(1)));
    let changes = document["changes"].as_array().unwrap();
    let kinds: Vec<_> = changes.iter().map(|it| it["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["verdict", "depends"], "{document:#}");
    assert_eq!(changes[0]["services"][0]["daemon"], "sshd");
    assert_eq!(changes[0]["networks"], json!(["2001:db8::1/128"]));
    let rule = |side: &str, table: &str| {
        let rule = &changes[0][side]["rule"];
        assert!(rule["file"].as_str().unwrap().ends_with(&format!("{side}/{table}")), "{rule}");
        (changes[0][side]["verdict"].as_str().unwrap(), rule["line"].as_u64().unwrap())
    };
    assert_eq!(rule("old", "hosts.deny"), ("deny", 1));
    assert_eq!(rule("new", "hosts.allow"), ("allow", 1));
    assert_eq!(changes[1]["networks"], json!(["192.0.2.3/32"]));
    assert_eq!(changes[1]["old"]["hangs_on"], json!(["user"]));
}

#[test]
fn one_table_is_compared_beside_the_other_one_of_the_pair() {
    let dir = Scratch::new("diff-one");
    let deny = dir.write("deny", "ALL: ALL\n");
    let old = dir.write("hosts.allow", "sshd: 192.0.2.1\n");
    let new = dir.write("hosts.allow.new", "sshd: 192.0.2.2\n");
    let (code, stdout) = diff(&dir, &[&old, &new, "--hosts-deny", &deny]);
    assert_eq!(
        stdout,
        "With deny on both sides:\nsshd: 192.0.2.1 (1 address): allowed -> refused\n    \
         old hosts.allow:1:1  sshd: 192.0.2.1\n    new deny:1:1  ALL: ALL\n\
         sshd: 192.0.2.2 (1 address): refused -> allowed\n    old deny:1:1  ALL: ALL\n    \
         new hosts.allow.new:1:1  sshd: 192.0.2.2\n"
    );
    assert_eq!(code, 1);
    // Names that say nothing.
    let plain = [dir.write("one", "sshd: 192.0.2.1\n"), dir.write("two", "sshd: 192.0.2.1\n")];
    let (code, stdout) = diff(&dir, &[&plain[0], &plain[1], "--as", "allow", "--hosts-deny", &deny]);
    let same = "With deny on both sides:\nNo client of any service is treated differently\n";
    assert_eq!((code, stdout.as_str()), (0, same));
    // hosts.deny, beside a hosts.allow.
    let other = dir.write("deny.new", "ALL EXCEPT in.ftpd: ALL\n");
    let (code, stdout) = diff(&dir, &[&deny, &other, "--hosts-allow", &old]);
    assert_eq!(code, 1);
    assert!(stdout.contains("in.ftpd: everyone: refused -> allowed\n"), "{stdout}");
    assert!(!stdout.contains("sshd"), "{stdout}");
}

#[test]
fn a_table_takes_the_place_of_the_one_in_a_directory() {
    let (dir, old, _) = pairs("diff-place", ["sshd: 192.0.2.1\n", "ALL: ALL\n"], ["", ""]);
    let new = dir.write("hosts.allow.new", "sshd: 192.0.2.1 192.0.2.3\n");
    for (arguments, arrow) in [([&old, &new], "refused -> allowed"), ([&new, &old], "allowed -> refused")] {
        let (code, stdout) = diff(&dir, &arguments.map(String::as_str));
        assert_eq!(code, 1);
        let head = format!("With old/hosts.deny on both sides:\nsshd: 192.0.2.3 (1 address): {arrow}\n");
        assert!(stdout.starts_with(&head), "{stdout}");
        assert_eq!(stdout.lines().count(), 4, "{stdout}");
    }
}

#[test]
fn wrong_use() {
    let (dir, old, new) = pairs("diff-wrong", ["", ""], ["", ""]);
    let allow = dir.path("old/hosts.allow");
    let deny = dir.path("new/hosts.deny");
    let plain = dir.write("plain", "");
    dir.write("empty/nothing", "");
    refused(&[&old], "<NEW>");
    refused(&[&old, "/nonexistent"], "/nonexistent: No such file or directory");
    refused(&[&allow, &deny], "name the same one of both sides");
    refused(&[&plain, &allow], "write --as allow or --as deny");
    refused(&[&old, &dir.path("empty")], "neither hosts.allow nor hosts.deny is in it");
    refused(&[&old, &new, "--hosts-deny", &deny], "leave them out");
    refused(&[&allow, &new, "--hosts-allow", &allow], "leave it out");
    refused(&[&allow, &allow, "--hosts-deny", "/nonexistent"], "/nonexistent: No such file or directory");
}

#[test]
fn many_rules_in_a_row_that_do_the_same_are_told_as_one() {
    let bans =
        |count: u32| (1..=count).map(|last| format!("ALL: 192.0.2.{}\n", 2 * last)).collect::<String>();
    let (dir, old, new) = pairs("diff-runs", ["", ""], ["", &bans(20)]);
    let (code, stdout) = diff(&dir, &[&old, &new]);
    assert_eq!(code, 1);
    assert_eq!(
        stdout,
        "every daemon: 192.0.2.2, 192.0.2.4, 192.0.2.6, 192.0.2.8, 192.0.2.10, 192.0.2.12, 192.0.2.14, \
         192.0.2.16, 192.0.2.18, 192.0.2.20 and 10 more networks (20 addresses): allowed -> refused\n    old no \
         rule matches: allowed\n    new new/hosts.deny:1-20  20 rules, from \"ALL: 192.0.2.2\" to \"ALL: 192.0.2.40\"\n"
    );
    let (_, stdout) = diff(&dir, &[&old, &new, "--all"]);
    assert_eq!(stdout.matches("allowed -> refused").count(), 20, "{stdout}");
    assert_eq!(json(&[&old, &new])["changes"].as_array().unwrap().len(), 20);
    // Of a few networks the rule is told.
    let more = dir.write("more/hosts.deny", &format!("{}ALL: 198.51.100.0/24\n", bans(20)));
    let (code, stdout) = diff(&dir, &[&dir.path("new"), &more, "--as", "deny"]);
    assert_eq!(code, 1);
    assert!(
        stdout.ends_with(
            "every daemon: 198.51.100.0/24 (256 addresses): allowed -> refused\n    old no rule matches: allowed\n    \
             new more/hosts.deny:21:1  ALL: 198.51.100.0/24\n"
        ),
        "{stdout}"
    );
}

#[test]
fn a_hundred_thousand_rules_do_not_take_long() {
    let mut deny = String::new();
    for number in 0..100_000u32 {
        // No two are neighbours: none is merged.
        let _ =
            writeln!(deny, "ALL: {}.{}.{}.0/24", 1 + (number >> 15), number >> 7 & 255, (number & 127) << 1);
    }
    let (dir, old, new) = pairs(
        "diff-many",
        ["sshd: 192.0.2.1\n", &deny],
        ["sshd: 192.0.2.1\n", &format!("{deny}ALL: 9.9.9.9\n")],
    );
    let started = Instant::now();
    let (code, stdout) = diff(&dir, &[&old, &new]);
    let took = started.elapsed();
    assert_eq!(code, 1);
    assert!(stdout.starts_with("every daemon: 9.9.9.9 (1 address): allowed -> refused\n"), "{stdout}");
    // A quadratic step of a nanosecond would add ten seconds.
    assert!(took < Duration::from_secs(60), "{took:?}");
}
