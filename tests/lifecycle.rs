//! What happens to enforcement while files, processes and the daemon itself come and go.

#[path = "lifecycle/accounts.rs"]
mod accounts;
#[path = "lifecycle/explained.rs"]
mod explained;
#[path = "lifecycle/read_twice.rs"]
mod read_twice;
#[path = "lifecycle/shown.rs"]
mod shown;
#[path = "lifecycle/starved.rs"]
mod starved;
#[path = "lifecycle/stop.rs"]
mod stop;

use std::{
    fs,
    net::{IpAddr, SocketAddr},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, bail, ensure};
use tcpw_common::limits::ALIVE_NS;
use tcpw_tests::{
    CLIENT_V4, CLIENT_V4_OTHER, CLIENT_V6, CLIENT_V6_OTHER, DENY, Requirement, SERVER_V4, SERVER_V6, Sandbox,
    Tcpw, Testd, Tries, can_run,
    client::{Ended, connect},
};

const PATIENCE: Duration = Duration::from_millis(900);
const SOON: Duration = Duration::from_secs(20);
/// A start on an emulated processor, where the kernel takes long to verify the programs.
const START: Duration = Duration::from_secs(90);
const PORT: u16 = 7001;

fn ready() -> bool {
    can_run("lifecycle", &[Requirement::Root])
}

fn is_allowed(sandbox: &Sandbox, client: IpAddr) -> Result<bool> {
    match connect(sandbox.client(), client, SocketAddr::new(SERVER_V4, PORT), PATIENCE)?.ended {
        Ended::Connected(_) | Ended::ConnectedAndReset => Ok(true),
        Ended::TimedOut => Ok(false),
        // The gate never answers: nobody listens.
        Ended::Refused => bail!("alphad is gone"),
    }
}

type Edit<'a> = Box<dyn Fn() -> Result<()> + 'a>;

#[test]
fn every_style_of_edit_takes_effect() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = Sandbox::new("edits")?;
    sandbox.write_tables("alphad: 1.2.3.\n", DENY)?;
    let _alphad = Testd::start(&sandbox, "alphad", "0.0.0.0:7001")?;
    let mut tcpw = Tcpw::start(&sandbox, &[])?;
    let (allow, aside) = (sandbox.hosts_allow(), sandbox.scratch().join("tables/aside"));
    let edits: [(&str, Edit<'_>, bool); 4] = [
        ("append", Box::new(|| append(&allow, "alphad: 1.2.4.4\n")), true),
        ("in place", Box::new(|| Ok(fs::write(&allow, "alphad: 1.2.3.\n")?)), false),
        (
            "rename over",
            Box::new(|| {
                fs::write(&aside, "alphad: 1.2.\n")?;
                Ok(fs::rename(&aside, &allow)?)
            }),
            true,
        ),
        (
            "symlink swap",
            Box::new(|| {
                let target = sandbox.scratch().join("tables/second");
                fs::write(&target, "alphad: 1.2.3.\n")?;
                std::os::unix::fs::symlink(&target, &aside)?;
                Ok(fs::rename(&aside, &allow)?)
            }),
            false,
        ),
    ];
    for (style, edit, allowed) in edits {
        let mark = tcpw.process.mark();
        edit()?;
        tcpw.wait_applied(mark)?;
        assert_eq!(is_allowed(&sandbox, CLIENT_V4_OTHER)?, allowed, "after {style}");
        assert!(is_allowed(&sandbox, CLIENT_V4)?, "after {style}");
    }
    Ok(())
}

fn append(path: &std::path::Path, text: &str) -> Result<()> {
    use std::io::Write as _;
    Ok(fs::File::options().append(true).open(path)?.write_all(text.as_bytes())?)
}

