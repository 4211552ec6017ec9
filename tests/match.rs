//! `tcpw match`: verdicts, exit codes, what it tells, cases; and tcpdmatch, on the same arguments.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader, Write},
    path::PathBuf,
    process::{Command, Stdio},
    time::Duration,
};

use serde_json::Value;
use tcpw_tests::{Place, Requirement, Sandbox, can_run, tcpw_binary};

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
        let path = std::env::temp_dir().join(format!("tcpw-match-{}-{name}", std::process::id()));
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
        "no match: hosts.allow:3:1: sshd: 192.0.2.1 : severity mail.info : allow",
        "          client list: nothing in it matches address 10.1.3.4",
        "no match: hosts.allow:4:1: in.ftpd: 192.0.2.2 : twist /bin/echo hi %h",
        "          daemon list: nothing in it matches daemon sshd",
        "no match: hosts.allow:5:1: sshd@10.9.9.9: joe@ALL",
        "          daemon list: nothing in it matches daemon sshd, server address unknown, server name unknown",
        "no match: hosts.allow:6:1: sshd: 10. EXCEPT 10.1. : spawn /usr/bin/touch %c : bogus",
        "          client list: EXCEPT \"10.1.\" at 6:18 matches address 10.1.3.4",
        "no match: hosts.allow:7:1: 22: 203.0.113.1",
        "          daemon list: nothing in it matches daemon sshd",
        "no match: hosts.allow:8:1: ALL: @good",
        "          client list: nothing in it matches address 10.1.3.4, name unknown",
    ];
    assert_eq!(trace, want);
    assert!(
        stdout
            .contains("look-up:  server port for hosts.allow:7:1: 22: taken as unknown (--port gives it)\n")
    );
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

const CASES: &str = r#"{"daemon":"sshd","client_addr":"192.0.2.1","expect":"allow"}
// the office

{"id":"office","daemon":"sshd","client_addr":"198.51.100.7","client_name":"a.example.com","expect":"allow","matched":"allow:2"}
{"id":"own","allow":null,"deny":"ALL: /tmp/lwc/f\n","files":{"/tmp/lwc/f":"10.1.2.3"},"daemon":"x","client_addr":"10.1.2.3"}
"#;

#[test]
fn cases_of_a_policy_are_compared() {
    let dir = Dir::new("cases");
    dir.write("policy.jsonl", CASES);
    let (code, stdout, stderr) = dir.run(&["--cases", "policy.jsonl"]);
    let want = r#"{"id":1,"verdict":"allow","matched":"allow:3","via":"option","warnings":[],"severity":"mail.info"}
{"id":"office","verdict":"allow","matched":"allow:2","via":"rule","warnings":[]}
{"id":"own","verdict":"deny","matched":"deny:1","via":"rule","warnings":[]}
"#;
    assert_eq!((code, stdout.as_str()), (0, want));
    assert_eq!(stderr, "3 cases, 2 with an expected verdict, 0 differ\n");

    dir.write("hosts.allow", "sshd: 192.0.2.2\n");
    let (code, _, stderr) = dir.run(&["--cases", "policy.jsonl"]);
    let want = "\
policy.jsonl:1: line 1: verdict: expected allow, got deny; hosts.deny:1:1: ALL: ALL
policy.jsonl:4: office: verdict: expected allow, got deny; hosts.deny:1:1: ALL: ALL
policy.jsonl:4: office: matched: expected allow:2, got deny:1; hosts.deny:1:1: ALL: ALL
3 cases, 2 with an expected verdict, 2 differ
";
    assert_eq!((code, stderr.as_str()), (1, want));
}

#[test]
fn every_field_of_a_whole_answer_is_compared() {
    let dir = Dir::new("whole");
    let case = r#""daemon":"d","client_addr":"1.2.3.4","allow":"ALL: ALL: severity kern.err: banners /b: nice 3: umask 077: rfc931 5: spawn x %a\n","deny":null,"files":{"/b/d":"hi %d\n"},"expect":"allow","matched":"allow:1","via":"rule","warnings":[]"#;
    let whole =
        r#""severity":"err","banner":"hi d\r\n","nice":3,"umask":"077","rfc931":5,"spawned":["x 1.2.3.4"]"#;
    dir.write("good", &format!("{{{case},{whole}}}\n"));
    let (code, stdout, stderr) = dir.run(&["--cases", "good"]);
    assert_eq!((code, stderr.as_str()), (0, "1 case, 1 with an expected verdict, 0 differ\n"), "{stdout}");
    dir.write("bare", &format!("{{{case}}}\n"));
    let (code, _, stderr) = dir.run(&["--cases", "bare"]);
    let fields: Vec<&str> = stderr.lines().filter_map(|line| line.split(": ").nth(2)).collect();
    assert_eq!((code, fields), (1, vec!["severity", "spawned", "banner"]), "{stderr}");
}

