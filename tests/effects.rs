//! Side effects: commands for refused and for allowed clients, by a process without rights.

use std::{
    fs,
    io::Write as _,
    net::{IpAddr, SocketAddr},
    os::fd::AsRawFd as _,
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use tcpw_tests::{
    CLIENT_V4, CLIENT_V4_OTHER, CLIENT_V6, CLIENT_V6_OTHER, Requirement, SERVER_V4, SERVER_V6, Sandbox, Tcpw,
    Testd, can_run,
    client::connect,
    daemons::{Nginx, Smtpd, SshKey, Sshd, SshdSockets},
};

const AT_ONCE: Duration = Duration::from_millis(300);
const SOON: Duration = Duration::from_secs(15);

fn ready() -> bool {
    can_run("effects", &[Requirement::Root])
}

/// A sandbox with the commands' user and a directory it may write to.
struct Place {
    sandbox: Sandbox,
    out: PathBuf,
}

impl Place {
    fn new(name: &str) -> Result<Self> {
        let sandbox = Sandbox::new(name)?;
        for (file, line) in
            [("passwd", "tcpw:x:64001:64001::/nonexistent:/usr/sbin/nologin\n"), ("group", "tcpw:x:64001:\n")]
        {
            let file = sandbox.etc().join(file);
            let text = fs::read_to_string(&file)? + line;
            fs::write(&file, text)?;
        }
        let out = sandbox.scratch().join("out");
        fs::create_dir(&out)?;
        std::os::unix::fs::chown(&out, Some(64001), Some(64001))?;
        Ok(Self { sandbox, out })
    }

    /// Starts tcpw with more lines in `[effects]`.
    fn tcpw(&self, settings: &str, more: &[&str]) -> Result<Tcpw> {
        let file = self.sandbox.scratch().join("tcpw.toml");
        let out = self.out.display();
        fs::write(&file, format!("[effects]\nwritable = [\"{out}\", \"/tmp\", \"/var/tmp\"]\n{settings}"))?;
        let file = file.to_string_lossy();
        Tcpw::start(&self.sandbox, &[&["--config", &*file], more].concat())
    }

    fn attempt(&self, client: IpAddr, port: u16) -> Result<bool> {
        let server = if client.is_ipv6() { SERVER_V6 } else { SERVER_V4 };
        Ok(connect(self.sandbox.client(), client, SocketAddr::new(server, port), AT_ONCE)?.is_connected())
    }

    /// Lines of a file the commands write, once there are so many.
    fn lines(&self, name: &str, count: usize) -> Result<Vec<String>> {
        let file = self.out.join(name);
        let deadline = Instant::now() + SOON;
        loop {
            let text = fs::read_to_string(&file).unwrap_or_default();
            if text.lines().count() >= count {
                return Ok(text.lines().map(str::to_owned).collect());
            }
            ensure!(
                Instant::now() < deadline,
                "{} lines of {count} in {}:\n{text}",
                text.lines().count(),
                file.display()
            );
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits until a counter has a value.
    fn wait_counter(&self, name: &str, value: u64) -> Result<()> {
        let deadline = Instant::now() + SOON;
        loop {
            let counters = Tcpw::counters(&self.sandbox)?;
            if counters.get(name) == Some(&value) {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "{name} is not {value}: {counters:?}");
            thread::sleep(Duration::from_millis(50));
        }
    }
}

#[test]
fn refused_attempt_runs_its_command_once_with_its_surroundings() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let place = Place::new("spawn")?;
    let out = place.out.display();
    place.sandbox.write_tables(
        "",
        &format!(
            "ALL: ALL: setenv WHO %h: setenv LEFT =: nice 7: umask 077: severity local3.notice: \
             spawn (echo \"$WHO %a %d %A %r %R $LEFT `nice` `umask` `pwd` `id -un`\" >> {out}/said)\n"
        )
        .replace("setenv LEFT =: ", "setenv LEFT a b: "),
    )?;
    let alphad = Testd::start(&place.sandbox, "alphad", "[::]:7001")?;
    let mut tcpw = place.tcpw("", &[])?;
    // Long enough for two retransmits.
    let server = SocketAddr::new(SERVER_V4, 7001);
    let slow = connect(place.sandbox.client(), CLIENT_V4, server, Duration::from_millis(2500))?;
    assert!(!slow.is_connected());
    assert!(!place.attempt(CLIENT_V6, 7001)?);
    let mut lines = place.lines("said", 2)?;
    thread::sleep(Duration::from_millis(300));
    lines.sort();
    assert_eq!(place.lines("said", 2)?.len(), 2, "a retransmit runs nothing");
    let fields = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let v4 = fields(&lines[0]);
    let want = |client: &str, server: &str, port: &str| {
        [client, client, "alphad", server, port, "7001", "a", "b", "7", "0077", "/", "tcpw"]
            .map(str::to_owned)
            .to_vec()
    };
    assert_eq!(v4, want("1.2.3.4", "1.2.3.1", &v4[4]), "{lines:?}");
    let v6 = fields(&lines[1]);
    assert_eq!(v6, want("3ffe:ffff:100:200:212:34ff:fe12:3456", "3ffe:ffff:100:200::1", &v6[4]));
    let file = fs::metadata(place.out.join("said"))?;
    assert_eq!(std::os::unix::fs::MetadataExt::mode(&file) & 0o777, 0o600);
    let counters = Tcpw::counters(&place.sandbox)?;
    assert_eq!((counters["commands_run"], counters["refused"]), (2, 2), "{counters:?}");
    assert!(counters["retransmits"] >= 1, "{counters:?}");
    let _ = (alphad, tcpw.process.is_running());
    Ok(())
}

/// As the seed has it, after its `ALL: ALL`.
const SEED: &str = "ALL: ALL: spawn (echo \"Attempt from %h %a to %d at `date`\" | tee -a /var/log/tcp.deny.log | mail root@localhost)\n";

/// Debian's mailers are set-gid.
const MAILER: &str = "allow-set-uid = true\n";

fn has_mail(test: &str) -> bool {
    let programs = ["/usr/sbin/smtpd", "/usr/bin/mail", "/usr/sbin/sshd"].map(Requirement::Program);
    ready() && can_run(test, &programs)
}

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
    let _tcpw = place.tcpw(MAILER, &[])?;
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
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&meta), 64001);
    Ok(())
}