/// Both policies refuse this client, but the classes of one under the outcomes of the other let it in.
#[test]
fn no_connection_is_judged_by_half_a_policy() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = Sandbox::new("half")?;
    let policies = ["alphad: 1.2.3.\n", "alphad: ALL EXCEPT 1.2.4.4\n"];
    sandbox.write_tables(policies[0], DENY)?;
    let _alphad = Testd::start(&sandbox, "alphad", "0.0.0.0:7001")?;
    let mut tcpw = Tcpw::start(&sandbox, &[])?;
    let stop = AtomicBool::new(false);
    let refused = thread::scope(|scope| -> Result<usize> {
        let clients: Vec<_> = (0..24)
            .map(|_| {
                scope.spawn(|| -> Result<usize> {
                    let mut refused = 0;
                    while !stop.load(Ordering::Relaxed) {
                        let server = SocketAddr::new(SERVER_V4, PORT);
                        let attempt =
                            connect(sandbox.client(), CLIENT_V4_OTHER, server, Duration::from_millis(15))?;
                        ensure!(!attempt.is_connected(), "let in by half a policy");
                        refused += 1;
                    }
                    Ok(refused)
                })
            })
            .collect();
        let edited = (1..=40).try_for_each(|round| {
            let mark = tcpw.process.mark();
            fs::write(sandbox.hosts_allow(), policies[round % 2])?;
            tcpw.wait_applied(mark).map(drop)
        });
        stop.store(true, Ordering::Relaxed);
        let mut refused = 0;
        for client in clients {
            refused += client.join().map_err(|_| anyhow::anyhow!("a client panicked"))??;
        }
        edited.map(|()| refused)
    })?;
    ensure!(refused > 1000, "only {refused} attempts");
    Ok(())
}

/// Longer than a connection takes on a busy machine, shorter than a SYN waits to be sent again.
const SURE: Duration = Duration::from_millis(800);

/// One attempt of a client under reload.
struct Seen {
    client: IpAddr,
    began: Instant,
    ended: Instant,
    connected: bool,
}

/// Old or new until `applied` is said; from then on only new. Clients connect all the time.
#[test]
fn reload_under_load_is_whole_and_at_once() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = Sandbox::new("reload")?;
    // The two clients always change places: a mixture of both policies would show.
    let policies = ["alphad: 1.2.3.4\n", "alphad: 1.2.4.4\n"];
    sandbox.write_tables(policies[0], DENY)?;
    let _alphad = Testd::start(&sandbox, "alphad", "0.0.0.0:7001")?;
    let mut tcpw = Tcpw::start(&sandbox, &[])?;
    let stop = AtomicBool::new(false);
    let mut applied = vec![(Instant::now(), Instant::now(), 0)];
    let seen = thread::scope(|scope| -> Result<Vec<Seen>> {
        let (sandbox, stop) = (&sandbox, &stop);
        let clients: Vec<_> = [CLIENT_V4, CLIENT_V4_OTHER]
            .into_iter()
            .cycle()
            .take(12)
            .map(|client| scope.spawn(move || attempts(sandbox, client, stop)))
            .collect();
        let edited = (1..=6).try_for_each(|round| {
            let mark = tcpw.process.mark();
            let edited = Instant::now();
            fs::write(sandbox.hosts_allow(), policies[round % 2])?;
            applied.push((edited, tcpw.wait_applied(mark)?.at, round % 2));
            thread::sleep(2 * SURE);
            Ok::<_, anyhow::Error>(())
        });
        stop.store(true, Ordering::Relaxed);
        let mut all = Vec::new();
        for client in clients {
            all.extend(client.join().map_err(|_| anyhow::anyhow!("a client panicked"))??);
        }
        edited.map(|()| all)
    })?;
    // An attempt that begins after `applied` and ends before the next edit has one right answer.
    let mut judged = [0; 2];
    for (index, (_, at, policy)) in applied.iter().enumerate() {
        let until = applied.get(index + 1).map_or_else(Instant::now, |(edited, _, _)| *edited);
        for seen in seen.iter().filter(|seen| seen.began >= *at && seen.ended < until) {
            let right = (seen.client == CLIENT_V4) == (*policy == 0);
            let after = seen.began - *at;
            ensure!(
                seen.connected == right,
                "{} connected: {}, {after:?} after policy {policy}",
                seen.client,
                seen.connected
            );
            judged[usize::from(right)] += 1;
        }
    }
    ensure!(judged[0] > 5 && judged[1] > 50, "only {judged:?} attempts had one right answer");
    Ok(())
}

