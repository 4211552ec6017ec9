//! Held first, then refused at once: by a name, and by a command.

use std::process::Command;

use tcpw_tests::{
    client::connect_from,
    daemons::{SshKey, Sshd, SshdSockets, Unbound, Zones},
};

use super::*;

const PORT: u16 = 2201;

/// sshd on a socket for each family or on one for both, and a key for it.
fn sshd(sandbox: &Sandbox, sockets: SshdSockets) -> Result<(SshKey, Sshd)> {
    let key = SshKey::generate(sandbox)?;
    let sshd = Sshd::start(sandbox, &key, PORT, sockets)?;
    Ok((key, sshd))
}

/// Refused, and not left to wait: an emulated machine takes longer than a client does to send its SYN again.
#[track_caller]
fn assert_refused(attempt: &Attempt) {
    assert!(matches!(attempt.ended, Ended::Refused), "{attempt:?}");
}

fn has_sshd(more: &[&'static str]) -> bool {
    let programs = ["/usr/sbin/sshd"].iter().chain(more).map(|program| Requirement::Program(program));
    ready() && can_run("held and refused", &programs.collect::<Vec<_>>())
}

#[test]
fn client_refused_by_its_name_is_reset_and_logged_once() -> Result<()> {
    if !has_sshd(&["/usr/sbin/unbound"]) {
        return Ok(());
    }
    let sandbox = Sandbox::new("reset-name")?;
    sandbox.write_tables("sshd: good.example.test\n", "markerd: ALL\nALL: .example.test\nALL: UNKNOWN\n")?;
    let mut zones = Zones::default();
    zones.host("good", CLIENT_V4);
    zones.host("other", CLIENT_V4_OTHER);
    let _unbound = Unbound::start(&sandbox, &zones)?;
    let (key, sshd) = sshd(&sandbox, SshdSockets::PerFamily)?;
    let mut tcpw = start(&sandbox, "")?;
    // The second time the name is remembered.
    for _round in 0..2 {
        assert_refused(&patient(&sandbox, CLIENT_V4_OTHER, SERVER_V4, PORT)?);
        assert_refused(&patient(&sandbox, CLIENT_V6_OTHER, SERVER_V6, PORT)?);
        assert_connected(&patient(&sandbox, CLIENT_V4, SERVER_V4, PORT)?);
    }
    assert_eq!(key.log_in(&sandbox, CLIENT_V4, SERVER_V4, PORT, "echo in")?, "in");
    let counters = Tcpw::counters(&sandbox)?;
    let lines = refused_lines(&sandbox, &mut tcpw)?;
    let pid = sshd.process.pid();
    let by_name = format!(" sshd[{pid}]: refused connect from other.example.test (1.2.4.4)");
    assert_eq!(lines.iter().filter(|line| line.ends_with(&by_name)).count(), 2, "{lines:#?}");
    assert_eq!(lines.len(), 4, "{lines:#?}");
    assert_eq!(
        (counters["reset"], counters["refused"], counters["disagreements"]),
        (4, 4, 0),
        "{counters:?}"
    );
    assert_eq!(Tcpw::counters(&sandbox)?["disagreements"], 0);
    Ok(())
}

/// A directory the commands may write to, and the settings that say so.
fn commands(sandbox: &Sandbox) -> Result<(std::path::PathBuf, String)> {
    let out = sandbox.scratch().join("out");
    fs::create_dir(&out)?;
    std::os::unix::fs::chown(&out, Some(65534), Some(65534))?;
    let settings = format!(
        "[effects]\nuser = \"nobody\"\nwritable = [{out:?}, \"/tmp\", \"/var/tmp\"]\nper-minute-and-source = 100\n"
    );
    Ok((out, settings))
}

fn runs(out: &std::path::Path) -> usize {
    fs::read_to_string(out.join("runs")).unwrap_or_default().lines().count()
}

#[test]
fn client_refused_by_aclexec_is_reset_and_its_next_attempt_is_asked_for_anew() -> Result<()> {
    if !has_sshd(&[]) {
        return Ok(());
    }
    let sandbox = Sandbox::new("reset-aclexec")?;
    let (out, settings) = commands(&sandbox)?;
    let (runs_file, open) = (out.join("runs"), out.join("open"));
    let rule = format!("sshd: ALL: aclexec echo >> {}; test -e {}\n", runs_file.display(), open.display());
    sandbox.write_tables(&rule, DENY)?;
    let (key, sshd) = sshd(&sandbox, SshdSockets::DualStack)?;
    let mut tcpw = start(&sandbox, &settings)?;
    let clients = [(CLIENT_V4, SERVER_V4), (CLIENT_V6, SERVER_V6)];
    let from = |(client, server): (IpAddr, IpAddr)| {
        let (client, server) = (SocketAddr::new(client, 40001), SocketAddr::new(server, PORT));
        connect_from(sandbox.client(), client, server, SOON)
    };
    for round in 1..=3 {
        // From the same port as before.
        for client in clients {
            assert_refused(&from(client)?);
        }
        assert_eq!(runs(&out), 2 * round, "round {round}");
    }
    fs::write(&open, "")?;
    for client in clients {
        assert_connected(&from(client)?);
    }
    assert_eq!(key.log_in(&sandbox, CLIENT_V4, SERVER_V4, PORT, "echo in")?, "in");
    fs::remove_file(&open)?;
    let mut ssh = Command::new("ssh");
    ssh.args(["-F", "none", "-o", "BatchMode=yes", "-o", "ConnectTimeout=5", "-b", "1.2.4.4"]);
    ssh.args(["-p", &PORT.to_string(), "root@1.2.3.1"]);
    let mut ssh = sandbox.spawn(Place::Client, ssh)?;
    ssh.wait(SOON)?;
    assert!(ssh.tail().contains("Connection refused"), "{}", ssh.tail());
    let counters = Tcpw::counters(&sandbox)?;
    let lines = refused_lines(&sandbox, &mut tcpw)?;
    assert_eq!(lines.len(), 7, "{lines:#?}");
    let wanted =
        format!(" sshd[{}]: refused connect from ::ffff:1.2.3.4 (::ffff:1.2.3.4)", sshd.process.pid());
    assert!(lines[0].ends_with(&wanted), "{lines:#?}");
    assert_eq!(
        (counters["reset"], counters["refused"], counters["disagreements"]),
        (7, 7, 0),
        "{counters:?}"
    );
    assert_eq!(Tcpw::counters(&sandbox)?["disagreements"], 0);
    Ok(())
}

/// The client sends its SYN again: the gate knows the attempt.
#[test]
fn reset_that_is_lost_makes_no_second_attempt() -> Result<()> {
    if !ready() || !can_run("lost reset", &[Requirement::Program("/usr/sbin/nft")]) {
        return Ok(());
    }
    let sandbox = Sandbox::new("reset-lost")?;
    let (out, settings) = commands(&sandbox)?;
    let rule = format!("alphad: ALL: aclexec echo >> {}; false\n", out.join("runs").display());
    sandbox.write_tables(&rule, DENY)?;
    let _alphad = Testd::start(&sandbox, "alphad", "[::]:7001")?;
    let mut tcpw = start(&sandbox, &settings)?;
    assert_refused(&patient(&sandbox, CLIENT_V4, SERVER_V4, 7001)?);
    let drops =
        "table inet lost { chain in { type filter hook input priority 0; tcp flags & rst == rst drop; }; }";
    sandbox.client().run(|| {
        let done = Command::new("/usr/sbin/nft").arg(drops).status()?;
        ensure!(done.success(), "nft: {done}");
        Ok(())
    })?;
    let server = SocketAddr::new(SERVER_V4, 7001);
    let lost = connect(sandbox.client(), CLIENT_V4, server, Duration::from_millis(3500))?;
    assert_dropped(&lost);
    let counters = Tcpw::counters(&sandbox)?;
    assert_eq!((refused_lines(&sandbox, &mut tcpw)?.len(), runs(&out)), (2, 2));
    assert_eq!((counters["reset"], counters["refused"]), (2, 2), "{counters:?}");
    assert!(counters["retransmits"] >= 2, "{counters:?}");
    Ok(())
}