#[test]
fn bad_lines_are_told_and_the_others_judged() {
    let dir = Dir::new("bad");
    dir.write("bad", "{\"daemon\":\"sshd\",\"expcet\":\"deny\"}\n{\"daemon\":\"sshd\",\"client_addr\":\"192.0.2.1\"}\n  {\"daemon\":1}\n{\"daemon\":\"x\",\"allow\":true}\n");
    let (code, stdout, stderr) = dir.run(&["--cases", "bad"]);
    assert_eq!((code, stdout.lines().count()), (2, 1), "{stdout}{stderr}");
    let lines: Vec<&str> = stderr.lines().collect();
    assert!(
        lines[0]
            .starts_with("bad:1:25: unknown field \"expcet\": perhaps \"expect\": expected a JSON object"),
        "{stderr}"
    );
    assert!(lines[1].starts_with("bad:3:13: invalid type: integer `1`"), "{stderr}");
    assert!(lines[2].starts_with("bad:4:23: invalid type: boolean `true`, expected a string"), "{stderr}");
    assert_eq!(lines[3], "1 case, 0 with an expected verdict, 0 differ, 3 bad lines");
}

#[test]
fn cases_come_from_standard_input_one_by_one() {
    let dir = Dir::new("stdin");
    let mut child = Command::new(tcpw_binary().unwrap())
        .args(["match", "-d", "--cases", "-"])
        .current_dir(&dir.0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut cases = child.stdin.take().unwrap();
    let mut answers = BufReader::new(child.stdout.take().unwrap()).lines();
    // The answer comes before the next question.
    for (client, verdict) in [("192.0.2.1", "allow"), ("192.0.2.9", "deny")] {
        writeln!(cases, "{{\"daemon\":\"sshd\",\"client_addr\":\"{client}\"}}").unwrap();
        let answer: Value = serde_json::from_str(&answers.next().unwrap().unwrap()).unwrap();
        assert_eq!(answer["verdict"], verdict);
    }
    drop(cases);
    assert!(child.wait().unwrap().success());
}

#[test]
fn nothing_is_read_from_disk_for_a_case_with_its_own_tables() {
    let dir = Dir::new("disk");
    let file = dir.write("patterns", "10.1.2.3\n");
    let case = |allow: &str| {
        format!("{{{allow}\"deny\":\"ALL: {file}\\n\",\"daemon\":\"x\",\"client_addr\":\"10.1.2.3\"}}\n")
    };
    dir.write("cases", &(case("\"allow\":null,") + &case("")));
    let (_, stdout, _) = dir.run(&["--cases", "cases"]);
    let verdicts: Vec<Value> =
        stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["verdict"].clone()).collect();
    assert_eq!(verdicts, ["allow", "deny"], "{stdout}");
}

#[test]
fn memory_is_bounded_however_many_tables_there_are() {
    let dir = Dir::new("memory");
    let mut text = String::new();
    for number in 0..3000 {
        let table = format!("sshd: 10.0.{number}.\\n").repeat(400);
        text += &format!(
            "{{\"allow\":\"{table}\",\"deny\":null,\"daemon\":\"sshd\",\"client_addr\":\"10.0.1.1\"}}\n"
        );
    }
    dir.write("cases", &text);
    let script = "ulimit -v 600000; exec \"$@\" >answers";
    let (code, _, stderr) = finish(
        Command::new("sh")
            .args(["-c", script, "sh"])
            .arg(tcpw_binary().unwrap())
            .args(["match", "--cases", "cases"])
            .current_dir(&dir.0),
        "",
    );
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert_eq!(fs::read_to_string(dir.0.join("answers")).unwrap().lines().count(), 3000);
}

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
fn world(name: &str) -> Option<Sandbox> {
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

/// Runs a program in that world: exit code and lines.
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
    let Some(sandbox) = world("match-names") else { return };
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
    let Some(sandbox) = world("match-addresses") else { return };
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
    let Some(sandbox) = world("match-netgroups") else { return };
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
    let Some(sandbox) = world("match-tcpdmatch") else { return };
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