fn attempts(sandbox: &Sandbox, client: IpAddr, stop: &AtomicBool) -> Result<Vec<Seen>> {
    let mut seen = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let began = Instant::now();
        let attempt = connect(sandbox.client(), client, SocketAddr::new(SERVER_V4, PORT), SURE)?;
        seen.push(Seen { client, began, ended: Instant::now(), connected: attempt.is_connected() });
        thread::sleep(Duration::from_millis(5));
    }
    Ok(seen)
}

#[test]
fn erroneous_reload_keeps_the_policy_and_says_so() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = Sandbox::new("errors")?;
    sandbox.write_tables("alphad: 1.2.3.\n", DENY)?;
    let _alphad = Testd::start(&sandbox, "alphad", "0.0.0.0:7001")?;
    let mut tcpw = Tcpw::start(&sandbox, &[])?;
    for (table, text) in [
        (sandbox.hosts_deny(), Some("ALL ALL\n")),
        (sandbox.hosts_deny(), None),
        (sandbox.hosts_allow(), Some("alphad: 1.2.: bogus\n")),
    ] {
        let mark = tcpw.process.mark();
        match text {
            Some(text) => fs::write(&table, text)?,
            None => fs::remove_file(&table)?,
        }
        tcpw.process.wait_for_line_after(mark, "the previous policy stays", Duration::from_secs(10))?;
        assert!(is_allowed(&sandbox, CLIENT_V4)?);
        assert!(!is_allowed(&sandbox, CLIENT_V4_OTHER)?);
        if text.is_none() {
            // A directory in its place reads as an empty table: it must not open the host either.
            let mark = tcpw.process.mark();
            fs::create_dir(&table)?;
            tcpw.process.wait_for_line_after(mark, "the previous policy stays", Duration::from_secs(10))?;
            assert!(!is_allowed(&sandbox, CLIENT_V4_OTHER)?);
            fs::remove_dir(&table)?;
        }
        let mark = tcpw.process.mark();
        sandbox.write_tables("alphad: 1.2.\n", DENY)?;
        tcpw.wait_applied(mark)?;
        assert!(is_allowed(&sandbox, CLIENT_V4_OTHER)?);
        let mark = tcpw.process.mark();
        sandbox.write_tables("alphad: 1.2.3.\n", DENY)?;
        tcpw.wait_applied(mark)?;
    }
    Ok(())
}

