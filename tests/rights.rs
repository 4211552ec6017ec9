//! Files, pins and rights: what another user of the host can make before tcpw does, and what the daemon may still do.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::{MetadataExt as _, symlink},
    path::Path,
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use tcpw_tests::{
    BELOW_ONLY, CLIENT_V4, Place, Process, Requirement, SERVER_V4, STATE_DIR, Sandbox, Tcpw, Testd, can_run,
    client::connect, status_of, tcpw_binary, wait_until,
};
use tcpw_userspace::{daemon::rights::KEPT, host::cgroup2_root};

const SOON: Duration = Duration::from_secs(20);
const START: Duration = Duration::from_secs(90);

fn ready(programs: &[&'static str]) -> bool {
    let programs: Vec<_> = programs.iter().map(|program| Requirement::Program(program)).collect();
    can_run("rights", &[Requirement::Root]) && can_run("rights", &programs)
}

/// A shell line of a user without rights, in the server's files.
fn as_nobody(sandbox: &Sandbox, line: &str) -> Result<Process> {
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "sh", "-c", line]);
    sandbox.spawn(Place::Server, command)
}

/// `tcpw run` behind other programs, with the sandbox's tables.
fn run_behind(sandbox: &Sandbox, before: &[&str], more: &[&str], place: Place) -> Result<Process> {
    let (first, rest) = before.split_first().context("no program")?;
    let mut command = Command::new(first);
    command.args(rest).arg(tcpw_binary()?).arg("run").args(["--log", "stdout", "--state-dir", STATE_DIR]);
    command.arg("--hosts-allow").arg(sandbox.hosts_allow());
    command.arg("--hosts-deny").arg(sandbox.hosts_deny()).args(more);
    sandbox.spawn(place, command)
}

/// It ends with an error that has these words.
fn refused(mut process: Process, words: &[&str]) -> Result<()> {
    let status = process.wait(SOON).context("it did not end")?;
    let said = process.tail();
    ensure!(status.code() == Some(2), "{status}: {said}");
    for word in words {
        ensure!(said.contains(word), "no {word:?} in: {said}");
    }
    Ok(())
}

/// Before: the lock was 0644 in a directory of 0755, any user could hold it, and tcpw said "already running".
#[test]
fn user_cannot_hold_the_lock() -> Result<()> {
    if !ready(&["/usr/bin/setpriv", "/usr/bin/flock"]) {
        return Ok(());
    }
    let sandbox = Sandbox::new("lock")?;
    sandbox.write_tables("", "ALL: ALL\n")?;
    let mut first = Tcpw::start(&sandbox, &["--pin"])?;
    first.process.terminate(SOON)?;
    for path in ["/run/tcpw/lock", "/run/tcpw", "/sys/fs/bpf/tcpw"] {
        let mut user = as_nobody(&sandbox, &format!("flock {path} -c 'echo held; exec sleep 60'"))?;
        ensure!(user.wait_for_line("held", Duration::from_secs(2)).is_err() || path == "/run/tcpw", "{path}");
        // One that holds the directory holds nothing that counts.
        let mut again = Tcpw::start(&sandbox, &["--pin"]).with_context(|| format!("{path} is held"))?;
        again.process.terminate(SOON)?;
        drop(user);
    }
    Ok(())
}

/// Before: root pinned in the user's directory, and the user removed the pins.
#[test]
fn pin_directory_that_a_user_made_first_is_refused() -> Result<()> {
    if !ready(&["/usr/bin/setpriv"]) {
        return Ok(());
    }
    let sandbox = Sandbox::new("pins")?;
    sandbox.write_tables("", "ALL: ALL\n")?;
    let mut user = as_nobody(&sandbox, "mkdir -p /sys/fs/bpf/tcpw/v8")?;
    ensure!(user.wait(SOON)?.success(), "a bpffs as mount(8) makes it: {}", user.tail());
    let words = ["/sys/fs/bpf/tcpw belongs to uid 65534", "remove it"];
    refused(Tcpw::spawn(&sandbox, &["--pin"])?, &words)?;
    for command in [&["detach"][..], &["status"]] {
        let mut process = Tcpw::spawn_command(&sandbox, command)?;
        ensure!(!process.wait(SOON)?.success(), "{command:?}");
        ensure!(process.tail().contains(words[0]), "{command:?}: {}", process.tail());
    }
    sandbox.mounts().run(|| {
        fs::remove_dir_all("/sys/fs/bpf/tcpw").ok();
        fs::remove_dir("/sys/fs/bpf/tcpw").ok();
        Ok(())
    })?;
    // Where all can write there can be no pins, sticky or not.
    refused(Tcpw::spawn(&sandbox, &["--pin", "--pin-dir", "/sys/fs/bpf"])?, &["mode 1777", "chmod go-w"])?;
    let mut tcpw = Tcpw::start(&sandbox, &["--pin"])?;
    let mut user = as_nobody(
        &sandbox,
        "mv /sys/fs/bpf/tcpw /sys/fs/bpf/away; rmdir /sys/fs/bpf/tcpw; ls /sys/fs/bpf/tcpw",
    )?;
    ensure!(!user.wait(SOON)?.success(), "{}", user.tail());
    tcpw.process.terminate(SOON)?;
    Ok(())
}

