//! Wrong use of the command line: one line that says what to do, exit code 2.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use tcpw_tests::{tcpw_binary, wait_until};

fn tcpw() -> PathBuf {
    tcpw_binary().unwrap()
}

/// Nothing can be attached to it: should a refusal ever fail, no real socket is guarded.
const NOWHERE: &str = "--cgroup=/no-such-cgroup";

/// A directory of its own, open to everyone, removed at the end.
struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("tcpw-cli-{name}-{}", std::process::id()));
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        Self(path)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }

    fn write(&self, name: &str, text: &str) -> String {
        fs::write(self.0.join(name), text).unwrap();
        self.path(name)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Exit code, standard output, standard error.
fn run(command: &mut Command) -> (Option<i32>, String, String) {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// Asserts: nothing on standard output, exactly this line on standard error, exit code 2.
fn refused(command: &mut Command, expected: &str) {
    let (code, stdout, stderr) = run(command);
    assert_eq!(stderr, format!("tcpw: error: {expected}\n"));
    assert_eq!((code, stdout.as_str()), (Some(2), ""));
}

fn tcpw_with(arguments: &[&str]) -> Command {
    let mut command = Command::new(tcpw());
    command.args(arguments).env_remove("TCPW_LOG");
    command
}

#[test]
fn wrong_arguments() {
    let see = "see \"tcpw --help\"";
    refused(&mut tcpw_with(&[]), &format!("no subcommand: write one, as \"tcpw check\"; {see}"));
    refused(
        &mut tcpw_with(&["run", "--pinn"]),
        &format!("unexpected argument '--pinn' found tip: a similar argument exists: '--pin': {see}"),
    );
    refused(&mut tcpw_with(&["status", "extra"]), &format!("unexpected argument 'extra' found: {see}"));
    refused(
        &mut tcpw_with(&["run", "--log", "journal"]),
        &format!(
            "invalid value 'journal' for '--log <WHERE>': \"journal\" is no log destination: \
             expected stdout, syslog, journald, file:PATH (as file:/var/log/secure), json or json:PATH (as \
             json:/var/log/tcpw.json): {see}"
        ),
    );
    let (code, stdout, stderr) = run(&mut tcpw_with(&["run", "--help"]));
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    for flag in [
        "--config",
        "--hosts-allow",
        "--hosts-deny",
        "--cgroup",
        "--log",
        "--log-allowed",
        "--pin",
        "--run-dir",
        "--pin-dir",
    ] {
        assert!(stdout.contains(flag), "{flag} is not in the help");
    }
}

#[test]
fn not_root() {
    let dir = Dir::new("not-root");
    // Where nobody can reach it, wherever the build directory is.
    let copy = dir.path("tcpw");
    fs::copy(tcpw(), &copy).unwrap();
    let nobody = |arguments: &[&str]| {
        let mut command = Command::new(&copy);
        command.args(arguments).uid(65534).gid(65534).current_dir("/");
        command
    };
    let run_dir = dir.path("run");
    refused(
        &mut nobody(&["run", NOWHERE, "--run-dir", &run_dir]),
        "not root: run as root, for example with sudo",
    );
    refused(&mut nobody(&["detach", "--run-dir", &run_dir]), "not root: run as root, for example with sudo");
    refused(&mut nobody(&["status", "--run-dir", &run_dir]), "not root: run as root, for example with sudo");
}

#[test]
fn root_without_capabilities() {
    let mut command = Command::new("setpriv");
    command.args(["--bounding-set", "-all", "--inh-caps", "-all"]).arg(tcpw()).args(["run", NOWHERE]);
    refused(
        &mut command,
        "root without CAP_NET_ADMIN, CAP_SYS_PTRACE, CAP_DAC_READ_SEARCH, CAP_SYS_ADMIN, CAP_PERFMON, CAP_BPF: \
         give this container or unit these capabilities",
    );
}

#[test]
fn files_that_are_named_and_missing() {
    let dir = Dir::new("missing");
    let missing = dir.path("nowhere");
    for flag in ["--hosts-allow", "--hosts-deny"] {
        let expected = format!("{flag} {missing}: No such file or directory: name one that exists");
        refused(&mut tcpw_with(&["run", NOWHERE, flag, &missing]), &expected);
        refused(&mut tcpw_with(&["check", flag, &missing]), &expected);
    }
    refused(
        &mut tcpw_with(&["run", NOWHERE, "--config", &missing]),
        &format!("{missing}: No such file or directory: name a file that exists"),
    );
}

#[test]
fn wrong_settings() {
    let dir = Dir::new("settings");
    let config = dir.write("tcpw.toml", "# ours\npin = true\n  hosts-dney = \"/etc/hosts.deny\"\n");
    refused(
        &mut tcpw_with(&["run", NOWHERE, "--config", &config]),
        &format!(
            "{config}:3:3: unknown key \"hosts-dney\": did you mean \"hosts-deny\"?; \
             tcpw does not start with a setting it cannot honour"
        ),
    );
    let config = dir.write("tcpw.toml", "mode = \"enforce\n");
    let (code, _, stderr) = run(&mut tcpw_with(&["run", NOWHERE, "--config", &config]));
    assert_eq!((code, stderr.lines().count()), (Some(2), 1), "{stderr}");
    assert!(stderr.contains(&format!("{config}:1:")), "{stderr}");
}

/// Runs `script` in a mount namespace of its own, `$1` being tcpw and `$2` a directory.
fn unshared(script: &str, dir: &Dir) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", &format!("set -e; {script}"), "sh"]);
    command.arg(tcpw()).arg(&dir.0);
    command
}

#[test]
fn what_the_machine_lacks() {
    let dir = Dir::new("machine");
    let plain = dir.path("");
    let root = tcpw_userspace::host::cgroup2_root().unwrap();
    let root = root.display();
    let cgroup = Cgroup::new("machine");
    refused(
        &mut tcpw_with(&["run", "--cgroup", &plain]),
        &format!("cgroup {plain}: not in a cgroup2 file system: name a cgroup2 directory below {root}"),
    );
    let missing = format!("{root}/no-such-group");
    refused(
        &mut tcpw_with(&["run", "--cgroup", &missing]),
        &format!("cgroup {missing}: No such file or directory: name a cgroup2 directory below {root}"),
    );
    refused(
        &mut unshared("umount -a -t cgroup2; exec \"$1\" run --run-dir \"$2\"/run", &dir),
        "no cgroup2 file system is mounted: mount -t cgroup2 cgroup2 /sys/fs/cgroup",
    );
    refused(
        unshared("mount -t tmpfs none /sys/kernel/btf; exec \"$1\" run --cgroup \"$3\"", &dir).arg(&cgroup.0),
        "no /sys/kernel/btf/vmlinux: use a kernel built with CONFIG_DEBUG_INFO_BTF=y, as Debian's kernels are",
    );
    let pins = dir.path("pins");
    let no_bpffs = format!(
        "pin directory {pins}: not in a bpf file system: mount -t bpf bpf /sys/fs/bpf, or name another with --pin-dir"
    );
    refused(tcpw_with(&["run", "--pin", "--pin-dir", &pins, "--cgroup"]).arg(&cgroup.0), &no_bpffs);
    // Nothing but pins is ever removed.
    fs::create_dir_all(dir.0.join("pins/v1")).unwrap();
    fs::write(dir.0.join("pins/v1/precious"), "").unwrap();
    refused(&mut tcpw_with(&["detach", "--pin-dir", &pins, "--run-dir", &dir.path("run")]), &no_bpffs);
    assert!(dir.0.join("pins/v1/precious").exists());
}

/// A child cgroup without processes: whoever is attached to it guards nobody.
struct Cgroup(PathBuf);

impl Cgroup {
    fn new(name: &str) -> Self {
        let root = tcpw_userspace::host::cgroup2_root().unwrap();
        let path = root.join(format!("tcpw-cli-{name}-{}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

/// A daemon that guards nobody.
struct Daemon {
    child: Child,
    cgroup: Cgroup,
}

impl Daemon {
    fn start(dir: &Dir) -> Self {
        let cgroup = Cgroup::new("daemon");
        let child = Self::command(dir, &cgroup.0).stderr(Stdio::piped()).spawn().unwrap();
        let mut daemon = Self { child, cgroup };
        let stderr = daemon.child.stderr.take().unwrap();
        let mut lines = BufReader::new(stderr).lines();
        let mut seen = String::new();
        loop {
            let line = lines.next().unwrap_or_else(|| panic!("the daemon ended: {seen}")).unwrap();
            if line.contains("ready") {
                break;
            }
            seen += &line;
        }
        // Read on, so that it can go on writing.
        std::thread::spawn(move || lines.count());
        daemon
    }

    fn command(dir: &Dir, cgroup: &Path) -> Command {
        let allow = dir.write("hosts.allow", "sshd: 192.0.2.1\n");
        let deny = dir.write("hosts.deny", "ALL: ALL\n");
        let mut command =
            tcpw_with(&["run", "--log", "stdout", "--hosts-allow", &allow, "--hosts-deny", &deny]);
        command.args(["--run-dir", &dir.path("run"), "--pin-dir", &dir.path("pins"), "--cgroup"]).arg(cgroup);
        command.stdout(Stdio::null());
        command
    }

    fn ended_within(&mut self, time: Duration) -> bool {
        wait_until("it ends", time, || Ok(self.child.try_wait()?.is_some())).is_ok()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_second_instance_names_the_first_which_answers_and_detaches() {
    let dir = Dir::new("second");
    let mut daemon = Daemon::start(&dir);
    let (code, _, stderr) = run(Daemon::command(&dir, &daemon.cgroup.0).stderr(Stdio::piped()));
    let expected = format!(
        "tcpw: error: already running as pid {} with {}: \"tcpw status\" shows it, stop it before starting another\n",
        daemon.child.id(),
        dir.path("run/lock")
    );
    assert_eq!((code, stderr.as_str()), (Some(2), expected.as_str()));

    let place = ["--run-dir", &dir.path("run")];
    let (code, stdout, stderr) = run(tcpw_with(&["status", "--json"]).args(place));
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    let status: tcpw_userspace::control::Status = serde_json::from_str(&stdout).unwrap();
    assert_eq!((status.pid, status.generation, status.tables.deny.rules), (daemon.child.id(), 1, 1));
    let (code, stdout, _) = run(tcpw_with(&["status"]).args(place));
    assert_eq!(code, Some(0));
    assert!(stdout.contains("hosts.deny") && !stdout.contains('\x1b'), "{stdout}");

    let (code, stdout, stderr) = run(tcpw_with(&["detach"]).args(place));
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    assert!(stdout.ends_with("tcpw enforces nothing any more\n"), "{stdout}");
    assert!(daemon.ended_within(Duration::from_secs(5)), "it detached and stays");
    let (code, stdout, _) = run(tcpw_with(&["status"]).args(place).args(["--pin-dir", &dir.path("pins")]));
    assert_eq!(code, Some(2));
    assert!(stdout.starts_with("not running: nothing is enforced"), "{stdout}");
}

#[test]
fn check_tells_by_its_exit_code() {
    let dir = Dir::new("check");
    let allow = dir.write("hosts.allow", "sshd: 192.0.2.1\n");
    for (deny, expected) in [
        ("ALL: ALL\n", 0),
        // Host bits: it never matches.
        ("sshd: 10.1.2.3/255.255.0.0\n", 1),
        // No newline at the end: libwrap's error.
        ("ALL: ALL", 2),
    ] {
        let deny = dir.write("hosts.deny", deny);
        let (code, stdout, stderr) =
            run(&mut tcpw_with(&["check", "--hosts-allow", &allow, "--hosts-deny", &deny]));
        assert_eq!((code, stderr.as_str()), (Some(expected), ""), "{stdout}");
        assert_eq!(stdout.contains(&format!("{deny}:1:")), expected > 0, "{stdout}");
    }
}
