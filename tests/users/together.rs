//! Users beside names, commands and options: one rule with all of them.

use std::{
    fs,
    net::{IpAddr, TcpStream},
    process::Command,
    time::Duration,
};

use anyhow::{Result, ensure};
use tcpw_tests::{
    CLIENT_V4, CLIENT_V4_OTHER, CLIENT_V6, Commands, Place, Requirement, SERVER_V4, SERVER_V6, Sandbox, Tcpw,
    Testd, can_run,
    daemons::{Nginx, SshKey, Sshd, SshdSockets, Unbound, Zones, oidentd},
    wait_until,
};

use super::{
    identd::{Identd, Manner},
    ready,
    real::{NOBODY, is_answer, see_as},
    seen::{DENY, SOON, Seen, open, see, see_at},
};

/// Name and user, from real servers, for real daemons.
#[test]
fn user_of_a_host_by_name_for_sshd_and_nginx() -> Result<()> {
    let programs = ["/usr/sbin/sshd", "/usr/sbin/nginx", "/usr/sbin/oidentd", "/usr/sbin/unbound"]
        .map(Requirement::Program);
    if !ready() || !can_run("users", &programs) {
        return Ok(());
    }
    let sandbox = Sandbox::new("user-name")?;
    sandbox.write_tables("sshd nginx: root@.example.test\n", DENY)?;
    let mut zones = Zones::default();
    zones.host("good", CLIENT_V4);
    zones.host("good6", CLIENT_V6);
    // Somebody else's name.
    zones.pointer(CLIENT_V4_OTHER, "good.example.test.");
    let unbound = Unbound::start(&sandbox, &zones)?;
    unbound.delay(Some(Duration::from_millis(20)));
    let key = SshKey::generate(&sandbox)?;
    let sshd = Sshd::start(&sandbox, &key, 2201, SshdSockets::DualStack)?;
    let nginx = Nginx::start(&sandbox, 8001)?;
    let _there = oidentd(&sandbox, Place::Client)?;
    let mut tcpw = Tcpw::start(&sandbox, &["--log-allowed"])?;
    for port in [sshd.port, nginx.port] {
        for (client, server) in [(CLIENT_V4, SERVER_V4), (CLIENT_V6, SERVER_V6)] {
            let seen = see_as(&sandbox, 0, client, server, port)?;
            ensure!(is_answer(&seen), "root of {client} at {port}: {seen:?}");
            assert_eq!(
                see_as(&sandbox, NOBODY, client, server, port)?,
                Seen::Reset,
                "nobody of {client} at {port}"
            );
        }
        // His name does not lead back: he is refused before anybody asks for a user.
        let attempt = tcpw_tests::client::connect(
            sandbox.client(),
            CLIENT_V4_OTHER,
            (SERVER_V4, port).into(),
            Duration::from_millis(700),
        )?;
        assert!(!attempt.is_connected(), "port {port}");
    }
    for line in [
        format!(" sshd[{}]: connect from root@good.example.test (::ffff:1.2.3.4)", sshd.process.pid()),
        format!(
            " sshd[{}]: refused connect from nobody@good.example.test (::ffff:1.2.3.4)",
            sshd.process.pid()
        ),
        ": connect from root@good6.example.test (3ffe:ffff:100:200:212:34ff:fe12:3456)".into(),
        ": refused connect from nobody@good.example.test (1.2.3.4)".into(),
        ": refused connect from 1.2.4.4 (1.2.4.4)".into(),
    ] {
        let found = tcpw.process.wait_for_line(&line, SOON)?.text;
        ensure!(found.ends_with(&line), "{found}");
    }
    let counters = Tcpw::counters(&sandbox)?;
    ensure!(counters["disagreements"] == 0 && counters["users_asked_for"] == 8, "{counters:?}");
    Ok(())
}

/// What a rule looked up is in its commands' words.
#[test]
fn command_is_told_name_and_user() -> Result<()> {
    if !ready() || !can_run("users", &[Requirement::Program("/usr/sbin/unbound")]) {
        return Ok(());
    }
    let sandbox = Sandbox::new("user-spawn")?;
    let commands = Commands::prepare(&sandbox, 64201)?;
    let out = commands.out.display();
    let spawn = format!("spawn echo \"%u %h %n %c %a %d %s %A %H %N\" >> {out}");
    sandbox.write_tables(
        &format!("alphad@server.example.test: root@.example.test: {spawn}/in\n"),
        &format!("ALL: ALL: {spawn}/refused\n"),
    )?;
    let mut zones = Zones::default();
    zones.host("good", CLIENT_V4);
    zones.host("server", SERVER_V4);
    let _unbound = Unbound::start(&sandbox, &zones)?;
    let _alphad = Testd::start(&sandbox, "alphad", "0.0.0.0:7001")?;
    let identd = Identd::start(sandbox.client(), Manner::user(b"root"))?;
    let settings = commands.settings(&sandbox, "")?;
    let _tcpw = Tcpw::start(&sandbox, &["--config", &settings.to_string_lossy()])?;
    assert!(see_at(&sandbox, CLIENT_V4, SERVER_V4, 7001)?.is_greeting());
    identd.becomes(Manner::user(b"mallory"));
    assert_eq!(see_at(&sandbox, CLIENT_V4, SERVER_V4, 7001)?, Seen::Reset);
    for (file, user) in [("in", "root"), ("refused", "mallory")] {
        let host = "good.example.test";
        let server = "1.2.3.1 server.example.test server.example.test";
        let want =
            format!("{user} {host} {host} {user}@{host} 1.2.3.4 alphad alphad@server.example.test {server}");
        assert_eq!(commands.lines(file, 1, SOON)?, [want]);
    }
    Ok(())
}