#[test]
fn line_whose_mailer_cannot_work_is_warned_of() -> Result<()> {
    if !has_mail("effects: mailer") {
        return Ok(());
    }
    let place = Place::new("mailer")?;
    place.sandbox.write_tables("ALL: 9.9.9.9: spawn echo x >> /etc/motd\n", SEED)?;
    let mut tcpw = place.tcpw("", &[])?;
    tcpw.process.wait_for_line(
        "hosts.deny:1: spawn: mail needs /usr/sbin/sendmail, which is set-uid or set-gid",
        SOON,
    )?;
    tcpw.process.wait_for_line("hosts.allow:1: spawn: user tcpw cannot write to /etc/motd", SOON)?;
    let warned = tcpw.process.lines().iter().filter(|line| line.text.contains(": spawn: ")).count();
    assert_eq!(warned, 2, "{}", tcpw.process.tail());
    Ok(())
}

#[test]
fn accepted_connection_runs_its_command_once() -> Result<()> {
    if !has_mail("effects: accepted")
        || !can_run("effects: accepted", &[Requirement::Program("/usr/sbin/nginx")])
    {
        return Ok(());
    }
    let place = Place::new("allowed")?;
    let out = place.out.display();
    let allow = format!(
        "sshd: 1.2.3. [3ffe:ffff:100:200::]/64: spawn echo %d %a >> {out}/in\n\
         nginx: *3.4: spawn echo %d %a >> {out}/in\n\
         nginx: 1.2.4.\n"
    );
    place.sandbox.write_tables("", "")?;
    let key = SshKey::generate(&place.sandbox)?;
    let sshd = Sshd::start(&place.sandbox, &key, 2201, SshdSockets::DualStack)?;
    let nginx = Nginx::start(&place.sandbox, 8001)?;
    let mut tcpw = place.tcpw("", &["--pin"])?;
    let mark = tcpw.process.mark();
    place.sandbox.write_tables(&allow, "ALL: ALL\n")?;
    tcpw.wait_applied(mark)?;
    let mut expected: Vec<String> = Vec::new();
    let mut rounds = |place: &Place, rounds: usize| -> Result<()> {
        for _ in 0..rounds {
            for (client, port, said) in [
                (CLIENT_V4, sshd.port, Some("sshd 1.2.3.4")),
                (CLIENT_V6, sshd.port, Some("sshd 3ffe:ffff:100:200:212:34ff:fe12:3456")),
                // Its answer is cached: the command is run for each connection all the same.
                (CLIENT_V4, nginx.port, Some("nginx 1.2.3.4")),
                (CLIENT_V4_OTHER, nginx.port, None),
            ] {
                assert!(place.attempt(client, port)?, "{client} to {port}");
                expected.extend(said.map(str::to_owned));
            }
        }
        expected.sort();
        let mut lines = place.lines("in", expected.len())?;
        thread::sleep(Duration::from_millis(300));
        assert_eq!(place.lines("in", 0)?.len(), lines.len());
        lines.sort();
        assert_eq!(lines, expected);
        Ok(())
    };
    rounds(&place, 2)?;
    // Another daemon takes over what is pinned, and with it what is watched.
    tcpw.process.kill_9()?;
    let tcpw = place.tcpw("", &["--pin"])?;
    rounds(&place, 1)?;
    drop(tcpw);
    Tcpw::command(&place.sandbox, &["detach"])?;
    Ok(())
}

