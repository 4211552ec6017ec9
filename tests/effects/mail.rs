//! The seed's line as it is written, with each of Debian's mailers, and the file it writes to.

use std::{fs, os::unix::fs::MetadataExt as _, process::Command};

use anyhow::{Context as _, Result};
use tcpw_tests::{
    CLIENT_V4, CLIENT_V4_OTHER, CLIENT_V6_OTHER, Place as Where, Requirement, Testd, can_run,
    daemons::{Mail, Smtpd, SshKey, Sshd, SshdSockets},
    tcpw_binary,
};

use crate::place::{Place, SEED, SOON, has_mail, ready};

const POSTFIX: &str = "/var/lib/tcpw-tests/postfix/usr/sbin/postdrop";
const EXIM: &str = "/var/lib/tcpw-tests/exim4/usr/sbin/exim4";

#[test]
fn seeds_own_line_writes_its_file_and_the_mail_arrives() -> Result<()> {
    if !has_mail("effects: mail") {
        return Ok(());
    }
    let place = Place::new("mail")?;
    place.sandbox.write_tables("", SEED)?;
    let smtpd = Smtpd::start(&place.sandbox)?;
    let key = SshKey::generate(&place.sandbox)?;
    let sshd = Sshd::start(&place.sandbox, &key, 2201, SshdSockets::DualStack)?;
    let mut tcpw = place.tcpw("", &[])?;
    tcpw.process.wait_for_line("their group is opensmtpq, that of /usr/sbin/smtpctl", SOON)?;
    assert!(!place.attempt(CLIENT_V4_OTHER, sshd.port)?);
    assert!(!place.attempt(CLIENT_V6_OTHER, sshd.port)?);
    let log = place.sandbox.scratch().join("log/tcp.deny.log");
    for client in ["1.2.4.4", "3ffe:ffff:100:201::1"] {
        let line = format!("Attempt from {client} {client} to sshd at ");
        let mail = smtpd.wait_for_mail("root", &line, SOON)?;
        assert!(mail.contains("To: root@localhost"), "{mail}");
        assert!(fs::read_to_string(&log)?.contains(&line));
    }
    let meta = fs::metadata(&log)?;
    assert_eq!(meta.uid(), place.uid);
    assert_eq!(warnings(&mut tcpw.process)?, Vec::<String>::new());
    Ok(())
}

#[test]
fn seeds_own_line_works_with_postfix() -> Result<()> {
    if !has_mail("effects: postfix") || !can_run("effects: postfix", &[Requirement::Program(POSTFIX)]) {
        return Ok(());
    }
    let place = Place::new("postfix")?;
    place.sandbox.write_tables("", SEED)?;
    let postfix = Mail::postfix(&place.sandbox)?;
    let _alphad = Testd::start(&place.sandbox, "alphad", "[::]:7001")?;
    let mut tcpw = place.tcpw("", &[])?;
    tcpw.process.wait_for_line("their group is postdrop, that of /usr/sbin/postdrop", SOON)?;
    assert!(!place.attempt(CLIENT_V4, 7001)?);
    let mail = postfix.wait_for_mail("Attempt from 1.2.3.4 1.2.3.4 to alphad at ", SOON)?;
    assert!(mail.contains("To: root@localhost") && mail.contains("From: tcpw@gate"), "{mail}");
    assert_eq!(warnings(&mut tcpw.process)?, Vec::<String>::new());
    Ok(())
}

/// exim is set-uid root: it is said what that takes, and that is enough.
#[test]
fn seeds_own_line_works_with_exim_once_it_may_be_root() -> Result<()> {
    if !has_mail("effects: exim") || !can_run("effects: exim", &[Requirement::Program(EXIM)]) {
        return Ok(());
    }
    let place = Place::new("exim")?;
    place.sandbox.write_tables("", SEED)?;
    let exim = Mail::exim(&place.sandbox)?;
    let _alphad = Testd::start(&place.sandbox, "alphad", "[::]:7001")?;
    let mut tcpw = place.tcpw("", &[])?;
    let advice = "mail needs /usr/sbin/exim4, which no process without rights can use: set \"allow-set-uid = true\" under [effects] in /etc/tcpw.toml, \
                  or install a mailer that needs no more than a group: postfix, opensmtpd";
    tcpw.process.wait_for_line(&format!("hosts.deny:1:11: {advice}"), SOON)?;
    assert_eq!(said_by_check(&place)?, warnings(&mut tcpw.process)?);
    drop(tcpw);
    let mut tcpw = place.tcpw("allow-set-uid = true\n", &[])?;
    assert!(!place.attempt(CLIENT_V4, 7001)?);
    let mail = exim.wait_for_mail("Attempt from 1.2.3.4 1.2.3.4 to alphad at ", SOON)?;
    assert!(mail.contains("To: root@localhost") && mail.contains("From: tcpw@gate"), "{mail}");
    assert_eq!(warnings(&mut tcpw.process)?, Vec::<String>::new());
    Ok(())
}