/// Before: the lines went to wherever a symbolic link led.
#[test]
fn log_follows_no_link() -> Result<()> {
    if !ready(&[]) {
        return Ok(());
    }
    let sandbox = Sandbox::new("link")?;
    sandbox.write_tables("", "ALL: ALL\n")?;
    let log = sandbox.scratch().join("log");
    fs::write(log.join("victim"), "")?;
    symlink("victim", log.join("link"))?;
    fs::hard_link(log.join("victim"), log.join("name"))?;
    for (name, word) in [("link", "symbolic link"), ("name", "hard links")] {
        let mut process = Tcpw::spawn(&sandbox, &["--log", &format!("file:/var/log/{name}")])?;
        ensure!(!process.wait(SOON)?.success() && process.tail().contains(word), "{}", process.tail());
    }
    Ok(())
}

/// Before: every capability, in all threads.
#[test]
fn daemon_has_no_other_right_than_those_of_its_list() -> Result<()> {
    if !ready(&[]) {
        return Ok(());
    }
    let sandbox = Sandbox::new("rights")?;
    sandbox.write_tables("", "ALL: ALL\n")?;
    let tcpw = Tcpw::start(&sandbox, &[])?;
    let kept: u64 = KEPT.iter().map(|kept| 1_u64 << kept.capability.index()).sum();
    let own = u64::from_str_radix(&status_of(Path::new("/proc/self"), "CapEff")?, 16)?;
    let tasks = Path::new("/proc").join(tcpw.process.pid().to_string()).join("task");
    for task in fs::read_dir(tasks)? {
        let task = task?.path();
        for set in ["CapEff", "CapPrm", "CapBnd"] {
            let has = u64::from_str_radix(&status_of(&task, set)?, 16)?;
            ensure!(has == kept & own, "{set} of {}: {has:x}, not {kept:x}", task.display());
        }
        for set in ["CapInh", "CapAmb"] {
            ensure!(status_of(&task, set)? == "0000000000000000", "{set}");
        }
        ensure!(status_of(&task, "NoNewPrivs")? == "1" && status_of(&task, "Seccomp")? == "2");
    }
    Ok(())
}