#[test]
fn keepalive_is_on_the_accepted_socket_of_its_rule_alone() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let place = Place::new("keepalive")?;
    place.sandbox.write_tables("alphad: 1.2.3. 3ffe*3456: keepalive\n", "")?;
    let _alphad = Testd::start(&place.sandbox, "alphad", "--tell-keepalive [::]:7001 0.0.0.0:7002")?;
    let _betad = Testd::start(&place.sandbox, "betad", "--tell-keepalive [::]:7003")?;
    let mut tcpw = place.tcpw("", &[])?;
    for (client, port, is_on) in [
        (CLIENT_V4, 7001, true),
        (CLIENT_V4, 7002, true),
        (CLIENT_V6, 7001, true),
        (CLIENT_V4_OTHER, 7001, false),
        (CLIENT_V4_OTHER, 7002, false),
        (CLIENT_V6_OTHER, 7001, false),
        (CLIENT_V4, 7003, false),
    ] {
        let server = SocketAddr::new(if client.is_ipv6() { SERVER_V6 } else { SERVER_V4 }, port);
        let mut attempt = connect(place.sandbox.client(), client, server, Duration::from_millis(900))?;
        let mut said = attempt.greeting(SOON);
        if !said.contains("keepalive") {
            said += &attempt.greeting(SOON);
        }
        assert!(said.ends_with(&format!("keepalive {is_on}")), "{client} to {port}: {said}");
    }
    assert!(!tcpw.process.lines().iter().any(|line| line.text.contains("refuse")), "{}", tcpw.process.tail());
    assert!(tcpw.process.is_running());
    Ok(())
}

#[test]
fn audit_mode_runs_no_command() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let place = Place::new("audit")?;
    let line = format!("ALL: 1.2.3.: spawn touch {}/ran\n", place.out.display());
    place.sandbox.write_tables(&line.replace("1.2.3.", "1.2.4."), &line)?;
    let _alphad = Testd::start(&place.sandbox, "alphad", "[::]:7001")?;
    let settings = place.sandbox.scratch().join("audit.toml");
    fs::write(&settings, "mode = \"audit\"\n")?;
    let mut tcpw = Tcpw::start(&place.sandbox, &["--config", &settings.to_string_lossy()])?;
    assert!(place.attempt(CLIENT_V4, 7001)? && place.attempt(CLIENT_V4_OTHER, 7001)?);
    tcpw.process.wait_for_line("would refuse connect from", SOON)?;
    thread::sleep(Duration::from_millis(500));
    assert!(!place.out.join("ran").exists());
    Ok(())
}