/// The command is run while the SYN is held, the user asked for once there is a connection: that is one attempt.
#[test]
fn command_that_decides_runs_once_though_a_user_is_asked_for_behind_it() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = Sandbox::new("user-aclexec")?;
    let commands = Commands::prepare(&sandbox, 64202)?;
    let out = commands.out.display();
    sandbox.write_tables(
        &format!(
            "alphad: 1.2.3.: aclexec echo %a >> {out}/asked; test -e {out}/open: rfc931 5: spawn echo in %u >> {out}/said\n\
             betad: root@ALL: aclexec echo %u >> {out}/asked-root\n"
        ),
        &format!("ALL: ALL: spawn echo refused %u >> {out}/said\n"),
    )?;
    let _alphad = Testd::start(&sandbox, "alphad", "0.0.0.0:7001")?;
    let _betad = Testd::start(&sandbox, "betad", "0.0.0.0:7002")?;
    let _identd = Identd::start(sandbox.client(), Manner::user(b"root"))?;
    let settings = commands.settings(&sandbox, "per-minute-and-source = 100\n")?;
    let mut tcpw = Tcpw::start(&sandbox, &["--log-allowed", "--config", &settings.to_string_lossy()])?;
    fs::write(commands.out.join("open"), "")?;
    for round in 1..=3 {
        let mark = tcpw.process.mark();
        let seen = see_at(&sandbox, CLIENT_V4, SERVER_V4, 7001)?;
        ensure!(seen.is_greeting(), "{seen:?}: {:?}\n{}", Tcpw::counters(&sandbox)?, tcpw.process.tail());
        tcpw.process.wait_for_line_after(mark, ": connect from root@1.2.3.4 (1.2.3.4)", SOON)?;
        assert!(see_at(&sandbox, CLIENT_V4, SERVER_V4, 7002)?.is_greeting());
        commands.lines("said", round, SOON)?;
    }
    Tcpw::wait_counter(&sandbox, "commands_run", 9, SOON)?;
    assert_eq!(commands.lines("asked", 3, SOON)?, ["1.2.3.4"; 3], "one run for one attempt");
    assert_eq!(commands.lines("asked-root", 3, SOON)?, ["root"; 3]);
    assert_eq!(commands.lines("said", 3, SOON)?, ["in root"; 3]);
    fs::remove_file(commands.out.join("open"))?;
    let lines = |tcpw: &Tcpw| {
        tcpw.process.lines().iter().filter(|line| line.text.contains("connect from root@")).count()
    };
    let counters = Tcpw::counters(&sandbox)?;
    assert_eq!((counters["commands_run"], lines(&tcpw)), (9, 6), "{counters:?}");
    assert_eq!(counters["disagreements"], 0, "{counters:?}");
    Ok(())
}

#[test]
fn keepalive_is_set_once_the_user_is_known() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = Sandbox::new("user-keepalive")?;
    sandbox.write_tables("alphad: root@ALL: keepalive\nalphad: alice@ALL\n", DENY)?;
    let _alphad = Testd::start(&sandbox, "alphad", "--tell [::]:7001")?;
    let identd = Identd::start(sandbox.client(), Manner::user(b"root"))?;
    let _tcpw = Tcpw::start(&sandbox, &[])?;
    let ends: [(IpAddr, IpAddr); 2] = [(CLIENT_V4, SERVER_V4), (CLIENT_V6, SERVER_V6)];
    for (client, server) in ends {
        // alice's is the earlier one: once root's has its timer, no more is to come.
        let [alice, root] = [&b"alice"[..], b"root"].map(|user| -> Result<TcpStream> {
            identd.becomes(Manner::user(user));
            let mut stream = open(&sandbox, client, server, 7001)?;
            assert!(see(&mut stream, SOON)?.is_greeting());
            Ok(stream)
        });
        let (alice, root) = (alice?, root?);
        wait_until(&format!("{client}: keepalive"), SOON, || {
            has_keepalive(&sandbox, root.local_addr()?.port())
        })?;
        assert!(!has_keepalive(&sandbox, alice.local_addr()?.port())?, "{client}");
    }
    Ok(())
}

/// Whether the server's socket of a connection has its timer.
fn has_keepalive(sandbox: &Sandbox, client_port: u16) -> Result<bool> {
    let mut ss = Command::new("ss");
    ss.args(["-Htno", "state", "established", &format!("dport = :{client_port}")]);
    let lines = sandbox.run(Place::Server, ss, SOON)?.lines();
    ensure!(lines.len() == 1, "{lines:?}");
    Ok(lines[0].text.contains("timer:(keepalive"))
}
