//! The seed's tables over Debian's real daemons: sshd, nginx, xinetd; lines through a real rsyslog.

use std::{
    net::{IpAddr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use tcpw_tests::{
    CLIENT_V4, CLIENT_V4_OTHER, CLIENTS, Requirement, SERVER_V4, Sandbox, Tcpw, can_run,
    client::{Attempt, connect},
    daemons::{Nginx, Rsyslog, SshKey, Sshd, SshdSockets, Xinetd},
    wait_until,
};

const SEED_ALLOW: &str = "\
sshd:           1.2.3. [3ffe:ffff:100:200::]/64
daytime-stream: 1.2.3. [3ffe:ffff:100:200::]/64
";
const SEED_DENY: &str = "ALL: ALL\n";

const PATIENCE: Duration = Duration::from_millis(900);
const SOON: Duration = Duration::from_secs(10);

fn ready() -> bool {
    let programs = ["/usr/sbin/sshd", "/usr/sbin/nginx", "/usr/sbin/xinetd", "/usr/sbin/rsyslogd"]
        .map(Requirement::Program);
    can_run("daemons", &[Requirement::Root]) && can_run("daemons", &programs)
}

fn attempt(sandbox: &Sandbox, client: IpAddr, server: IpAddr, port: u16) -> Result<Attempt> {
    connect(sandbox.client(), client, SocketAddr::new(server, port), PATIENCE)
}

#[test]
fn sshd_on_every_kind_of_socket_and_nginx_obey_the_seeds_tables() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = Sandbox::new("sshd")?;
    sandbox.write_tables(SEED_ALLOW, SEED_DENY)?;
    let key = SshKey::generate(&sandbox)?;
    let dual = Sshd::start(&sandbox, &key, 2201, SshdSockets::DualStack)?;
    let mut tcpw = Tcpw::start(&sandbox, &["--log-allowed"])?;
    let mut split = Sshd::start(&sandbox, &key, 2202, SshdSockets::PerFamily)?;
    let nginx = Nginx::start(&sandbox, 8001)?;
    for (client, server, allowed) in CLIENTS {
        for port in [dual.port, split.port] {
            let mut attempt = attempt(&sandbox, client, server, port)?;
            assert_eq!(attempt.is_connected(), allowed, "{client} to sshd at {port}");
            if allowed {
                assert!(attempt.greeting(SOON).starts_with("SSH-2.0-OpenSSH"), "{client} to sshd at {port}");
            }
        }
        assert!(!attempt(&sandbox, client, server, nginx.port)?.is_connected(), "{client} to nginx");
    }
    let local = IpAddr::V6(Ipv6Addr::LOCALHOST);
    let attempt = connect(sandbox.server(), local, SocketAddr::new(local, dual.port), PATIENCE)?;
    assert!(!attempt.is_connected(), "loopback is no exception");

    // The lines of the seed: the mapped spelling on the dual-stack socket, ident and pid of the listener.
    for (process, spelled) in [(&dual.process, "::ffff:1.2.4.4"), (&split.process, "1.2.4.4")] {
        let end = format!(" sshd[{}]: refused connect from {spelled} ({spelled})", process.pid());
        tcpw.process.wait_for_line(&end, SOON)?;
    }
    let end = format!(" nginx[{}]: refused connect from 1.2.3.4 (1.2.3.4)", nginx.process.pid());
    tcpw.process.wait_for_line(&end, SOON)?;
    let end = format!(" sshd[{}]: connect from 1.2.3.4 (1.2.3.4)", split.process.pid());
    tcpw.process.wait_for_line(&end, SOON)?;

    let printed = key.log_in(&sandbox, CLIENT_V4, SERVER_V4, split.port, "echo in")?;
    assert_eq!(printed, "in");
    split.process.wait_for_line("Accepted publickey for root from 1.2.3.4", SOON)?;
    Ok(())
}

#[test]
fn xinetds_service_obeys_the_seeds_rule_as_written() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    obeys_the_seeds_rule("xinetd", true)?;
    obeys_the_seeds_rule("xinetd-later", false)
}