#[test]
fn aclexec_decides_each_attempt_by_itself() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let place = Place::new("aclexec")?;
    let out = place.out.display();
    place.sandbox.write_tables(
        &format!(
            "alphad: 1.2.: setenv WHAT in: aclexec test -e {out}/open && echo $WHAT %a %d >> {out}/asked: spawn echo %a >> {out}/spawned\n\
             gammad: ALL: aclexec sleep 60\n"
        ),
        &format!("alphad: ALL\nbetad: ALL: aclexec test -e {out}/open\ngammad: ALL\n"),
    )?;
    let _alphad = Testd::start(&place.sandbox, "alphad", "[::]:7001")?;
    let _betad = Testd::start(&place.sandbox, "betad", "[::]:7002")?;
    let _gammad = Testd::start(&place.sandbox, "gammad", "[::]:7003")?;
    let mut tcpw = place.tcpw("time-limit = 1\n", &[])?;
    let attempt = |client: IpAddr, port: u16| -> Result<bool> {
        let server = SocketAddr::new(if client.is_ipv6() { SERVER_V6 } else { SERVER_V4 }, port);
        // Before its SYN comes again.
        Ok(connect(place.sandbox.client(), client, server, Duration::from_millis(900))?.is_connected())
    };
    let open = place.out.join("open");
    for round in 0..3 {
        assert!(!attempt(CLIENT_V4, 7001)?, "round {round}");
        assert!(attempt(CLIENT_V4_OTHER, 7002)?, "round {round}: in hosts.deny a failure lets in");
        fs::write(&open, "")?;
        assert!(attempt(CLIENT_V4, 7001)?, "round {round}");
        assert!(!attempt(CLIENT_V4_OTHER, 7002)?, "round {round}");
        fs::remove_file(&open)?;
    }
    assert!(!attempt(CLIENT_V6, 7001)?, "the rule is not his");
    assert_eq!(place.lines("asked", 3)?, vec!["in 1.2.3.4 alphad"; 3]);
    // Beside three times twice for each daemon, the spawn of each that was let in, or was not: libwrap
    // runs no option behind a failed aclexec's table, but those of its rule.
    place.lines("spawned", 6)?;
    place.wait_counter("commands_run", 18)?;

    // Its SYN comes three times, the command is run once.
    let server = SocketAddr::new(SERVER_V4, 7001);
    assert!(!connect(place.sandbox.client(), CLIENT_V4, server, Duration::from_millis(3500))?.is_connected());
    place.wait_counter("commands_run", 20)?;

    // One that does not end decides nothing.
    assert!(!attempt(CLIENT_V4, 7003)?);
    place.wait_counter("undecided_by_command", 1)?;
    assert!(tcpw.process.is_running());
    assert!(
        !tcpw.process.lines().iter().any(|line| line.text.contains("please report")),
        "{}",
        tcpw.process.tail()
    );
    Ok(())
}