#[test]
fn command_that_cannot_work_is_warned_of_by_daemon_and_check() -> Result<()> {
    if !has_mail("effects: mailer") {
        return Ok(());
    }
    let place = Place::new("mailer")?;
    let allow = "ALL: 9.9.9.9: spawn echo x >> /etc/motd\n\
                 ALL: 9.9.9.8: spawn echo x >> /var/log/syslog-of-root: spawn su nobody -c id\n";
    place.sandbox.write_tables(allow, SEED)?;
    fs::write(place.sandbox.scratch().join("log/syslog-of-root"), "")?;
    let mut tcpw = place.tcpw("mailer-group = false\n", &[])?;
    tcpw.process.wait_for_line(
        "hosts.deny:1:11: mail needs /usr/sbin/smtpctl, which works for group opensmtpq alone: set \"mailer-group = true\"",
        SOON,
    )?;
    for problem in [
        "hosts.allow:1:15: commands run as user tcpw, which cannot write to /etc/motd: add it to \"files\" under [effects] in /etc/tcpw.toml, or its directory",
        "hosts.allow:2:15: commands run as user tcpw, which cannot write to /var/log/syslog-of-root: add it to \"files\" under [effects]",
        "hosts.allow:2:56: /usr/bin/su is set-uid or set-gid, and works as its caller here: if it needs more",
    ] {
        tcpw.process.wait_for_line(problem, SOON)?;
    }
    let said = warnings(&mut tcpw.process)?;
    assert_eq!((said.len(), &said), (4, &said_by_check(&place)?));
    Ok(())
}

/// A file that was root's, as libwrap would have left it; and one that was rotated away.
#[test]
fn named_file_is_the_users_whoever_made_it() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let place = Place::new("files")?;
    let seed = SEED.replace("| mail root@localhost", "> /dev/null");
    place.sandbox.write_tables("", &seed)?;
    let log = place.sandbox.scratch().join("log/tcp.deny.log");
    fs::write(&log, "of old\n")?;
    let _alphad = Testd::start(&place.sandbox, "alphad", "[::]:7001")?;
    let mut tcpw = place.tcpw("", &[])?;
    tcpw.process.wait_for_line("gave /var/log/tcp.deny.log, which was root's, to user tcpw", SOON)?;
    let wait_for = |count: usize| -> Result<String> {
        let read = || fs::read_to_string(&log).unwrap_or_default();
        tcpw_tests::wait_for(&format!("{count} lines"), SOON, || {
            Ok(Some(read()).filter(|text| text.lines().count() == count))
        })
        .with_context(read)
    };
    assert!(!place.attempt(CLIENT_V4, 7001)?);
    assert!(wait_for(2)?.starts_with("of old\nAttempt from 1.2.3.4 1.2.3.4 to alphad at "));
    fs::rename(&log, log.with_extension("log.1"))?;
    tcpw.process.wait_for_line("made /var/log/tcp.deny.log for user tcpw", SOON)?;
    assert!(!place.attempt(CLIENT_V4_OTHER, 7001)?);
    assert!(wait_for(1)?.starts_with("Attempt from 1.2.4.4"));
    Ok(())
}

/// What the daemon warned of commands, without the time.
fn warnings(process: &mut tcpw_tests::Process) -> Result<Vec<String>> {
    // They are looked for beside the start.
    process.wait_for_line(" commands of the tables: ", SOON)?;
    let mut found: Vec<String> = process
        .lines()
        .iter()
        .filter_map(|line| {
            let at = line.text.find("/tables/hosts.")?;
            Some(line.text[at..].to_owned())
        })
        .collect();
    found.sort();
    Ok(found)
}

/// What `tcpw check` says of the same tables and settings, as the daemon says it.
fn said_by_check(place: &Place) -> Result<Vec<String>> {
    let mut command = Command::new(tcpw_binary()?);
    command.args(["check", "--json", "--config"]).arg(place.settings());
    command.arg("--hosts-allow").arg(place.sandbox.hosts_allow());
    command.arg("--hosts-deny").arg(place.sandbox.hosts_deny());
    let mut process = place.sandbox.spawn(Where::Server, command)?;
    process.wait(SOON)?;
    let text: String = process.lines().iter().map(|line| format!("{}\n", line.text)).collect();
    let found: serde_json::Value = serde_json::from_str(&text)?;
    let word = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let mut said: Vec<String> = found["diagnostics"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|one| one["code"] == "W124")
        .map(|one| {
            let path = word(&one["file"]);
            let at = path.find("/tables/").unwrap_or(0);
            format!(
                "{}:{}:{}: {}: {}",
                &path[at..],
                one["line"],
                one["column"],
                word(&one["message"]),
                word(&one["fix"])
            )
        })
        .collect();
    said.sort();
    Ok(said)
}
