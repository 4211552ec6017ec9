//! Side effects: commands for refused and for allowed clients, by a process without rights.

#[path = "effects/flood.rs"]
mod flood;
#[path = "effects/hostile.rs"]
mod hostile;
#[path = "effects/mail.rs"]
mod mail;
#[path = "effects/place.rs"]
mod place;

use std::{fs, net::SocketAddr, os::unix::fs::MetadataExt as _, thread, time::Duration};

use anyhow::Result;
use place::{Place, SOON, has_mail, ready};
use tcpw_tests::{
    Barrier, CLIENT_V4, CLIENT_V4_OTHER, CLIENT_V6, CLIENT_V6_OTHER, Requirement, SERVER_V4, SERVER_V6, Tcpw,
    Testd, can_run,
    client::connect,
    daemons::{Nginx, SshKey, Sshd, SshdSockets},
};

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
            "markerd: ALL\nALL: ALL: setenv WHO %h: setenv LEFT a b: nice 7: umask 077: severity local3.notice: \
             spawn (echo \"$WHO %a %d %A %r %R $LEFT `nice` `umask` `pwd` `id -un`\" >> {out}/said)\n"
        ),
    )?;
    let alphad = Testd::start(&place.sandbox, "alphad", "[::]:7001")?;
    let barrier = Barrier::start(&place.sandbox)?;
    let mut tcpw = place.tcpw("", &[])?;
    // Long enough for two retransmits.
    let server = SocketAddr::new(SERVER_V4, 7001);
    let slow = connect(place.sandbox.client(), CLIENT_V4, server, Duration::from_millis(2500))?;
    assert!(!slow.is_connected());
    assert!(!place.attempt(CLIENT_V6, 7001)?);
    let mut lines = place.lines("said", 2)?;
    // Behind the marker's line each command that is due has been started.
    barrier.pass(&place.sandbox, &mut tcpw)?;
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
    assert_eq!(file.mode() & 0o777, 0o600);
    let counters = Tcpw::counters(&place.sandbox)?;
    assert_eq!((counters["commands_run"], counters["refused"]), (2, 2 + 1), "and the marker: {counters:?}");
    assert!(counters["retransmits"] >= 1, "{counters:?}");
    let _ = (alphad, tcpw.process.is_running());
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
    let barrier = Barrier::start(&place.sandbox)?;
    let key = SshKey::generate(&place.sandbox)?;
    let sshd = Sshd::start(&place.sandbox, &key, 2201, SshdSockets::DualStack)?;
    let nginx = Nginx::start(&place.sandbox, 8001)?;
    let mut tcpw = place.tcpw("", &["--pin"])?;
    let mark = tcpw.process.mark();
    place.sandbox.write_tables(&allow, "ALL: ALL\n")?;
    tcpw.wait_applied(mark)?;
    let mut expected: Vec<String> = Vec::new();
    let mut rounds = |tcpw: &mut Tcpw, rounds: usize| -> Result<()> {
        let run_before = Tcpw::counters(&place.sandbox)?["commands_run"];
        for _ in 0..rounds {
            for (client, port, said) in [
                (CLIENT_V4, sshd.port, Some("sshd 1.2.3.4")),
                (CLIENT_V6, sshd.port, Some("sshd 3ffe:ffff:100:200:212:34ff:fe12:3456")),
                // Its answer is cached: the command is run for each connection all the same.
                (CLIENT_V4, nginx.port, Some("nginx 1.2.3.4")),
                (CLIENT_V4_OTHER, nginx.port, None),
            ] {
                assert!(place.is_let_in(client, port)?, "{client} to {port}");
                expected.extend(said.map(str::to_owned));
            }
        }
        expected.sort();
        let mut lines = place.lines("in", expected.len())?;
        // Behind the marker's line each command that is due has been started.
        barrier.pass(&place.sandbox, tcpw)?;
        let run = Tcpw::counters(&place.sandbox)?["commands_run"] - run_before;
        assert_eq!(run, 3 * u64::try_from(rounds)?);
        assert_eq!(place.lines("in", 0)?.len(), lines.len());
        lines.sort();
        assert_eq!(lines, expected);
        Ok(())
    };
    rounds(&mut tcpw, 2)?;
    // Another daemon takes over what is pinned, and with it what is watched.
    tcpw.process.kill_9()?;
    let mut tcpw = place.tcpw("", &["--pin"])?;
    rounds(&mut tcpw, 1)?;
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
    let barrier = Barrier::start(&place.sandbox)?;
    place.sandbox.write_tables(&line.replace("1.2.3.", "1.2.4."), &line)?;
    let _alphad = Testd::start(&place.sandbox, "alphad", "[::]:7001")?;
    let settings = place.sandbox.scratch().join("audit.toml");
    fs::write(&settings, "mode = \"audit\"\n")?;
    let mut tcpw = Tcpw::start(&place.sandbox, &["--config", &settings.to_string_lossy()])?;
    assert!(place.is_let_in(CLIENT_V4, 7001)? && place.is_let_in(CLIENT_V4_OTHER, 7001)?);
    tcpw.process.wait_for_line("would refuse connect from", SOON)?;
    barrier.pass(&place.sandbox, &mut tcpw)?;
    assert_eq!(Tcpw::counters(&place.sandbox)?["commands_run"], 0);
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
    let mut tcpw = place.tcpw("time-limit = 5\nper-minute-and-source = 100\n", &[])?;
    // Before its SYN comes again.
    let attempt = |client, port| place.attempt_within(client, port, Duration::from_millis(900));
    let open = place.out.join("open");
    for round in 0..3 {
        assert!(!attempt(CLIENT_V4, 7001)?, "round {round}");
        assert!(place.is_let_in(CLIENT_V4_OTHER, 7002)?, "round {round}: in hosts.deny a failure lets in");
        fs::write(&open, "")?;
        assert!(place.is_let_in(CLIENT_V4, 7001)?, "round {round}");
        assert!(!attempt(CLIENT_V4_OTHER, 7002)?, "round {round}");
        fs::remove_file(&open)?;
    }
    assert!(!attempt(CLIENT_V6, 7001)?, "the rule is not its own");
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

/// It was given while the old policy's command ran; the new one's says no.
#[test]
fn answer_of_a_policy_that_is_gone_lets_nobody_in() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let place = Place::new("oldanswer")?;
    let out = place.out.display();
    let deny = "ALL: ALL\n";
    place.sandbox.write_tables(&format!("alphad: ALL: aclexec echo >> {out}/began; sleep 2\n"), deny)?;
    let _alphad = Testd::start(&place.sandbox, "alphad", "[::]:7001")?;
    let mut tcpw = place.tcpw("", &[])?;
    thread::scope(|scope| {
        let attempt = scope.spawn(|| place.attempt_within(CLIENT_V4, 7001, Duration::from_secs(8)));
        place.lines("began", 1)?;
        let mark = tcpw.process.mark();
        let rule = format!("alphad: ALL: aclexec echo >> {out}/asked; false\n");
        place.sandbox.write_tables(&rule, deny)?;
        tcpw.wait_applied(mark)?;
        let is_let_in = attempt.join().map_err(|_panic| anyhow::anyhow!("a client panicked"))??;
        anyhow::ensure!(!is_let_in, "by the old policy's command");
        place.lines("asked", 1)?;
        Ok(())
    })
}
