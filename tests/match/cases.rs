//! `tcpw match --cases`.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    process::{Command, Stdio},
};

use serde_json::Value;
use tcpw_tests::tcpw_binary;

use super::{Dir, finish};

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