/// Tries what an attacker would, as a command.
#[test]
fn command_has_no_rights() -> Result<()> {
    if !ready() || !can_run("effects: rights", &[Requirement::Program("/usr/bin/perl")]) {
        return Ok(());
    }
    let place = Place::new("rights")?;
    let out = place.out.display();
    let script = place.out.join("try");
    fs::write(
        &script,
        format!(
            r#"#!/bin/sh
try() {{ name=$1; shift; if "$@" 2>/dev/null; then echo "$name: yes"; else echo "$name: no"; fi; }}
call() {{ perl -e '$! = 0; $r = syscall(@ARGV[0]+0, map {{ $_+0 }} @ARGV[1..$#ARGV]); exit($r == -1 ? 1 : 0)' "$@"; }}
{{
try shadow cat /etc/shadow
try etc touch /etc/tcpw-was-here
try log touch /var/log/tcpw-was-here
try bpf call 321 0 0 0
try x32-bpf call 1073742145 0 0 0
try ptrace call 101 16 {pid}
try unshare call 272 268435456
try signal kill -9 {pid}
try root perl -e '$> = 0; exit($> == 0 ? 0 : 1)'
try su perl -e 'exit((-u "/usr/bin/su") ? 0 : 1)'
try temporary touch /tmp/tcpw-$$
rm -f /tmp/tcpw-$$
grep -E 'Cap(Inh|Prm|Eff|Bnd|Amb)|NoNewPrivs|Seccomp:|^Uid' /proc/self/status
ls -l /proc/self/fd | grep -c -v -e /dev/null -e /proc -e total -e {out}
}} > {out}/result
echo done >> {out}/result
"#,
            pid = "$1",
        ),
    )?;
    place.sandbox.write_tables("", &format!("ALL: ALL: spawn sh {} `cat {out}/pid`\n", script.display()))?;
    let _alphad = Testd::start(&place.sandbox, "alphad", "[::]:7001")?;
    // Anybody may write there, but for landlock.
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(place.sandbox.scratch().join("log"), fs::Permissions::from_mode(0o777))?;
    let mut tcpw = place.tcpw("", &[])?;
    fs::write(place.out.join("pid"), tcpw.process.pid().to_string())?;
    assert!(!place.attempt(CLIENT_V4, 7001)?);
    let deadline = Instant::now() + SOON;
    let result = loop {
        let result = fs::read_to_string(place.out.join("result")).unwrap_or_default();
        if result.ends_with("done\n") {
            break result;
        }
        ensure!(Instant::now() < deadline, "no result: {result}\n{}", tcpw.process.tail());
        thread::sleep(Duration::from_millis(20));
    };
    drop(writeln!(std::io::stderr(), "{result}"));
    for what in ["shadow", "etc", "log", "bpf", "x32-bpf", "ptrace", "unshare", "signal", "root"] {
        assert!(
            result.contains(&format!("\n{what}: no\n")) || result.starts_with(&format!("{what}: no\n")),
            "{what}: {result}"
        );
    }
    assert!(result.contains("temporary: yes"), "{result}");
    for set in ["Inh", "Prm", "Eff", "Bnd", "Amb"] {
        assert!(result.contains(&format!("Cap{set}:\t0000000000000000")), "{result}");
    }
    assert!(result.contains("NoNewPrivs:\t1") && result.contains("Seccomp:\t2"), "{result}");
    assert!(tcpw.process.is_running());
    Ok(())
}

