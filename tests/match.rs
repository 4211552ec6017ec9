//! `tcpw match`: verdicts, exit codes, what it tells, cases; and tcpdmatch, on the same arguments.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "match/cases.rs"]
mod cases;
#[path = "match/names.rs"]
mod names;

use std::{
    fs,
    io::Write,
    path::PathBuf,
    process::{Command, Stdio},
};

use serde_json::Value;
use tcpw_tests::tcpw_binary;

const ALLOW: &str = "\
# who may
sshd: .example.com
sshd: 192.0.2.1 : severity mail.info : allow
in.ftpd: 192.0.2.2 : twist /bin/echo hi %h
sshd@10.9.9.9: joe@ALL
sshd: 10. EXCEPT 10.1. : spawn /usr/bin/touch %c : bogus
22: 203.0.113.1
ALL: @good
";
const DENY: &str = "ALL: ALL\n";

/// A directory with tables, removed at the end.
struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("tcpw-match-{name}-{}", std::process::id()));
        fs::create_dir(&path).unwrap();
        let dir = Self(path);
        dir.write("hosts.allow", ALLOW);
        dir.write("hosts.deny", DENY);
        dir
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// `tcpw match -d ARGUMENTS`, in this directory: exit code, standard output, standard error.
    fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        finish(
            Command::new(tcpw_binary().unwrap()).arg("match").arg("-d").args(arguments).current_dir(&self.0),
            "",
        )
    }

    fn json(&self, arguments: &[&str]) -> (i32, Value) {
        let (code, stdout, stderr) = self.run(&[&["--json"], arguments].concat());
        assert_eq!(stderr, "");
        (code, serde_json::from_str(&stdout).unwrap())
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn finish(command: &mut Command, input: &str) -> (i32, String, String) {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .env_remove("TCPW_LOG")
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[test]
fn verdict_rule_and_options_are_told() {
    let dir = Dir::new("told");
    let (code, stdout, stderr) = dir.run(&["sshd", "192.0.2.1"]);
    assert_eq!((code, stderr.as_str()), (0, ""));
    let want = "\
allowed: sshd from 192.0.2.1: hosts.allow:3:1: sshd: 192.0.2.1 : severity mail.info : allow
client:   address  192.0.2.1
server:   process  sshd
matched:  hosts.allow line 3
option:   severity mail.info
option:   allow
access:   granted
because:  daemon token \"sshd\" at 3:1, client token \"192.0.2.1\" at 3:7
effect:   severity mail.info: the log line gets priority mail.info
effect:   allow: allows, whatever the table
severity: mail.info
look-up:  client name for hosts.allow:2:7: .example.com: not made, taken as unknown (--resolve makes it)
";
    assert_eq!(stdout, want);
}

#[test]
fn exit_code_is_the_verdict() {
    let dir = Dir::new("codes");
    for (arguments, code, first) in [
        (&["sshd", "192.0.2.1"][..], 0, "allowed: sshd from 192.0.2.1: hosts.allow:3:1: "),
        (&["sshd", "::ffff:192.0.2.1"], 0, "allowed: sshd from ::ffff:192.0.2.1: hosts.allow:3:1: "),
        (&["sshd", "192.0.2.9"], 1, "refused: sshd from 192.0.2.9: hosts.deny:1:1: ALL: ALL\n"),
        (&["sshd", "[2001:db8::1]"], 1, "refused: sshd from 2001:db8::1: hosts.deny:1:1: ALL: ALL\n"),
        (
            &["in.ftpd", "192.0.2.2"],
            1,
            "refused (another program gets the connection): in.ftpd from 192.0.2.2: ",
        ),
        (&["sshd", "10.2.3.4"], 1, "refused: sshd from 10.2.3.4: wrong option at hosts.allow:6:1: "),
        (&["22", "203.0.113.1"], 0, "allowed: 22 from 203.0.113.1: hosts.allow:7:1: 22: 203.0.113.1\n"),
        (&["--port", "22", "x", "203.0.113.1"], 0, "allowed: x from 203.0.113.1: hosts.allow:7:1: "),
        (&["x", "203.0.113.1"], 1, "refused: x from 203.0.113.1: hosts.deny:1:1: "),
        (&["sshd", "unknown"], 1, "refused: sshd from unknown: "),
        (&["sshd", "paranoid"], 1, "refused: sshd from paranoid: "),
        (&["sshd@10.9.9.9", "joe@192.0.2.3"], 0, "allowed: sshd from 192.0.2.3: hosts.allow:5:1: "),
        (&["sshd@10.9.9.9", "ann@192.0.2.3"], 1, "refused: "),
    ] {
        let (got, stdout, stderr) = dir.run(arguments);
        assert_eq!((got, stderr.as_str()), (code, ""), "{arguments:?}: {stdout}");
        assert!(stdout.starts_with(first), "{arguments:?}: {stdout}");
    }
    dir.write("hosts.deny", "ALL: 192.0.2.99");
    let (code, stdout, _) = dir.run(&["sshd", "192.0.2.9"]);
    assert!(code == 1 && stdout.contains("hosts.deny cannot be read to its end"), "{stdout}");
    assert!(stdout.contains("warning:  hosts.deny, line 0: missing newline or line too long\n"), "{stdout}");
    fs::remove_file(dir.0.join("hosts.deny")).unwrap();
    let (code, stdout, _) = dir.run(&["sshd", "192.0.2.9"]);
    assert!(code == 0 && stdout.starts_with("allowed: sshd from 192.0.2.9: no rule matches\n"), "{stdout}");
}

#[test]
fn wrong_use_is_one_line_and_exit_code_2() {
    let dir = Dir::new("wrong");
    for (arguments, want) in [
        (&["sshd"][..], "required arguments were not provided: <[USER@]CLIENT>"),
        (&["", "192.0.2.1"], "no daemon: write its name first"),
        (&["sshd", "192.0.2.1/24"], "192.0.2.1/24: no such host: write an address"),
        (&["sshd", "joe@"], ": no such host: write an address"),
        (
            &["-i", "nosuch", "sshd", "192.0.2.1"],
            "-i nosuch: No such file or directory: name one that exists",
        ),
        (&["--hosts-allow", "x", "sshd", "192.0.2.1"], "cannot be used with"),
        (&["--cases", "nosuch"], "--cases nosuch: No such file or directory: name a file of cases"),
        (&["--cases", "x", "sshd"], "cannot be used with"),
        (&["--port", "65536", "sshd", "192.0.2.1"], "invalid value '65536' for '--port <N>'"),
    ] {
        let (code, stdout, stderr) = dir.run(arguments);
        assert_eq!((code, stdout.as_str(), stderr.lines().count()), (2, "", 1), "{arguments:?}: {stderr}");
        assert!(stderr.starts_with("tcpw: error: ") && stderr.contains(want), "{arguments:?}: {stderr}");
    }
}

#[test]
fn nothing_of_a_rule_is_run() {
    let dir = Dir::new("run");
    let made = dir.0.join("made");
    for option in ["spawn", "aclexec", "twist"] {
        dir.write("hosts.allow", &format!("ALL: ALL: {option} touch {}; echo %a %n\n", made.display()));
        let (_, stdout, _) = dir.run(&["sshd", "192.0.2.1"]);
        assert!(stdout.contains(&format!("touch {}; echo 192.0.2.1 unknown", made.display())), "{stdout}");
        assert!(!made.exists(), "{option} was run");
    }
}

#[test]
fn control_characters_of_tables_do_not_reach_the_terminal() {
    let dir = Dir::new("control");
    dir.write("hosts.allow", "sshd: ALL \x1b[2J\n");
    let (_, stdout, _) = dir.run(&["sshd", "192.0.2.1"]);
    assert!(!stdout.contains('\x1b') && stdout.contains("sshd: ALL ?[2J"), "{stdout}");
}

#[test]
fn option_over_several_lines_is_shown_whole() {
    let dir = Dir::new("continued");
    dir.write("hosts.allow", "sshd: ALL: spawn echo a\\:\\\nb : allow\n");
    let (_, stdout, _) = dir.run(&["sshd", "192.0.2.1"]);
    assert!(stdout.contains("option:   spawn echo a:b\noption:   allow\n"), "{stdout}");
    assert!(stdout.contains("matched:  hosts.allow line 2\n"), "{stdout}");
}

#[test]
fn trace_tells_why_each_rule_did_not_match() {
    let dir = Dir::new("trace");
    let (_, stdout, _) = dir.run(&["--trace", "sshd", "10.1.3.4"]);
    let trace: Vec<&str> = stdout.lines().skip_while(|line| !line.starts_with("no match:")).collect();
    let want = [
        "no match: hosts.allow:2:1: sshd: .example.com",
        "          client list: nothing in it matches address 10.1.3.4, name unknown",
        "          \".example.com\" needs the client's name, which was not looked up (--resolve does)",
        "no match: hosts.allow:3:1: sshd: 192.0.2.1 : severity mail.info : allow",
        "          client list: nothing in it matches address 10.1.3.4",
        "no match: hosts.allow:4:1: in.ftpd: 192.0.2.2 : twist /bin/echo hi %h",
        "          daemon list: nothing in it matches daemon sshd",
        "no match: hosts.allow:5:1: sshd@10.9.9.9: joe@ALL",
        "          daemon list: nothing in it matches daemon sshd, server address unknown, server name unknown",
        "no match: hosts.allow:6:1: sshd: 10. EXCEPT 10.1. : spawn /usr/bin/touch %c : bogus",
        "          client list: EXCEPT \"10.1.\" at 6:18 matches address 10.1.3.4",
        "          bad option name: \"bogus\": every client of this rule is refused instead of allowed [E064]",
        "no match: hosts.allow:7:1: 22: 203.0.113.1",
        "          daemon list: nothing in it matches daemon sshd",
        "no match: hosts.allow:8:1: ALL: @good",
        "          client list: nothing in it matches address 10.1.3.4, name unknown",
        "          \"@good\" needs the client's name, which was not looked up (--resolve does)",
    ];
    assert_eq!(trace, want);
    assert!(
        stdout
            .contains("look-up:  server port for hosts.allow:7:1: 22: taken as unknown (--port gives it)\n")
    );
}

#[test]
fn trace_tells_what_keeps_a_rule_from_matching() {
    let dir = Dir::new("because");
    dir.write(
        "hosts.allow",
        "sshd: 10.1.3.4/255.255.255.255\nsshd: 10.1.3.4/16\nsshd: 192.0.2.1\u{a0}10.1.3.4\nsshd: joe@10.1.3.4\n",
    );
    let (_, stdout, _) = dir.run(&["--trace", "sshd", "10.1.3.4"]);
    for want in [
        "bad mask in \"10.1.3.4/255.255.255.255\": it never matches: the clients meant by it are not allowed by this rule; perhaps: sshd: 10.1.3.4 [W050]",
        "host bits set in \"10.1.3.4/16\": it never matches: the clients meant by it are not allowed by this rule; perhaps: sshd: 10.1.0.0/16 [W041]",
        "U+00A0 (no-break space) in column 16 looks like a blank",
        "perhaps: sshd: 192.0.2.1 10.1.3.4 [W163]",
        "\"joe@10.1.3.4\" needs the client's user, which was not asked for (USER@ gives one)",
    ] {
        assert!(stdout.contains(want), "{want}\n{stdout}");
    }
    let (_, report) = dir.json(&["--trace", "sshd", "10.1.3.4"]);
    assert!(report["answers"][0]["trace"][1]["because"][0].as_str().unwrap().starts_with("host bits set"));
}

#[test]
fn a_table_that_is_named_alone_is_the_whole_policy() {
    let dir = Dir::new("alone");
    let table = dir.write("bsd.allow", "sshd: 192.0.2.: allow\nALL: ALL: deny\n");
    let run = |client: &str| {
        finish(
            Command::new(tcpw_binary().unwrap()).args(["match", "--hosts-allow", &table, "sshd", client]),
            "",
        )
    };
    assert_eq!((run("192.0.2.1").0, run("198.51.100.1").0), (0, 1));
    let deny = dir.write("some.deny", "sshd: 198.51.100.\n");
    let (code, stdout, _) = finish(
        Command::new(tcpw_binary().unwrap()).args(["match", "--hosts-deny", &deny, "sshd", "192.0.2.1"]),
        "",
    );
    assert!(code == 0 && stdout.starts_with("allowed: sshd from 192.0.2.1: no rule matches"), "{stdout}");
}

#[test]
fn json_has_it_all() {
    let dir = Dir::new("json");
    let (code, report) = dir.json(&["--trace", "sshd", "192.0.2.1"]);
    assert_eq!((code, &report["verdict"], &report["daemon"]), (0, &"allow".into(), &"sshd".into()));
    let answer = &report["answers"][0];
    let text =
        |pointer: &str| answer.pointer(pointer).unwrap_or_else(|| panic!("{pointer}: {answer:#}")).clone();
    for (pointer, want) in [
        ("/verdict", Value::from("allow")),
        ("/access", "granted".into()),
        ("/via", "option".into()),
        ("/matched", "allow:3".into()),
        ("/severity", "mail.info".into()),
        ("/client/address", "192.0.2.1".into()),
        ("/client/name", "unknown".into()),
        ("/server/address", Value::Null),
        ("/rule/file", "hosts.allow".into()),
        ("/rule/line", 3.into()),
        ("/rule/column", 1.into()),
        ("/rule/text", "sshd: 192.0.2.1 : severity mail.info : allow".into()),
        ("/rule/client/text", "192.0.2.1".into()),
        ("/rule/client/column", 7.into()),
        ("/options/0/text", "severity mail.info".into()),
        ("/options/1/column", 40.into()),
        ("/lookups/0/what", "client name".into()),
        ("/lookups/0/made", false.into()),
        ("/lookups/0/asked_by/text", ".example.com".into()),
        ("/trace/0/line", 2.into()),
        ("/trace/0/list", "client".into()),
        ("/trace/0/compared/name", "unknown".into()),
    ] {
        assert_eq!(text(pointer), want, "{pointer}");
    }
    let (code, report) = dir.json(&["sshd", "10.2.3.4"]);
    let answer = &report["answers"][0];
    assert_eq!(
        (code, &answer["via"], &answer["options"][0]["command"]),
        (1, &"error".into(), &"/usr/bin/touch 10.2.3.4".into())
    );
    assert_eq!(answer["warnings"][0], "error: hosts.allow, line 6: bad option name: \"bogus\"");
    assert_eq!(answer.get("trace"), None);
}

#[test]
fn name_at_the_port_of_a_name_server_is_unknown_to_the_daemon_and_it_says_so() {
    let dir = Dir::new("enforced");
    dir.write("hosts.allow", "named: localhost\nnamed: joe@127.0.0.2\n");
    let (_, stdout, _) = dir.run(&["--port", "53", "named", "localhost"]);
    let note = "note:     tcpw run looks up no names at the ports of name servers: it refuses this client (deny:1)\n";
    assert!(stdout.contains("access:   granted\n") && stdout.contains(note), "{stdout}");
    for arguments in [&["named", "localhost"][..], &["--port", "53", "named", "joe@127.0.0.2"]] {
        let (_, stdout, _) = dir.run(arguments);
        assert!(stdout.contains("access:   granted\n") && !stdout.contains("note:"), "{stdout}");
    }
}