#[test]
fn pinned_policy_outlives_a_killed_daemon_and_is_adopted() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = Sandbox::new("adopt")?;
    sandbox.write_tables("alphad: 1.2.3.\n", DENY)?;
    let _alphad = Testd::start(&sandbox, "alphad", "0.0.0.0:7001")?;
    let mut tcpw = Tcpw::start(&sandbox, &["--pin"])?;
    assert!(!is_allowed(&sandbox, CLIENT_V4_OTHER)?);
    tcpw.process.kill_9()?;
    assert!(!is_allowed(&sandbox, CLIENT_V4_OTHER)?);
    assert!(is_allowed(&sandbox, CLIENT_V4)?);

    // A listener that starts while no daemon runs is named by the kernel, once it is sure that none runs.
    // The time tested: the daemon has given no sign of life for that long.
    thread::sleep(Duration::from_nanos(ALIVE_NS) + Duration::from_millis(50));
    let _second = Testd::start(&sandbox, "alphad", "0.0.0.0:7002")?;
    let second = |client| {
        connect(sandbox.client(), client, SocketAddr::new(SERVER_V4, 7002), PATIENCE)
            .map(|it| it.is_connected())
    };
    assert!(second(CLIENT_V4)?);
    assert!(!second(CLIENT_V4_OTHER)?);

    // Without --pin it would not be clear who enforces: refused, nothing changes.
    let mut other = Tcpw::spawn(&sandbox, &[])?;
    assert_eq!(other.wait(START)?.code(), Some(2), "{}", other.tail());
    assert!(!is_allowed(&sandbox, CLIENT_V4_OTHER)?);

    let (stop, refused) = (AtomicBool::new(false), Tries::default());
    thread::scope(|scope| -> Result<()> {
        // Not one gap while the programs are replaced.
        let watcher = scope.spawn(|| -> Result<()> {
            while !stop.load(Ordering::Relaxed) {
                let server = SocketAddr::new(SERVER_V4, PORT);
                let attempt = connect(sandbox.client(), CLIENT_V4_OTHER, server, Duration::from_millis(20))?;
                ensure!(!attempt.is_connected(), "let in while the daemon adopted");
                refused.tried();
            }
            Ok(())
        });
        let adopted = Tcpw::start(&sandbox, &["--pin"]).and_then(|adopted| {
            refused.wait_more(6)?;
            Ok(adopted)
        });
        stop.store(true, Ordering::Relaxed);
        watcher.join().map_err(|_| anyhow::anyhow!("the watcher panicked"))??;
        tcpw = adopted?;
        Ok(())
    })?;
    tcpw.process.wait_for_line("adopted", SOON)?;
    let mark = tcpw.process.mark();
    sandbox.write_tables("alphad: 1.2.\n", DENY)?;
    tcpw.wait_applied(mark)?;
    assert!(is_allowed(&sandbox, CLIENT_V4_OTHER)?);

    // Stopped cleanly, it is still in force; detach is the one end.
    let mark = tcpw.process.mark();
    sandbox.write_tables("alphad: 1.2.3.\n", DENY)?;
    tcpw.wait_applied(mark)?;
    assert!(tcpw.process.terminate(Duration::from_secs(10))?.success());
    assert!(!is_allowed(&sandbox, CLIENT_V4_OTHER)?);
    let said = Tcpw::command(&sandbox, &["detach"])?;
    ensure!(said.iter().any(|line| line.text.contains("link_gate")), "{said:?}");
    assert!(is_allowed(&sandbox, CLIENT_V4_OTHER)?);
    let is_left = sandbox.mounts().run(|| Ok(fs::exists("/sys/fs/bpf/tcpw")?))?;
    assert!(!is_left, "pins are left");
    Ok(())
}

/// A restart in the middle of an edit must not trade a good pinned policy for a broken one.
#[test]
fn restart_with_bad_tables_keeps_the_pinned_policy() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = Sandbox::new("restart")?;
    sandbox.write_tables("alphad: 1.2.3.\n", DENY)?;
    let _alphad = Testd::start(&sandbox, "alphad", "0.0.0.0:7001")?;
    Tcpw::start(&sandbox, &["--pin"])?.process.kill_9()?;
    // A table that a flag names must exist; a configured one may vanish.
    let config = sandbox.scratch().join("tcpw.toml");
    let settings = format!(
        "hosts-allow = {:?}\nhosts-deny = {:?}\ncgroup = {:?}\nlog = \"stdout\"\npin = true\n",
        sandbox.hosts_allow(),
        sandbox.hosts_deny(),
        sandbox.cgroup()
    );
    fs::write(&config, settings)?;
    for deny in [Some("ALL: ALL"), Some("ALL ALL\n"), None] {
        match deny {
            Some(text) => fs::write(sandbox.hosts_deny(), text)?,
            None => fs::remove_file(sandbox.hosts_deny())?,
        }
        let mut again = Tcpw::spawn_with_config(&sandbox, &config)?;
        assert_eq!(again.wait(START)?.code(), Some(1), "{}", again.tail());
        assert!(again.tail().contains("the pinned policy stays in force"), "{}", again.tail());
        assert!(is_allowed(&sandbox, CLIENT_V4)?);
        assert!(!is_allowed(&sandbox, CLIENT_V4_OTHER)?);
    }
    Tcpw::command(&sandbox, &["detach", "--config", &config.to_string_lossy()])?;
    assert!(is_allowed(&sandbox, CLIENT_V4_OTHER)?);
    Ok(())
}

#[test]
fn start_that_fails_leaves_no_pins() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = Sandbox::new("failed")?;
    sandbox.write_tables("", DENY)?;
    let mut tcpw = Tcpw::spawn(&sandbox, &["--pin", "--log", "file:/nowhere/tcpw.log"])?;
    assert!(!tcpw.wait(START)?.success());
    let is_left = sandbox.mounts().run(|| Ok(fs::exists("/sys/fs/bpf/tcpw")?))?;
    assert!(!is_left, "pins are left");
    Ok(())
}