/// What tcpw does without a capability.
#[derive(Clone, Copy, Debug)]
enum Without {
    /// It does not start, and names the capability.
    Refused,
    /// It says so, and goes on.
    Says(&'static str),
    /// CAP_SYS_ADMIN stands in for it.
    Implied,
    /// The sign of life has an ordinary priority: seen only on a busy machine.
    Slower,
    /// A client whose SYN was held has to send it again.
    NotSentAgain,
}

/// Each capability of the list, and what breaks without it.
const BREAKS: [(&str, Without); 9] = [
    ("CAP_BPF", Without::Implied),
    ("CAP_PERFMON", Without::Implied),
    ("CAP_NET_ADMIN", Without::Refused),
    ("CAP_NET_RAW", Without::NotSentAgain),
    ("CAP_SYS_ADMIN", Without::Refused),
    ("CAP_SYS_PTRACE", Without::Refused),
    ("CAP_DAC_READ_SEARCH", Without::Refused),
    ("CAP_CHOWN", Without::Says("commands: /var/log/tcp.deny.log is not made for user")),
    ("CAP_SYS_NICE", Without::Slower),
];

#[test]
fn each_capability_that_is_kept_is_needed() -> Result<()> {
    if !ready(&["/usr/sbin/capsh"]) {
        return Ok(());
    }
    let listed: BTreeSet<String> = KEPT.iter().map(|kept| kept.capability.to_string()).collect();
    ensure!(listed == BREAKS.iter().map(|(name, _)| (*name).to_owned()).collect(), "{listed:?}");
    for (name, without) in BREAKS {
        breaks(name, without).with_context(|| format!("without {name}"))?;
    }
    Ok(())
}

fn breaks(name: &str, without: Without) -> Result<()> {
    let sandbox = Sandbox::new(&name.to_ascii_lowercase())?;
    // Held: the listener's name is looked up for this client, and the answer is "unknown".
    sandbox.write_tables(
        "ALL: .example.test\nALL: UNKNOWN\n",
        "ALL: ALL: spawn echo %a >> /var/log/tcp.deny.log\n",
    )?;
    let drop = format!("--drop={}", name.to_ascii_lowercase());
    let cgroup = sandbox.cgroup().display().to_string();
    let before = ["capsh", &drop, "--shell=/usr/bin/env", "--"];
    let mut process = run_behind(&sandbox, &before, &["--cgroup", &cgroup], Place::Server)?;
    match without {
        Without::Refused => return refused(process, &[name]),
        Without::Says(words) => drop_line(&mut process, words)?,
        Without::Implied | Without::Slower | Without::NotSentAgain => {}
    }
    process.wait_for_line("ready: ", START)?;
    let _alphad = Testd::start(&sandbox, "alphad", "[::]:7001")?;
    wait_until("it is identified", SOON, || {
        Ok(Tcpw::status(&sandbox)?["listeners"].to_string().contains("alphad"))
    })?;
    let at_once = Duration::from_millis(700);
    let is_connected =
        connect(sandbox.client(), CLIENT_V4, (SERVER_V4, 7001).into(), at_once)?.is_connected();
    ensure!(is_connected != matches!(without, Without::NotSentAgain), "connected at once: {is_connected}");
    ensure!(process.is_running(), "{}", process.tail());
    Ok(())
}

fn drop_line(process: &mut Process, words: &str) -> Result<()> {
    process.wait_for_line(words, START).map(drop)
}

/// Before: "ready: guarding ...", and nothing outside was judged.
#[test]
fn container_s_own_cgroup_mount_is_refused() -> Result<()> {
    if !ready(&["/usr/bin/unshare"]) {
        return Ok(());
    }
    let sandbox = Sandbox::new("container")?;
    sandbox.write_tables("", "ALL: ALL\n")?;
    let inside = "mkdir -p /run/own && mount -t cgroup2 cgroup2 /run/own && exec \"$@\"";
    let before = ["unshare", "--cgroup", "--mount", "sh", "-c", inside, "sh"];
    let process = run_behind(&sandbox, &before, &["--cgroup", "/run/own"], Place::Guarded)?;
    refused(process, &["container's own cgroup2 mount", "mount the host's"])
}

/// Before: /proc/PID/cgroup shows another path there, and UDP listeners were not found.
#[test]
fn scope_does_not_depend_on_the_cgroup_namespace() -> Result<()> {
    if !ready(&["/usr/bin/unshare"]) {
        return Ok(());
    }
    let sandbox = Sandbox::new("private")?;
    sandbox.write_tables("", "ALL: ALL\n")?;
    let _alphad = Testd::start(&sandbox, "alphad", "--udp 0.0.0.0:7001")?;
    let _bravod = Testd::start(&sandbox, "bravod", "[::]:7002")?;
    let own = sandbox.cgroup().parent().context("no parent")?.join("own");
    fs::create_dir(&own)?;
    let enter = format!("echo 0 > {}/cgroup.procs && exec unshare --cgroup \"$@\"", own.display());
    let cgroup = sandbox.cgroup().display().to_string();
    let mut tcpw = run_behind(&sandbox, &["sh", "-c", &enter, "sh"], &["--cgroup", &cgroup], Place::Server)?;
    tcpw.wait_for_line("ready: ", START)?;
    let status = Tcpw::status(&sandbox)?;
    for (ident, protocol) in [("alphad", "udp"), ("bravod", "tcp")] {
        let listeners = status["listeners"].as_array().context("no listeners")?;
        let one = listeners
            .iter()
            .find(|it| it["ident"] == ident)
            .with_context(|| format!("{ident}: {status:#}"))?;
        ensure!(one["protocol"] == protocol && one["tag"] == "written", "{one:#}");
    }
    Ok(())
}

/// Before: "pid 0, kernel, allows all": a listener that no process seemed to hold was taken for the kernel's.
#[test]
fn listener_whose_process_cannot_be_seen_is_not_opened() -> Result<()> {
    if !ready(&["/usr/bin/unshare"]) {
        return Ok(());
    }
    let sandbox = Sandbox::new("unseen")?;
    sandbox.write_tables("", "alphad: ALL\n")?;
    let _alphad = Testd::start(&sandbox, "alphad", "[::]:7001")?;
    let cgroup = sandbox.cgroup().display().to_string();
    let before = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"];
    let mut tcpw = run_behind(&sandbox, &before, &["--cgroup", &cgroup], Place::Server)?;
    tcpw.wait_for_line("ready: ", START)?;
    let attempt = connect(sandbox.client(), CLIENT_V4, (SERVER_V4, 7001).into(), Duration::from_secs(4))?;
    ensure!(!attempt.is_connected(), "{}", tcpw.tail());
    tcpw.wait_for_line("are not seen from this pid namespace", SOON)?;
    Ok(())
}

/// Before: four programs that watch bind(2) were attached to the root of all cgroups.
#[test]
fn nothing_is_attached_outside_of_the_guarded_cgroup() -> Result<()> {
    if !ready(&[]) {
        return Ok(());
    }
    let root = fs::metadata(cgroup2_root()?)?.ino();
    for (watches, expected) in [(false, 0), (true, 4)] {
        let sandbox = Sandbox::new("below-only")?;
        sandbox.write_tables("", "ALL: ALL\n")?;
        let more: &[&str] = if watches { &[] } else { &[BELOW_ONLY] };
        let tcpw = Tcpw::start(&sandbox, &[&["--on-deny", "reset"], more].concat())?;
        let _alphad = Testd::start(&sandbox, "alphad", "--udp 0.0.0.0:7001")?;
        let is_named = |row: &serde_json::Value| row["ident"] == "alphad";
        let how = if watches { "icmp" } else { "drop" };
        Tcpw::wait_listener(&sandbox, 7001, |row| is_named(row) && row["on_deny"] == how)?;
        let cgroups = cgroups_of_links(tcpw.process.pid())?;
        ensure!(cgroups.len() > expected, "links of the gate and others: {cgroups:?}");
        assert_eq!(cgroups.iter().filter(|cgroup| **cgroup == root).count(), expected, "watches: {watches}");
    }
    Ok(())
}

/// The ids of the cgroups that a process's links are attached to. Source: linux/kernel/bpf/cgroup.c,
/// `bpf_cgroup_link_show_fdinfo`.
fn cgroups_of_links(pid: u32) -> Result<Vec<u64>> {
    let mut cgroups = Vec::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fdinfo"))? {
        // A descriptor may be closed meanwhile.
        let Ok(text) = fs::read_to_string(entry?.path()) else { continue };
        let value = text.lines().find_map(|line| line.strip_prefix("cgroup_id:"));
        cgroups.extend(value.map(|value| value.trim().parse::<u64>()).transpose()?);
    }
    Ok(cgroups)
}