/// What a hostile or broken command leaves intact.
#[test]
fn command_or_helper_that_misbehaves_leaves_enforcement_intact() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let place = Place::new("hostile")?;
    let out = place.out.display();
    place.sandbox.write_tables(
        "",
        &format!(
            "bombd: ALL: spawn b() {{ b | b & }}; b; trap '' TERM; sleep 60\n\
             deafd: ALL: spawn trap '' TERM; while \\:; do sleep 60; done\n\
             ALL: ALL: spawn echo %a >> {out}/said\n"
        ),
    )?;
    let _alphad = Testd::start(&place.sandbox, "alphad", "[::]:7001")?;
    let _bombd = Testd::start(&place.sandbox, "bombd", "[::]:7002")?;
    let _deafd = Testd::start(&place.sandbox, "deafd", "[::]:7003")?;
    let mut tcpw = place.tcpw("time-limit = 1\nat-once = 2\n", &[])?;
    let helper = || -> Result<(u32, u32)> {
        // The one that waits, and the first process of its namespace.
        let child = |pid: u32| -> Result<u32> {
            Ok(fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?.trim().parse()?)
        };
        let keeper = child(tcpw.process.pid())?;
        Ok((keeper, child(keeper)?))
    };
    let (_, first) = helper()?;

    // Two that do not end fill all places, the third waits; all are killed in time.
    assert!(!place.attempt(CLIENT_V4, 7003)? && !place.attempt(CLIENT_V6, 7003)?);
    assert!(!place.attempt(CLIENT_V4, 7001)?);
    assert_eq!(place.lines("said", 1)?, ["1.2.3.4"]);
    place.wait_counter("commands_timed_out", 2)?;

    // A fork bomb: bounded, and ended.
    assert!(!place.attempt(CLIENT_V4, 7002)?);
    thread::sleep(Duration::from_millis(500));
    let tasks = tasks_of_user(64001);
    assert!(tasks <= 2 * 16 + 4, "{tasks} processes");
    place.wait_counter("commands_timed_out", 3)?;
    assert!(!place.attempt(CLIENT_V6, 7001)?);
    place.lines("said", 2)?;

    // Killed: its commands die with it, one line says so, another takes its place.
    assert!(!place.attempt(CLIENT_V4, 7003)?);
    place.wait_counter("commands_run", 6)?;
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(first.cast_signed()),
        nix::sys::signal::Signal::SIGKILL,
    )?;
    let said = tcpw.process.wait_for_line("the helper that runs commands is gone", SOON)?.text;
    assert!(said.contains("1 commands with it"), "{said}");
    assert!(!place.attempt(CLIENT_V4_OTHER, 7001)?);
    place.lines("said", 3)?;
    let counters = Tcpw::counters(&place.sandbox)?;
    assert_eq!(
        counters["commands_run"] + counters["commands_lost"] + counters["commands_suppressed"],
        counters["refused"],
        "{counters:?}"
    );
    assert_eq!((counters["commands_lost"], counters["commands_suppressed"]), (1, 0), "{counters:?}");
    drop(tcpw);
    let deadline = Instant::now() + SOON;
    while tasks_of_user(64001) > 0 {
        ensure!(Instant::now() < deadline, "commands outlive the daemon");
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// A helper that is stopped answers nobody: it is replaced.
#[test]
fn helper_that_hangs_is_replaced() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let place = Place::new("hangs")?;
    place.sandbox.write_tables("", &format!("ALL: ALL: spawn echo %a >> {}/said\n", place.out.display()))?;
    let _alphad = Testd::start(&place.sandbox, "alphad", "[::]:7001")?;
    let mut tcpw = place.tcpw("time-limit = 1\n", &[])?;
    assert!(!place.attempt(CLIENT_V4, 7001)?);
    place.lines("said", 1)?;
    for pid in processes_of_user(64001) {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGSTOP)?;
    }
    assert!(!place.attempt(CLIENT_V6, 7001)?);
    tcpw.process.wait_for_line(
        "the helper that runs commands is gone (it does not answer): 1 commands",
        Duration::from_secs(20),
    )?;
    assert!(!place.attempt(CLIENT_V4_OTHER, 7001)?);
    assert_eq!(place.lines("said", 2)?[1], "1.2.4.4");
    Ok(())
}

fn processes_of_user(uid: u32) -> Vec<i32> {
    let owner = |path: &std::path::Path| {
        fs::metadata(path).map(|meta| std::os::unix::fs::MetadataExt::uid(&meta)).ok()
    };
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok().map(|pid| (pid, entry.path())))
        .filter(|(_, path)| {
            let uid_line = fs::read_to_string(path.join("status")).unwrap_or_default();
            owner(path) == Some(uid) || uid_line.contains(&format!("\nUid:\t{uid}\t"))
        })
        .map(|(pid, _)| pid)
        .collect()
}

fn tasks_of_user(uid: u32) -> usize {
    processes_of_user(uid).len()
}

