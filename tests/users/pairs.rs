//! The same replies to the real libwrap: tcpd under xinetd, in the same network namespace.

use std::{
    io::Write as _,
    net::{IpAddr, SocketAddr, TcpStream},
    os::fd::AsRawFd as _,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};
use nix::{
    errno::Errno,
    sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, SockaddrStorage, bind, connect, socket},
};
use tcpw_tests::{
    CLIENT_V4, CLIENT_V6, Requirement, SERVER_V4, SERVER_V6, Sandbox, Tcpw, Testd, can_run, daemons::Tcpd,
};

use super::{
    identd::{Identd, Manner},
    seen::{DENY, Seen, see_or_reset},
};

const OURS: u16 = 7001;
const THEIRS: u16 = 7101;

/// What the ident server does.
fn manners() -> Vec<(&'static str, Manner)> {
    let says = |reply: &[u8]| Manner::Says(reply.to_vec());
    let name = |length: usize| Manner::user("a".repeat(length).as_bytes());
    vec![
        ("plain", Manner::user(b"root")),
        ("another", Manner::user(b"mallory")),
        ("case", Manner::user(b"ROOT")),
        ("unknown", Manner::user(b"unknown")),
        ("unknown in capitals", Manner::user(b"UNKNOWN")),
        ("no newline", says(b"%p : USERID : UNIX : root")),
        ("newline alone", says(b"%p : USERID : UNIX : root\n")),
        ("tight", says(b"%p:USERID:UNIX:root\r\n")),
        ("character set", says(b"%p : USERID : UNIX , UTF-8 : root\r\n")),
        ("other system", says(b"%p : USERID : OTHER : root\r\n")),
        ("no system", says(b"%p : USERID :: root\r\n")),
        ("no user", says(b"%p : USERID : UNIX :\r\n")),
        ("two words", says(b"%p : USERID : UNIX : root toor\r\n")),
        ("error", says(b"%p : ERROR : NO-USER\r\n")),
        ("other ports", says(b"1 , 2 : USERID : UNIX : root\r\n")),
        ("small letters", says(b"%p : userid : UNIX : root\r\n")),
        ("second line", says(b"\r\n%p : USERID : UNIX : root\r\n")),
        ("two lines", says(b"%p : USERID : UNIX : root\r\n%p : USERID : UNIX : x\r\n")),
        ("nul in the user", Manner::user(b"root\0x")),
        ("nul before", says(b"\0%p : USERID : UNIX : root\r\n")),
        ("no text", Manner::user(b"\xff\xfe")),
        ("shell", Manner::user(b"`touch${IFS}x`;|&")),
        ("as long as is kept", name(127)),
        ("longer", name(128)),
        ("very long", name(300)),
        (
            "longer than a line",
            says(&[b"%p : USERID : UNIX : root ", "x".repeat(600).as_bytes(), b"\r\n"].concat()),
        ),
        ("hangs up", Manner::HangsUp),
        ("late", Manner::Slowly(Duration::from_millis(1200), b"%p:USERID:UNIX:root\r\n".to_vec())),
        ("garbage", says(&[0x80, 0x1b, b'[', b'2', b'J', 7, b'\n'])),
    ]
}

/// Connects from a port that the ident server knows before.
pub(crate) fn client(
    sandbox: &Sandbox,
    from: IpAddr,
    to: SocketAddr,
    identd: &Identd,
    manner: &Manner,
) -> Result<TcpStream> {
    sandbox.client().run(|| {
        let family = if from.is_ipv6() { AddressFamily::Inet6 } else { AddressFamily::Inet };
        let socket = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, SockProtocol::Tcp)?;
        bind(socket.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(from, 0))).context("bind")?;
        // Who is refused before there is a connection hears nothing: three SYNs are enough.
        let retries: i32 = 2;
        // SAFETY: passes a live int and its size, 4.
        let done = unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::IPPROTO_TCP,
                libc::TCP_SYNCNT,
                (&raw const retries).cast(),
                4,
            )
        };
        anyhow::ensure!(done == 0, "TCP_SYNCNT: {}", std::io::Error::last_os_error());
        let stream = TcpStream::from(socket);
        identd.about(stream.local_addr()?.port(), manner.clone());
        connect(stream.as_raw_fd(), &SockaddrStorage::from(to)).context("connect")?;
        Ok(stream)
    })
}

