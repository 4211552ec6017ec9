//! `tcpw check` as a person and a program use it.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs,
    os::unix::{
        fs::{PermissionsExt, symlink},
        process::CommandExt,
    },
    path::PathBuf,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;
use tcpw_tests::tcpw_binary;

/// A directory of its own, open to everyone, removed at the end.
struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("tcpw-check-{name}-{}", std::process::id()));
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        Self(path)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) -> String {
        fs::write(self.0.join(name), text).unwrap();
        fs::set_permissions(self.0.join(name), fs::Permissions::from_mode(0o644)).unwrap();
        self.path(name)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn tcpw(arguments: &[&str]) -> Command {
    let mut command = Command::new(tcpw_binary().unwrap());
    command.arg("check").args(arguments).stdin(Stdio::null());
    for variable in ["NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "TCPW_LOG"] {
        command.env_remove(variable);
    }
    command
}

/// Exit code, standard output, standard error.
fn run(command: &mut Command) -> (i32, String, String) {
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// Exit code and standard output; nothing on standard error.
fn check(arguments: &[&str]) -> (i32, String) {
    let (code, stdout, stderr) = run(&mut tcpw(arguments));
    assert_eq!(stderr, "", "{arguments:?}");
    (code, stdout)
}

/// Asserts wrong use: one line that says what to do.
fn refused(arguments: &[&str], expected: &str) {
    let (code, stdout, stderr) = run(&mut tcpw(arguments));
    assert_eq!((code, stdout.as_str()), (2, ""), "{stderr}");
    assert_eq!(stderr, format!("tcpw: error: {expected}\n"));
}

#[test]
fn exit_codes_and_summaries() {
    let dir = Dir::new("codes");
    let deny = dir.write("hosts.deny", "ALL: ALL\n");
    for (allow, code, summary) in [
        ("sshd: 192.0.2.\nvsftpd: 192.0.2.\n", 0, "no mistakes found in 3 rules\n"),
        ("sshd: 192.0.2.\nsshd: .example.com\n", 0, "no mistakes found in 3 rules, 1 hint\n"),
        ("sshd: 192.0.2.7/24\nsshd: 192.0.2.\n", 1, "1 warning\n"),
        (
            "sshd: 192.0.2.7/24 192.0.2.9/24\nsshd: 192.0.2.: spawn a\nsshd\n",
            2,
            "1 error, 2 warnings, 1 hint\n",
        ),
    ] {
        let allow = dir.write("hosts.allow", allow);
        let (found, stdout) = check(&[&allow, &deny]);
        assert_eq!(found, code, "{stdout}");
        assert_eq!(stdout.lines().last().unwrap_or_default(), summary.trim_end(), "{stdout}");
    }
}

#[test]
fn a_diagnostic_shows_all_its_parts() {
    let dir = Dir::new("parts");
    let deny = dir.write("hosts.deny", "\nsshd: 198.51.100.7/24\n");
    let (code, stdout) = check(&[&deny]);
    let want = format!(
        "{deny}:2:7: warning: host bits set in \"198.51.100.7/24\" [W041]\n\
         sshd: 198.51.100.7/24\n      ^~~~~~~~~~~~~~~\n  \
         perhaps: sshd: 198.51.100.0/24\n  \
         consequence: it never matches: the clients meant by it are not refused by this rule\n\n1 warning\n"
    );
    assert_eq!((code, stdout), (1, want));
}

#[test]
fn rules_nothing_reaches_name_those_before_them() {
    let dir = Dir::new("shadow");
    let allow = dir.write("hosts.allow", "sshd: 192.0.2.0/25\nsshd: 192.0.2.128/25\nsshd: 192.0.2.\n");
    let deny = dir.write("hosts.deny", "ALL: ALL\n");
    let (code, stdout) = check(&["--json", &allow, &deny]);
    let document: Value = serde_json::from_str(&stdout).unwrap();
    let found = &document["diagnostics"][0];
    assert_eq!(
        (code, found["code"].as_str(), found["line"].as_u64()),
        (1, Some("W141"), Some(3)),
        "{stdout}"
    );
    let by: Vec<_> =
        found["related"].as_array().unwrap().iter().map(|it| it["line"].as_u64().unwrap()).collect();
    assert_eq!(by, [1, 2], "{stdout}");
    let (_, text) = check(&[&allow, &deny]);
    assert!(text.contains(&format!("\n  see: {allow}:1:1: sshd: 192.0.2.0/25; {allow}:2:1: ")), "{text}");
}

#[test]
fn quiet() {
    let dir = Dir::new("quiet");
    let deny = dir.write("hosts.deny", "sshd: .example.com 192.0.2.7/24\n");
    let (code, stdout) = check(&["-q", &deny]);
    assert_eq!(code, 1);
    assert!(stdout.contains("[W041]") && !stdout.contains("[H034]") && !stdout.contains("hint"), "{stdout}");
    assert_eq!(check(&["-qq", &deny]), (1, String::new()));
}

#[test]
fn forms_of_files() {
    let dir = Dir::new("forms");
    let allow = dir.write("hosts.allow", "sshd: 192.0.2.\n");
    let deny = dir.write("hosts.deny", "ALL: ALL\n");
    let rules = dir.write("rules.txt", "ALL: ALL\n");
    let clean = |rules: usize| {
        (0, format!("no mistakes found in {rules} rule{}\n", if rules == 1 { "" } else { "s" }))
    };
    let directory = dir.0.to_str().unwrap();
    assert_eq!(check(&[directory]), clean(2));
    assert_eq!(check(&[&allow, &deny]), clean(2));
    assert_eq!(check(&[&deny, &allow]), clean(2));
    assert_eq!(check(&["--hosts-allow", &allow, "--hosts-deny", &deny]), clean(2));
    // Alone, one table says nothing about who is locked out.
    assert_eq!(check(&[&deny]), clean(1));
    assert_eq!(check(&["--as", "deny", &rules]), clean(1));
    assert_eq!(check(&[&rules, &allow]), clean(2));
    let add = "its name says neither allow nor deny: add \"--as allow\" or \"--as deny\"";
    refused(&[&rules], &format!("{rules}: {add}"));
    refused(&[&deny, &deny], &format!("{deny}: both files are the same table: name one of each"));
    let gone = dir.path("hosts.deny.gone");
    refused(&[&gone], &format!("{gone}: No such file or directory: name a file that exists"));
    let empty = dir.path("empty");
    fs::create_dir(&empty).unwrap();
    let nothing =
        "neither hosts.allow nor hosts.deny is in it or in its etc: name the tables, or their directory";
    refused(&[&empty], &format!("{empty}: {nothing}"));
    fs::create_dir(dir.path("empty/etc")).unwrap();
    dir.write("empty/etc/hosts.deny", "sshd: ALL\n");
    assert_eq!(check(&[&empty]).0, 0);
}

#[test]
fn settings_name_the_tables() {
    let dir = Dir::new("settings");
    let allow = dir.write("a", "sshd: 192.0.2.7/24\n");
    let deny = dir.write("d", "ALL: ALL\n");
    let settings = dir.write("tcpw.toml", format!("hosts-allow = {allow:?}\nhosts-deny = {deny:?}\n"));
    let (_, stdout) = check(&["--config", &settings]);
    assert!(stdout.starts_with(&format!("{allow}:1:7: ")), "{stdout}");
    let other = dir.write("b", "sshd: 192.0.2.8/24\n");
    let (_, stdout) = check(&["--config", &settings, "--hosts-allow", &other]);
    assert!(stdout.contains(&format!("{other}:1:7: ")), "{stdout}");
}

#[test]
fn pattern_files_are_read_too() {
    let dir = Dir::new("patterns");
    let list = dir.write("list", "198.51.100.7\n198.51.100.7/24\n");
    let deny = dir.write("hosts.deny", format!("sshd: {list}\n"));
    let (code, stdout) = check(&[&deny]);
    assert_eq!(code, 1);
    assert!(stdout.starts_with(&format!("{list}:2:1: warning: ")), "{stdout}");
}

#[test]
fn files_that_are_no_files() {
    let dir = Dir::new("kinds");
    let allow = dir.write("hosts.allow", "sshd: 192.0.2.\n");
    let deny = dir.path("hosts.deny");
    symlink(dir.path("nowhere"), &deny).unwrap();
    let (code, stdout) = check(&[&allow, &deny]);
    assert!(code == 1 && stdout.contains("[W007]") && !stdout.contains("[H001]"), "{stdout}");
    fs::remove_file(&deny).unwrap();
    fs::create_dir(&deny).unwrap();
    let (code, stdout) = check(&[&allow, &deny]);
    assert!(code == 1 && stdout.contains("[W006]"), "{stdout}");
    fs::remove_dir(&deny).unwrap();
    nix::unistd::mkfifo(deny.as_str(), nix::sys::stat::Mode::S_IRUSR).unwrap();
    let (code, stdout) = check(&[&allow, &deny]);
    assert!(code == 2 && stdout.contains("[W009]"), "{stdout}");
}

#[test]
fn files_that_everybody_may_write() {
    let dir = Dir::new("modes");
    let deny = dir.write("hosts.deny", "sshd: 192.0.2.\n");
    fs::set_permissions(&deny, fs::Permissions::from_mode(0o666)).unwrap();
    let (code, stdout) = check(&[&deny]);
    assert!(code == 1 && stdout.contains("every user may write this file [W008]"), "{stdout}");
    // A group may write tables that are not in use.
    fs::set_permissions(&deny, fs::Permissions::from_mode(0o664)).unwrap();
    assert_eq!(check(&[&deny]).0, 0);
    fs::set_permissions(&dir.0, fs::Permissions::from_mode(0o777)).unwrap();
    let (code, stdout) = check(&[&deny]);
    assert!(code == 1 && stdout.contains("[W008]"), "{stdout}");
}

#[test]
fn somebody_who_may_not_read_is_told() {
    assert!(nix::unistd::geteuid().is_root(), "run as root, to become somebody else");
    let dir = Dir::new("nobody");
    let deny = dir.write("hosts.deny", "sshd: 192.0.2.\n");
    fs::set_permissions(&deny, fs::Permissions::from_mode(0o600)).unwrap();
    // The binary may stand where only root may look.
    let binary = dir.path("tcpw");
    fs::copy(tcpw_binary().unwrap(), &binary).unwrap();
    let mut command = Command::new(binary);
    let (code, stdout, stderr) = run(command.args(["check", &deny]).uid(65534).gid(65534));
    let want =
        format!("tcpw: error: {deny}: Permission denied: run \"tcpw check\" as a user who may read it\n");
    assert_eq!((code, stdout.as_str(), stderr), (2, "", want));
}

#[test]
fn colour_is_for_terminals() {
    let dir = Dir::new("colour");
    let deny = dir.write("hosts.deny", "sshd: 192.0.2.7/24\n");
    let is_coloured = |command: &mut Command| run(command).1.contains('\x1b');
    assert!(!is_coloured(&mut tcpw(&[&deny])), "in a pipe");
    assert!(is_coloured(&mut tcpw(&["--color", "always", &deny])), "always");
    assert!(!is_coloured(&mut tcpw(&["--color", "never", &deny])), "never");
    let on_terminal = |environment: &[(&str, &str)], arguments: &[&str]| {
        let pty = nix::pty::openpty(None, None).unwrap();
        let mut command = tcpw(arguments);
        command.env("TERM", "xterm").envs(environment.iter().copied()).stdout(pty.slave);
        let mut child = command.spawn().unwrap();
        // The command holds the terminal open until it is dropped.
        drop(command);
        let mut text = Vec::new();
        let mut master = fs::File::from(pty.master);
        // The end of a terminal is an error (EIO).
        let _ = std::io::Read::read_to_end(&mut master, &mut text);
        child.wait().unwrap();
        String::from_utf8(text).unwrap()
    };
    assert!(on_terminal(&[], &[&deny]).contains("\x1b[1m\x1b[33mwarning"), "on a terminal");
    assert!(!on_terminal(&[("NO_COLOR", "1")], &[&deny]).contains('\x1b'), "NO_COLOR");
    assert!(!on_terminal(&[], &["--color", "never", &deny]).contains('\x1b'), "never on a terminal");
}

#[test]
fn explains_codes() {
    let (code, stdout) = check(&["--explain", "w041"]);
    assert_eq!(code, 0);
    assert!(stdout.starts_with("W041 (warning): host bits in an IPv4 network\n"), "{stdout}");
    assert!(stdout.contains("Wrong:\n  /etc/hosts.deny:\n    sshd: 198.51.100.7/24\n"), "{stdout}");
    assert!(stdout.contains("Right:\n  /etc/hosts.deny:\n    sshd: 198.51.100.0/24\n"), "{stdout}");
    assert!(stdout.lines().all(|line| line.len() <= 110), "{stdout}");
    let (code, all) = check(&["--explain"]);
    assert_eq!((code, all.lines().count()), (0, tcpw_userspace::parse::code::Code::ALL.len()));
    assert!(all.contains("\nE003  error    the last line has no newline\n"), "{all}");
    let list = "\"tcpw check --explain\" lists all of them";
    let near = "near ones are W018, W017, W016, W015";
    refused(&["--explain", "W019"], &format!("there is no code \"W019\", {near}: {list}"));
    refused(&["--explain", "bananas"], &format!("there is no code \"bananas\": {list}"));
    // Every entry can be shown.
    for code in tcpw_userspace::parse::code::Code::ALL {
        let (exit, stdout) = check(&["--explain", code.as_str()]);
        assert!(exit == 0 && stdout.contains("Right:"), "{stdout}");
    }
}

#[test]
fn json_document() {
    let dir = Dir::new("json");
    let allow = dir.write("hosts.allow", "sshd: 192.0.2.7/24\n");
    let deny = dir.write("hosts.deny", b"ALL: ALL\nsshd: \xff.example.com");
    let (code, stdout) = check(&["--json", &allow, &deny]);
    assert_eq!((code, stdout.lines().count()), (2, 1), "{stdout}");
    let document: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(document["format"], 1);
    assert_eq!(document["tables"][0], serde_json::json!({"kind": "allow", "file": allow, "rules": 1}));
    let first = &document["diagnostics"][0];
    let want = serde_json::json!({
        "severity": "warning",
        "code": "W041",
        "file": allow,
        "line": 1,
        "column": 7,
        "length": 12,
        "message": "host bits set in \"192.0.2.7/24\"",
        "expected": "a network whose bits behind the mask are 0",
        "fix": "192.0.2.0/24",
        "fix_replaces": true,
        "consequence": format!("it never matches: the clients meant by it are not allowed by this rule; as no other rule allows any client, {deny}:1 refuses all"),
        "cited": "sshd: 192.0.2.7/24",
        "cited_column": 1,
        "related": [],
        "more": 0,
    });
    assert_eq!(*first, want);
    let all = document["diagnostics"].as_array().unwrap();
    let count = |severity: &str| all.iter().filter(|it| it["severity"] == severity).count();
    assert_eq!(
        document["summary"],
        serde_json::json!({
            "errors": count("error"), "warnings": count("warning"), "hints": count("hint"), "rules": 2
        })
    );
    assert_eq!(all.last().unwrap()["code"], "E003", "{stdout}");
}

#[test]
fn large_files_take_no_longer_than_they_are() {
    let dir = Dir::new("large");
    let megabytes = 10 << 20;
    let line = b"sshd: 198.51.100.7/24 gate.example.com [2001:db8::1\n";
    let wrong: Vec<u8> = line.iter().copied().cycle().take(line.len() * (megabytes / line.len())).collect();
    let mut rules = Vec::new();
    for number in 0u32.. {
        let [_, a, b, c] = number.to_be_bytes();
        rules.extend_from_slice(format!("sshd: 10.{a}.{b}.{c}\n").as_bytes());
        if rules.len() > megabytes {
            break;
        }
    }
    let one_line = b"10.1.2.3/8 ".repeat(megabytes / 11);
    let list = dir.write("list", one_line);
    for (name, text) in [
        ("wrong lines", wrong),
        ("rules", rules),
        ("one line of a pattern file", format!("sshd: {list}\n").into_bytes()),
        ("one line", b"x".repeat(megabytes)),
        ("comments", b"#sshd: ALL: 10.1.2.3\n".repeat(megabytes / 21)),
    ] {
        let deny = dir.write("hosts.deny", text);
        let started = Instant::now();
        let (_, stdout) = check(&[&deny]);
        let took = started.elapsed();
        assert!(stdout.len() < 4 << 20, "{name}: {} bytes of output", stdout.len());
        // A quadratic one takes hours.
        assert!(took < Duration::from_secs(60), "{name}: {took:?}");
        println!("{name}: {took:?}");
    }
}

/// What every object of a SARIF log must have, as far as the log has such objects.
fn check_sarif(log: &Value) {
    assert_eq!(log["version"], "2.1.0");
    assert!(log["$schema"].as_str().unwrap().ends_with("sarif-schema-2.1.0.json"));
    let run = &log["runs"][0];
    let driver = &run["tool"]["driver"];
    assert_eq!(
        (driver["name"].as_str(), run["columnKind"].as_str()),
        (Some("tcpw"), Some("unicodeCodePoints"))
    );
    let rules = driver["rules"].as_array().unwrap();
    for rule in rules {
        for text in ["shortDescription", "fullDescription", "help"] {
            assert!(!rule[text]["text"].as_str().unwrap().is_empty(), "{rule}");
        }
    }
    let region = |region: &Value| {
        let number = |name: &str| region[name].as_u64().unwrap();
        let (start, end) =
            ((number("startLine"), number("startColumn")), (number("endLine"), number("endColumn")));
        assert!(start.0 > 0 && start.1 > 0 && start <= end, "{region}");
    };
    for result in run["results"].as_array().unwrap() {
        let index = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
        assert_eq!(rules[index]["id"], result["ruleId"]);
        assert!(["error", "warning", "note"].contains(&result["level"].as_str().unwrap()));
        assert!(!result["message"]["text"].as_str().unwrap().is_empty());
        assert_eq!(result["locations"].as_array().unwrap().len(), 1);
        let related = result["relatedLocations"].as_array().into_iter().flatten();
        for location in result["locations"].as_array().unwrap().iter().chain(related) {
            let place = &location["physicalLocation"];
            assert!(!place["artifactLocation"]["uri"].as_str().unwrap().is_empty());
            region(&place["region"]);
        }
        for change in result["fixes"]
            .as_array()
            .into_iter()
            .flatten()
            .flat_map(|it| it["artifactChanges"].as_array().unwrap())
        {
            assert!(change["artifactLocation"]["uri"].is_string());
            for replacement in change["replacements"].as_array().unwrap() {
                region(&replacement["deletedRegion"]);
                assert!(replacement["insertedContent"]["text"].is_string());
            }
        }
    }
}

#[test]
fn sarif_log() {
    let dir = Dir::new("sarif");
    let mut allow = String::from("sshd: 192.0.2.7/24 gate\u{f6}.example.com 192.0.2.9/24\n");
    (0..9).for_each(|number| allow += &format!("sshd: .a{number}.example.com\n"));
    let allow = dir.write("hosts.allow", allow);
    let deny = dir
        .write("hosts.deny", "sshd: ALL: spawn (echo %a\n | mail root) &\nALL: 192.0.2.1\nALL: 192.0.2.1\n");
    let (code, stdout) = check(&["--format", "sarif", &allow, &deny]);
    assert_eq!((code, stdout.lines().count()), (2, 1), "{stdout}");
    let log: Value = serde_json::from_str(&stdout).unwrap();
    check_sarif(&log);
    let results = log["runs"][0]["results"].as_array().unwrap();
    let of = |code: &str| {
        results.iter().find(|it| it["ruleId"] == code).unwrap_or_else(|| panic!("{code}: {stdout}"))
    };
    let place = |result: &Value| result["locations"][0]["physicalLocation"].clone();
    assert_eq!(place(of("W041"))["artifactLocation"]["uri"], format!("file://{allow}"));
    assert_eq!(
        place(of("W041"))["region"],
        serde_json::json!({"startLine": 1, "startColumn": 7, "endLine": 1, "endColumn": 19})
    );
    assert_eq!(
        of("W041")["fixes"][0]["artifactChanges"][0]["replacements"][0]["insertedContent"]["text"],
        "192.0.2.0/24"
    );
    // A rule on two lines, and one cause in nine places.
    assert_eq!(
        place(of("E157"))["region"],
        serde_json::json!({"startLine": 1, "startColumn": 1, "endLine": 2, "endColumn": 16})
    );
    assert_eq!(of("H034")["relatedLocations"].as_array().unwrap().len(), 8);
    assert_eq!(check(&["--format", "json", &allow, &deny]).1, check(&["--json", &allow, &deny]).1);
    // Of tables without a mistake there is a log, too.
    let clean = dir.write("clean.deny", "ALL: ALL\n");
    let (code, stdout) = check(&["--format", "sarif", &clean]);
    check_sarif(&serde_json::from_str(&stdout).unwrap());
    assert_eq!(code, 0);
}

#[test]
fn commands_that_decide_and_do_not_exist_are_told() {
    let dir = Dir::new("aclexec");
    let deny = dir.write("hosts.deny", "sshd: ALL\n");
    for (program, is_there) in [(dir.path("no-such-program"), false), ("/bin/sh".to_owned(), true)] {
        let allow = dir.write("hosts.allow", format!("sshd: ALL: aclexec {program} %a\n"));
        let (code, stdout) = check(&[&allow, &deny]);
        assert_eq!((code, stdout.contains("[W124]")), (i32::from(!is_there), !is_there), "{stdout}");
    }
    let plain = dir.write("plain", "#!/bin/sh\n");
    let allow = dir.write("hosts.allow", format!("sshd: ALL: aclexec {plain} %a\n"));
    assert!(check(&[&allow, &deny]).1.contains(&format!("cannot run {plain}")));
}

#[test]
fn one_cause_is_one_finding() {
    let dir = Dir::new("cause");
    let mut text = String::from("ALL : ALL : allow\n");
    (0..14).for_each(|number| text += &format!("sendmail : .d{number}.example.com : deny\n"));
    let allow = dir.write("hosts.allow", text);
    let (code, stdout) = check(&[&allow]);
    assert_eq!(
        (code, stdout.matches("[W141").count(), stdout.matches("hint").count()),
        (1, 1, 0),
        "{stdout}"
    );
    assert!(stdout.contains("[W141, 14 times: also lines 3, 4, 5, 6, 7, ...]"), "{stdout}");
    let globs: String =
        (0..7000).map(|number| format!("sshd: 10.{}.{}.*\n", number / 250, number % 250)).collect();
    let deny = dir.write("hosts.deny", globs);
    let (_, stdout) = check(&[&deny]);
    assert_eq!(stdout.matches("[W056").count(), 1, "{stdout}");
    assert!(stdout.contains("[W056, 7000 times: also lines 2, 3, 4, 5, 6, ...]"), "{stdout}");
}

#[test]
fn devices_are_what_they_are() {
    let dir = Dir::new("null");
    let allow = dir.write("hosts.allow", "sshd: 192.0.2.1\n");
    let (_, stdout) = check(&["--hosts-allow", &allow, "--hosts-deny", "/dev/null"]);
    assert!(!stdout.contains("W009"), "{stdout}");
}