/// Ten thousand refused attempts in a second, for three seconds, against the seed's line.
#[test]
fn flood_of_refused_attempts_stays_within_the_limits() -> Result<()> {
    if !has_mail("effects: flood") {
        return Ok(());
    }
    let place = Place::new("flood")?;
    place.sandbox.write_tables("betad: ALL\n", SEED)?;
    let smtpd = Smtpd::start(&place.sandbox)?;
    let _alphad = Testd::start(&place.sandbox, "alphad", "[::]:7001")?;
    let _betad = Testd::start(&place.sandbox, "betad", "[::]:7002")?;
    let log = place.sandbox.scratch().join("log/secure");
    let to_file = format!("file:{}", log.display());
    let mut tcpw =
        place.tcpw(&format!("{MAILER}per-minute = 30\nreport-every = 5\n"), &["--log", &to_file])?;
    let began = Instant::now();
    let clients = [CLIENT_V4, CLIENT_V4_OTHER, CLIENT_V6, CLIENT_V6_OTHER];
    let sent: u64 = place.sandbox.client().run(|| {
        let mut sent = 0_u64;
        while began.elapsed() < Duration::from_secs(3) {
            let due = u64::try_from(began.elapsed().as_micros() / 100)?;
            while sent < due {
                let client = clients[usize::try_from(sent % 4)?];
                let server = if client.is_ipv6() { SERVER_V6 } else { SERVER_V4 };
                syn(client, SocketAddr::new(server, 7001))?;
                sent += 1;
            }
            thread::sleep(Duration::from_millis(1));
        }
        Ok(sent)
    })?;
    let took = began.elapsed();
    // Who is allowed is not held up.
    let allowed = connect(place.sandbox.client(), CLIENT_V4, SocketAddr::new(SERVER_V4, 7002), SOON)?;
    assert!(allowed.is_connected());
    let deadline = Instant::now() + Duration::from_secs(60);
    let counters = loop {
        let counters = Tcpw::counters(&place.sandbox)?;
        let accounted =
            ["commands_run", "commands_suppressed", "commands_lost", "ring_full"].map(|name| counters[name]);
        if counters["refused"] == sent && accounted.iter().sum::<u64>() == sent {
            break counters;
        }
        ensure!(Instant::now() < deadline, "sent {sent}: {counters:?}\n{}", tcpw.process.tail());
        thread::sleep(Duration::from_millis(200));
    };
    drop(writeln!(
        std::io::stderr(),
        "flood: {sent} SYNs in {:.2} s ({:.0} a second): {} commands run, {} suppressed, {} lost, {} events lost; an allowed client connects in {:.1} ms",
        took.as_secs_f64(),
        sent as f64 / took.as_secs_f64(),
        counters["commands_run"],
        counters["commands_suppressed"],
        counters["commands_lost"],
        counters["ring_full"],
        allowed.took.as_secs_f64() * 1e3
    ));
    assert_eq!(counters["commands_lost"], 0);
    assert!((12..=34).contains(&counters["commands_run"]), "{counters:?}");
    // Each that ran wrote its line and its mail, and no other.
    let deny_log = place.sandbox.scratch().join("log/tcp.deny.log");
    let deadline = Instant::now() + SOON;
    loop {
        let lines = fs::read_to_string(&deny_log)?.lines().count() as u64;
        let mails = smtpd.wait_for_mail("root", "Attempt", SOON)?.matches("\nFrom: ").count() as u64;
        if lines == counters["commands_run"] && mails == lines {
            break;
        }
        ensure!(Instant::now() < deadline, "{lines} lines, {mails} mails, {counters:?}");
        thread::sleep(Duration::from_millis(100));
    }
    // Every attempt has its line in the log of refused attempts.
    let refused = fs::read_to_string(&log)?.matches("refused connect").count() as u64;
    assert_eq!(refused + counters["ring_full"], sent);
    tcpw.process.wait_for_line("more from 1.2.4.0/24", Duration::from_secs(10))?;
    tcpw.process.terminate(SOON)?;
    let reported: u64 = tcpw
        .process
        .lines()
        .iter()
        .filter_map(|line| {
            let (_, rest) = line.text.split_once("limits: ")?;
            rest.split(' ').next()?.replace(',', "").parse::<u64>().ok()
        })
        .sum();
    assert_eq!(reported, counters["commands_suppressed"]);
    Ok(())
}

/// Sends one SYN and forgets it.
fn syn(from: IpAddr, to: SocketAddr) -> Result<()> {
    use nix::{
        errno::Errno,
        sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, socket},
    };
    let family = if to.is_ipv6() { AddressFamily::Inet6 } else { AddressFamily::Inet };
    let socket = socket(family, SockType::Stream, SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC, None)?;
    bind(socket.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(from, 0)))?;
    match connect(socket.as_raw_fd(), &SockaddrStorage::from(to)) {
        Ok(()) | Err(Errno::EINPROGRESS) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