fn obeys_the_seeds_rule(name: &str, xinetd_is_first: bool) -> Result<()> {
    let sandbox = Sandbox::new(name)?;
    sandbox.write_tables(SEED_ALLOW, SEED_DENY)?;
    let rsyslog = Rsyslog::start(&sandbox)?;
    let before = xinetd_is_first.then(|| Xinetd::start(&sandbox, 1301)).transpose()?;
    let tcpw = Tcpw::start(&sandbox, &["--log", "syslog", "--log-allowed"])?;
    let xinetd = match before {
        Some(xinetd) => xinetd,
        None => {
            let xinetd = Xinetd::start(&sandbox, 1301)?;
            // Its names come from its configuration, milliseconds after listen(2).
            Tcpw::wait_listener(&sandbox, xinetd.port, |row| {
                row["names"].to_string().contains("daytime-stream")
            })?;
            xinetd
        }
    };
    for (client, server, allowed) in CLIENTS {
        let mut attempt = attempt(&sandbox, client, server, xinetd.port)?;
        assert_eq!(attempt.is_connected(), allowed, "{client}");
        if allowed {
            assert!(attempt.greeting(SOON).contains("20"), "{client} is told the time");
        }
    }
    let pid = xinetd.process.pid();
    let host = nix::unistd::gethostname()?.to_string_lossy().split('.').next().unwrap_or_default().to_owned();
    for message in [
        "FAIL: daytime-stream libwrap from=::ffff:1.2.4.4",
        "FAIL: daytime-stream libwrap from=3ffe:ffff:100:201::1",
        "START: daytime-stream pid=0 from=::ffff:1.2.3.4",
        "START: daytime-stream pid=0 from=3ffe:ffff:100:200:212:34ff:fe12:3456",
    ] {
        let line = rsyslog.wait_for_secure(message, SOON)?;
        ensure!(line.ends_with(&format!(" {host} xinetd-ipv6[{pid}]: {message}")), "{line}");
    }
    let status = Tcpw::command(&sandbox, &["status"])?;
    let line = status.iter().find(|line| line.text.contains("daytime-stream")).map(|line| line.text.as_str());
    ensure!(
        line.is_some_and(|line| ["xinetd.conf", "xinetd-ipv6", "written", &pid.to_string()]
            .iter()
            .all(|it| line.contains(it))),
        "{status:#?}"
    );
    drop(tcpw);
    Ok(())
}

#[test]
fn refused_line_reaches_a_file_and_the_secure_log() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = Sandbox::new("secure")?;
    sandbox.write_tables(SEED_ALLOW, "ALL: ALL: severity local3.alert\n")?;
    let rsyslog = Rsyslog::start(&sandbox)?;
    let key = SshKey::generate(&sandbox)?;
    let sshd = Sshd::start(&sandbox, &key, 2201, SshdSockets::PerFamily)?;
    let file = sandbox.scratch().join("log/tcpw.log");
    let inside = "file:/var/log/tcpw.log";
    for (target, allow_secure) in [(inside, false), ("syslog", true)] {
        let mut tcpw = Tcpw::start(&sandbox, &["--log", target])?;
        attempt(&sandbox, CLIENT_V4_OTHER, SERVER_V4, sshd.port)?;
        let end = format!(" sshd[{}]: refused connect from 1.2.4.4 (1.2.4.4)", sshd.process.pid());
        if allow_secure {
            // The rule's severity sends it elsewhere than authpriv.
            let line = rsyslog.wait_for_message("refused connect from 1.2.4.4", SOON)?;
            ensure!(line.ends_with(&end), "{line}");
        } else {
            wait_until("the line is in the file", SOON, || {
                Ok(std::fs::read_to_string(&file).is_ok_and(|text| text.ends_with(&format!("{end}\n"))))
            })
            .with_context(|| format!("{:?}", std::fs::read_to_string(&file)))?;
        }
        tcpw.process.terminate(SOON)?;
    }
    Ok(())
}