#[test]
fn enforcement_without_pin_ends_with_the_daemon() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = Sandbox::new("stop")?;
    sandbox.write_tables("", DENY)?;
    let _alphad = Testd::start(&sandbox, "alphad", "0.0.0.0:7001")?;
    let mut tcpw = Tcpw::start(&sandbox, &[])?;
    assert!(!is_allowed(&sandbox, CLIENT_V4)?);
    assert!(tcpw.process.terminate(Duration::from_secs(10))?.success());
    assert!(is_allowed(&sandbox, CLIENT_V4)?);
    Ok(())
}

#[test]
fn running_daemon_detaches_and_ends() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = Sandbox::new("detach")?;
    sandbox.write_tables("", DENY)?;
    let _alphad = Testd::start(&sandbox, "alphad", "0.0.0.0:7001")?;
    let mut tcpw = Tcpw::start(&sandbox, &["--pin"])?;
    assert!(!is_allowed(&sandbox, CLIENT_V4)?);
    Tcpw::command(&sandbox, &["detach"])?;
    assert!(tcpw.process.wait(SOON)?.success());
    assert!(is_allowed(&sandbox, CLIENT_V4)?);
    Ok(())
}

#[test]
fn audit_mode_refuses_nothing_and_says_what_it_would() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = Sandbox::new("audit")?;
    // The second rule cannot be decided by prefixes: its answer comes from user space.
    sandbox.write_tables("alphad: 1.2.3.\nalphad: .77\n", DENY)?;
    let config = sandbox.write_settings("mode = \"audit\"\n")?;
    let _alphad = Testd::start(&sandbox, "alphad", "0.0.0.0:7001")?;
    let mut tcpw = Tcpw::start(&sandbox, &["--config", &config])?;
    tcpw.process.wait_for_line("AUDIT MODE", SOON)?;
    assert!(is_allowed(&sandbox, CLIENT_V4_OTHER)?);
    tcpw.process.wait_for_line("would refuse connect from 1.2.4.4", Duration::from_secs(2))?;
    assert!(tcpw.process.lines().iter().all(|line| !line.text.contains("]: refused connect")));
    Ok(())
}

#[test]
fn exempt_addresses_and_ports_are_never_judged() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = Sandbox::new("exempt")?;
    sandbox.write_tables("", DENY)?;
    let config = sandbox.write_settings("[exempt]\naddresses = [\"1.2.4.0/24\"]\nports = [7002]\n")?;
    let _alphad = Testd::start(&sandbox, "alphad", "0.0.0.0:7001 0.0.0.0:7002")?;
    let _tcpw = Tcpw::start(&sandbox, &["--config", &config])?;
    for (client, port, allowed) in
        [(CLIENT_V4, 7001, false), (CLIENT_V4_OTHER, 7001, true), (CLIENT_V4, 7002, true)]
    {
        let attempt = connect(sandbox.client(), client, SocketAddr::new(SERVER_V4, port), PATIENCE)?;
        assert_eq!(attempt.is_connected(), allowed, "{client} at port {port}");
    }
    Ok(())
}

/// An outcome that prefixes cannot express is decided by user space, before the client sends its SYN again.
#[test]
fn outcome_that_prefixes_cannot_express_is_asked() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = Sandbox::new("ask")?;
    sandbox.write_tables("alphad: *3456\n", DENY)?;
    let _alphad = Testd::start(&sandbox, "alphad", "[::]:7001")?;
    let _tcpw = Tcpw::start(&sandbox, &[])?;
    let server = SocketAddr::new(SERVER_V6, PORT);
    let attempt = |client, timeout| connect(sandbox.client(), client, server, timeout);
    assert!(attempt(CLIENT_V6, PATIENCE)?.is_connected());
    assert!(!attempt(CLIENT_V6_OTHER, Duration::from_secs(3))?.is_connected());
    // Answered once, it is as quick as any other.
    assert!(attempt(CLIENT_V6, PATIENCE)?.is_connected());
    assert!(Tcpw::counters(&sandbox)?["asked"] >= 2);
    Ok(())
}
