//! Commands and a helper that mean no good, or are broken.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::Path,
    thread,
    time::Duration,
};

use anyhow::Result;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tcpw_tests::{
    CLIENT_V4, CLIENT_V4_OTHER, CLIENT_V6, Requirement, Tcpw, Testd, can_run, wait_for, wait_until,
};

use tcpw_userspace::host::COMMANDS;

use crate::place::{Place, SOON, ready};

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
    fs::set_permissions(place.sandbox.scratch().join("log"), fs::Permissions::from_mode(0o777))?;
    let mut tcpw = place.tcpw("", &[])?;
    fs::write(place.out.join("pid"), tcpw.process.pid().to_string())?;
    assert!(!place.attempt(CLIENT_V4, 7001)?);
    let result = wait_for("the command's result", SOON, || {
        let result = fs::read_to_string(place.out.join("result")).unwrap_or_default();
        Ok(result.ends_with("done\n").then_some(result))
    })?;
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
        // The one that starts helpers; the one that waits; the first process of its namespace.
        let child = |pid: u32| -> Result<u32> {
            Ok(fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?.trim().parse()?)
        };
        let keeper = tcpw.helper_of(COMMANDS)?;
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
    // The time tested: what the bomb has made of itself within half a second of its one.
    thread::sleep(Duration::from_millis(500));
    // Some end and others begin while they are counted.
    let tasks = (0..5).map(|_| tasks_of_user(place.uid)).min().unwrap_or_default();
    // 16 for each of two commands, and of two connections that are twisted.
    assert!(tasks <= 2 * 2 * 16 + 4, "{tasks} processes");
    // Its shell gives up, or its time is over: nothing is left but the helper.
    wait_until("no process is left but the helper's", SOON, || Ok(tasks_of_user(place.uid) <= 2))?;
    assert!(!place.attempt(CLIENT_V6, 7001)?);
    place.lines("said", 2)?;

    // Killed: its commands die with it, one line says so, another takes its place.
    assert!(!place.attempt(CLIENT_V4, 7003)?);
    place.wait_counter("commands_run", 6)?;
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(first.cast_signed()), Signal::SIGKILL)?;
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
    wait_until("commands end with the daemon", SOON, || Ok(tasks_of_user(place.uid) == 0))?;
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
    for pid in processes_of_user(place.uid) {
        kill(Pid::from_raw(pid), Signal::SIGSTOP)?;
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
    let owner = |path: &Path| fs::metadata(path).map(|meta| meta.uid()).ok();
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