/// Whether the daemon was reached. tcpd ends a refused connection after five seconds.
fn is_allowed(connection: Result<TcpStream>) -> Result<bool> {
    if connection.as_ref().is_err_and(|error| error.downcast_ref() == Some(&Errno::ETIMEDOUT)) {
        return Ok(false);
    }
    match see_or_reset(connection)? {
        Seen::Bytes(text) if text.starts_with("hello") => Ok(true),
        Seen::Reset | Seen::End => Ok(false),
        other @ (Seen::Bytes(_) | Seen::Nothing) => anyhow::bail!("{other:?}"),
    }
}

#[test]
fn every_reply_gives_libwraps_verdict() -> Result<()> {
    let programs = ["/usr/sbin/xinetd", "/usr/sbin/tcpd"].map(Requirement::Program);
    if !can_run("users", &[Requirement::Root]) || !can_run("users", &programs) {
        return Ok(());
    }
    let sandbox = Sandbox::new("user-pairs")?;
    let _alphad = Testd::start(&sandbox, "alphad", &format!("[::]:{OURS}"))?;
    let _tcpd = Tcpd::start(&sandbox, "alphad", THEIRS)?;
    let identd = Identd::start(sandbox.client(), Manner::Silent)?;
    // Names without a name server.
    let names =
        format!("127.0.0.1 localhost\n{CLIENT_V4} good.example.test\n{CLIENT_V6} good6.example.test\n");
    std::fs::write(sandbox.etc().join("hosts"), names)?;
    std::fs::write(sandbox.etc().join("nsswitch.conf"), "passwd: files\ngroup: files\nhosts: files\n")?;
    sandbox.write_tables("", "")?;
    let mut tcpw = Tcpw::start(&sandbox, &[])?;
    let mut pairs = 0;
    for allow in [
        "alphad: root@ALL, .long@ALL\n",
        "alphad: KNOWN@ALL EXCEPT mallory@ALL\n",
        "alphad: UNKNOWN@ALL, *${IFS}*@ALL, ?@ALL, aa*@[::]/0\n",
        "alphad: root@.example.test, mallory@good6.example.test\n",
        "alphad: KNOWN@KNOWN EXCEPT root@good6.example.test, aa*@.test\n",
        "alphad: root@good.example.test, UNKNOWN@.example.test EXCEPT *@1.2.3.\n",
        "alphad: ALL EXCEPT root@.example.test, UNKNOWN@good.example.test\n",
    ] {
        let mark = tcpw.process.mark();
        sandbox.write_tables(allow, DENY)?;
        std::fs::write(sandbox.etc().join("hosts.allow"), allow)?;
        std::fs::write(sandbox.etc().join("hosts.deny"), DENY)?;
        tcpw.wait_applied(mark)?;
        let manners = manners();
        let ask = |number: usize, manner: &Manner| -> Result<_> {
            let v6 = number % 2 == 1;
            let (from, server) = if v6 { (CLIENT_V6, SERVER_V6) } else { (CLIENT_V4, SERVER_V4) };
            let ask = |port| {
                let to = SocketAddr::new(server, port);
                is_allowed(client(&sandbox, from, to, &identd, manner))
            };
            Ok((ask(OURS)?, ask(THEIRS)?))
        };
        let answers = thread::scope(|scope| {
            let all: Vec<_> = manners
                .iter()
                .enumerate()
                .map(|(number, (_, manner))| {
                    let ask = &ask;
                    scope.spawn(move || ask(number, manner))
                })
                .collect();
            all.into_iter()
                .map(|one| one.join().map_err(|_| anyhow::anyhow!("a client panicked"))?)
                .collect::<Result<Vec<_>>>()
        })?;
        for (number, ((name, manner), (ours, theirs))) in manners.iter().zip(&answers).enumerate() {
            if ours != theirs {
                // Both have a time limit, and all were asked at once: alone they have to agree.
                let (ours, theirs) = ask(number, manner)?;
                assert_eq!(ours, theirs, "\"{name}\" under {allow}");
            }
        }
        let allowed = answers.iter().filter(|(ours, _)| *ours).count();
        assert!(
            allowed > 2 && allowed < answers.len() - 2,
            "{allowed} of {}: a rule that tells nobody apart",
            answers.len()
        );
        pairs += answers.len();
    }
    writeln!(std::io::stderr(), "users: {pairs} live pairs agree, names among them")?;
    assert!(pairs >= 200, "{pairs}");
    Ok(())
}
