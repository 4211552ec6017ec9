//! A process without rights looks names up; the limits on look-ups do not apply to addresses in /etc/hosts.

use std::{fs, path::PathBuf, process::Command, thread, time::Duration};

use anyhow::{Context as _, Result, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tcpw_tests::{
    CLIENT_V4, CLIENT_V4_OTHER, DENY, Requirement, Sandbox, Tcpw, Testd, can_run, daemons::Unbound,
    status_of, wait_until,
};
use tcpw_userspace::host::NAME_LOOKUPS;

use super::{SOON, attempt, ready, zones};

/// Packets to port 53 that a rule of that comment counted.
fn asked_by(sandbox: &Sandbox, comment: &str) -> Result<u64> {
    let output = sandbox
        .server()
        .run(|| Ok(Command::new("nft").args(["list", "table", "inet", "asked"]).output()?))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text
        .lines()
        .find(|line| line.contains(comment))
        .with_context(|| format!("no {comment} in {text}"))?;
    let number = line.split("packets ").nth(1).and_then(|rest| rest.split(' ').next());
    number.and_then(|word| word.parse().ok()).with_context(|| format!("no counter in {line}"))
}

#[test]
fn names_are_looked_up_by_a_process_without_rights_which_is_replaced_when_it_ends() -> Result<()> {
    if !ready() || !can_run("names", &[Requirement::Program("/usr/sbin/nft")]) {
        return Ok(());
    }
    let sandbox = Sandbox::new("apart")?;
    sandbox.write_tables("alphad: good.example.test\n", DENY)?;
    let _unbound = Unbound::start(&sandbox, &zones())?;
    sandbox.server().nft(
        "table inet asked {\nchain out { type filter hook output priority 0\n\
         udp dport 53 meta skuid 0 counter comment \"by root\"\n\
         udp dport 53 meta skuid != 0 counter comment \"by others\"\n}\n}\n",
    )?;
    let _alphad = Testd::start(&sandbox, "alphad", "0.0.0.0:7001")?;
    let mut tcpw = Tcpw::start(&sandbox, &["--config", &short_lived(&sandbox)?])?;
    assert!(attempt(&sandbox, CLIENT_V4, 7001, SOON)?.is_connected());
    ensure!(asked_by(&sandbox, "by others")? > 0, "the name server was not asked");
    assert_eq!(asked_by(&sandbox, "by root")?, 0, "root asked the name server");

    let pid = tcpw.helper_of(NAME_LOOKUPS)?;
    let process = PathBuf::from(format!("/proc/{pid}"));
    for (field, wanted) in [
        ("CapEff", "0000000000000000"),
        ("CapPrm", "0000000000000000"),
        ("CapBnd", "0000000000000000"),
        ("CapInh", "0000000000000000"),
        ("NoNewPrivs", "1"),
        ("Seccomp", "2"),
    ] {
        assert_eq!(status_of(&process, field)?, wanted, "{field}");
    }
    let users = status_of(&process, "Uid")?;
    ensure!(users.split_whitespace().all(|uid| uid != "0"), "user ids {users}");

    let mark = tcpw.process.mark();
    kill(Pid::from_raw(i32::try_from(pid)?), Signal::SIGKILL)?;
    tcpw.process.wait_for_line_after(mark, "the process that looks names up is gone", SOON)?;
    // What was found is kept for a second: the name is looked up again.
    wait_until("the client is allowed again", SOON, || {
        let before = asked_by(&sandbox, "by others")?;
        let is_in = attempt(&sandbox, CLIENT_V4, 7001, SOON)?.is_connected();
        Ok(is_in && asked_by(&sandbox, "by others")? > before)
    })?;
    ensure!(tcpw.helper_of(NAME_LOOKUPS)? != pid, "it is the same process");
    Ok(())
}

/// A process that ends, or hangs, while a name is looked up: the next one looks it up.
#[test]
fn name_that_is_being_looked_up_is_looked_up_by_the_next_process() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    for signal in [Signal::SIGKILL, Signal::SIGSTOP] {
        let sandbox = Sandbox::new(&format!("apart-{signal}"))?;
        sandbox.write_tables("alphad: good.example.test\n", DENY)?;
        let unbound = Unbound::start(&sandbox, &zones())?;
        fs::write(sandbox.etc().join("resolv.conf"), "nameserver 127.0.0.1\noptions timeout:8 attempts:2\n")?;
        unbound.delay(None);
        let _alphad = Testd::start(&sandbox, "alphad", "0.0.0.0:7001")?;
        let settings = sandbox.write_settings("[resolve]\ntime-limit = 60\n")?;
        let mut tcpw = Tcpw::start(&sandbox, &["--config", &settings])?;
        let pid = tcpw.helper_of(NAME_LOOKUPS)?;
        let is_in = thread::scope(|scope| -> Result<bool> {
            let client = scope.spawn(|| attempt(&sandbox, CLIENT_V4, 7001, 2 * SOON));
            wait_until("the name server is asked", SOON, || Ok(unbound.asked() > 0))?;
            unbound.delay(Some(Duration::ZERO));
            kill(Pid::from_raw(i32::try_from(pid)?), signal)?;
            tcpw.process.wait_for_line("the process that looks names up is gone", SOON)?;
            Ok(client.join().ok().context("the client panicked")??.is_connected())
        })?;
        ensure!(is_in, "{signal}: {}", tcpw.process.tail());
        ensure!(tcpw.helper_of(NAME_LOOKUPS)? != pid, "{signal}: it is the same process");
        let counters = Tcpw::counters(&sandbox)?;
        assert_eq!((counters["lookups"], counters["names_given_up"]), (1, 0), "{signal}: {counters:?}");
    }
    Ok(())
}

/// Settings that keep names for a second.
fn short_lived(sandbox: &Sandbox) -> Result<String> {
    sandbox.write_settings("[resolve]\nfound-for = 1\nnot-found-for = 1\n")
}

/// The name server is silent, and the only look-up that may run waits for it.
#[test]
fn client_in_etc_hosts_does_not_wait_for_the_name_server() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = Sandbox::new("hosts-file")?;
    sandbox.write_tables("alphad: good.example.test\n", DENY)?;
    fs::write(sandbox.etc().join("hosts"), format!("127.0.0.1 localhost\n{CLIENT_V4} good.example.test\n"))?;
    let unbound = Unbound::start(&sandbox, &zones())?;
    fs::write(sandbox.etc().join("resolv.conf"), "nameserver 127.0.0.1\noptions timeout:8 attempts:2\n")?;
    unbound.delay(None);
    let _alphad = Testd::start(&sandbox, "alphad", "0.0.0.0:7001")?;
    let settings = sandbox.write_settings("[resolve]\nlookups = 1\n")?;
    let _tcpw = Tcpw::start(&sandbox, &["--config", &settings])?;
    assert!(!attempt(&sandbox, CLIENT_V4_OTHER, 7001, Duration::from_millis(100))?.is_connected());
    wait_until("the name server is asked", SOON, || Ok(unbound.asked() > 0))?;
    let counters = Tcpw::counters(&sandbox)?;
    assert_eq!(counters["lookups_running"], 1, "{counters:?}");
    assert!(attempt(&sandbox, CLIENT_V4, 7001, Duration::from_millis(800))?.is_connected());
    assert_eq!(Tcpw::counters(&sandbox)?["lookups_running"], 1);
    Ok(())
}