/// Requests as `readers` in tcpw.toml allows them: status and the like for the group, nothing else, and nothing for others.
#[test]
fn readers_are_told_and_change_nothing() -> Result<()> {
    if !ready(&["/usr/bin/setpriv", "/usr/bin/nc.openbsd"]) {
        return Ok(());
    }
    let sandbox = Sandbox::new("readers")?;
    sandbox.write_tables("", "ALL: ALL\n")?;
    let _alphad = Testd::start(&sandbox, "alphad", "0.0.0.0:7001")?;
    let settings = sandbox.write_settings("readers = \"adm\"\n")?;
    let _tcpw = Tcpw::start(&sandbox, &["--config", &settings])?;
    Tcpw::wait_listener(&sandbox, 7001, |_| true)?;
    ensure!(
        !connect(sandbox.client(), CLIENT_V4, (SERVER_V4, 7001).into(), Duration::from_secs(1))?
            .is_connected()
    );
    let tcpw = tcpw_binary()?;
    // In the group, its own or one more, or in none of it.
    let of = |groups: &str, line: &str| -> Result<(String, Option<i32>)> {
        let mut command = Command::new("/usr/bin/setpriv");
        command.arg("--reuid=65534").args(groups.split(' ')).args(["sh", "-c", line]);
        let mut process = sandbox.spawn(Place::Server, command)?;
        let code = process.wait(SOON)?.code();
        Ok((process.tail(), code))
    };
    let groups = ["--regid=adm --clear-groups", "--regid=65534 --groups=65533,adm"];
    for group in groups {
        for (arguments, word) in [
            ("status", "LISTENERS"),
            ("events", "refused alphad["),
            ("why 1.2.3.4", "refused: alphad["),
            ("explain alphad 1.2.3.4", "alphad"),
        ] {
            let (said, _code) = of(group, &format!("exec {} {arguments}", tcpw.display()))?;
            ensure!(said.contains(word) && !said.contains("not allowed"), "{group}: {arguments}: {said}");
        }
        for request in ["stop", "detach"] {
            let line =
                format!("echo '{{\"request\":\"{request}\"}}' | nc.openbsd -N -U /run/tcpw/control.sock");
            let (said, _code) = of(group, &line)?;
            ensure!(said.contains("only root may ask for this"), "{group}: {request}: {said}");
        }
    }
    let stranger = "--regid=65534 --clear-groups";
    let (said, code) = of(stranger, &format!("exec {} status", tcpw.display()))?;
    ensure!(code == Some(2) && said.contains("readers"), "{code:?}: {said}");
    let (said, code) = of(stranger, "exec ls /run/tcpw")?;
    ensure!(code != Some(0), "{said}");
    ensure!(Tcpw::status(&sandbox)?["generation"] == 1, "the daemon runs, and root gets its answer");
    Ok(())
}
