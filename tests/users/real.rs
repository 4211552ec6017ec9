//! Debian's own ident server, sshd and nginx.

use std::{
    io::Write as _,
    net::IpAddr,
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;
use nix::unistd::{Uid, setfsuid};
use tcpw_tests::{
    CLIENT_V4, CLIENT_V6, Place, Requirement, SERVER_V4, SERVER_V6, Sandbox, Tcpw, Testd, can_run,
    daemons::{Nginx, SshKey, Sshd, SshdSockets, oidentd},
};

use super::{
    identd::{Identd, Manner},
    seen::{DENY, LO_V4, SOON, Seen, open, see, see_at, see_or_reset},
};

/// uid of Debian's `nobody`.
pub(crate) const NOBODY: u32 = 65534;

fn ready() -> bool {
    let programs = ["/usr/sbin/sshd", "/usr/sbin/nginx", "/usr/sbin/oidentd"].map(Requirement::Program);
    can_run("users", &[Requirement::Root]) && can_run("users", &programs)
}

/// As another user: the socket is his.
pub(crate) fn see_as(sandbox: &Sandbox, uid: u32, client: IpAddr, server: IpAddr, port: u16) -> Result<Seen> {
    let attempt = || {
        setfsuid(Uid::from_raw(uid));
        let connection = open(sandbox, client, server, port).and_then(|mut stream| {
            stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
            Ok(stream)
        });
        see_or_reset(connection)
    };
    thread::scope(|scope| scope.spawn(attempt).join()).map_err(|_| anyhow::anyhow!("panicked"))?
}

pub(crate) fn is_answer(seen: &Seen) -> bool {
    matches!(seen, Seen::Bytes(text) if text.starts_with("SSH-2.0-OpenSSH") || text.starts_with("HTTP/1.1 200"))
}

#[test]
fn oidentd_tells_one_user_from_another_for_sshd_and_nginx() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = Sandbox::new("oidentd")?;
    sandbox.write_tables("sshd nginx: root@ALL\n", DENY)?;
    let key = SshKey::generate(&sandbox)?;
    let dual = Sshd::start(&sandbox, &key, 2201, SshdSockets::DualStack)?;
    let split = Sshd::start(&sandbox, &key, 2202, SshdSockets::PerFamily)?;
    let nginx = Nginx::start(&sandbox, 8001)?;
    let _there = oidentd(&sandbox, Place::Client)?;
    let _here = oidentd(&sandbox, Place::Server)?;
    let mut tcpw = Tcpw::start(&sandbox, &["--log-allowed"])?;
    for port in [dual.port, split.port, nginx.port] {
        for (client, server) in [(CLIENT_V4, SERVER_V4), (CLIENT_V6, SERVER_V6), (LO_V4, LO_V4)] {
            let seen = see_as(&sandbox, 0, client, server, port)?;
            assert!(is_answer(&seen), "root of {client} at {port}: {seen:?}");
            let seen = see_as(&sandbox, NOBODY, client, server, port)?;
            assert_eq!(seen, Seen::Reset, "nobody of {client} at {port}");
        }
    }
    let end = format!(" sshd[{}]: refused connect from nobody@1.2.3.4 (1.2.3.4)", split.process.pid());
    tcpw.process.wait_for_line(&end, SOON)?;
    let end = format!(" sshd[{}]: connect from root@::ffff:1.2.3.4 (::ffff:1.2.3.4)", dual.process.pid());
    tcpw.process.wait_for_line(&end, SOON)?;
    // Not a banner alone: a session.
    let printed = key.log_in(&sandbox, CLIENT_V4, SERVER_V4, split.port, "echo in")?;
    assert_eq!(printed, "in");
    Ok(())
}

#[test]
fn banner_of_sshd_waits() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = Sandbox::new("user-banner")?;
    sandbox.write_tables("sshd nginx: root@ALL\n", DENY)?;
    let key = SshKey::generate(&sandbox)?;
    let sshd = Sshd::start(&sandbox, &key, 2201, SshdSockets::PerFamily)?;
    let nginx = Nginx::start(&sandbox, 8001)?;
    let slowly = Duration::from_millis(1500);
    let reply = b"%p:USERID:UNIX:root\r\n".to_vec();
    let _identd = Identd::start(sandbox.client(), Manner::Slowly(slowly, reply))?;
    let _tcpw = Tcpw::start(&sandbox, &[])?;
    for port in [sshd.port, nginx.port] {
        let began = Instant::now();
        let mut stream = open(&sandbox, CLIENT_V4, SERVER_V4, port)?;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
        assert_eq!(see(&mut stream, Duration::from_secs(1))?, Seen::Nothing, "port {port}");
        let seen = see(&mut stream, SOON)?;
        assert!(is_answer(&seen), "port {port}: {seen:?}");
        assert!(began.elapsed() >= slowly, "port {port}: {:?}", began.elapsed());
    }
    Ok(())
}

/// The ident server is guarded by the same rules: tcpw's own question is not asked about in turn.
#[test]
fn guarded_ident_server_is_no_deadlock() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = Sandbox::new("user-own")?;
    sandbox.write_tables("ALL: root@ALL\n", DENY)?;
    let _alphad = Testd::start(&sandbox, "alphad", "[::]:7001")?;
    let _identd = oidentd(&sandbox, Place::Guarded)?;
    let mut tcpw = Tcpw::start(&sandbox, &[])?;
    let began = Instant::now();
    // The look-up's user is unknown, so it is refused, so the client's user is unknown.
    assert_eq!(see_at(&sandbox, LO_V4, LO_V4, 7001)?, Seen::Reset);
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    assert!(Tcpw::counters(&sandbox)?["users_own"] >= 1);
    let mark = tcpw.process.mark();
    sandbox.write_tables("oidentd: ALL\nALL: root@ALL\n", DENY)?;
    tcpw.wait_applied(mark)?;
    assert!(see_at(&sandbox, LO_V4, LO_V4, 7001)?.is_greeting());
    Ok(())
}
