//! The kernel's own NFS server: no process holds its sockets, settings name them by their port.

use std::{
    io::{Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpStream},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use tcpw_tests::{
    CLIENT_V4, CLIENT_V4_OTHER, CLIENT_V6, CLIENT_V6_OTHER, Place, Requirement, SERVER_V4, SERVER_V6,
    Sandbox, Tcpw, can_run,
    client::{Ended, connect},
};

const SOON: Duration = Duration::from_secs(20);

/// Before a SYN is sent again: who is let in by mistake would be in by then.
const AT_ONCE: Duration = Duration::from_millis(700);

/// How long to wait for a client of whom this is expected.
fn patience(expected: bool) -> Duration {
    if expected { SOON } else { AT_ONCE }
}

const CLIENTS: [(IpAddr, IpAddr, bool); 4] = [
    (CLIENT_V4, SERVER_V4, true),
    (CLIENT_V4_OTHER, SERVER_V4, false),
    (CLIENT_V6, SERVER_V6, true),
    (CLIENT_V6_OTHER, SERVER_V6, false),
];

fn ready() -> bool {
    can_run("nfsd", &[Requirement::Root, Requirement::Kernel("/proc/fs/nfsd")])
}

/// nfsd in the server's network; dropping it ends it.
struct Nfsd<'a>(&'a Sandbox);

impl<'a> Nfsd<'a> {
    /// Starts it as rpc.nfsd(8) does, at these ports. A socket is of the cgroup of who asks for it.
    fn start(sandbox: &'a Sandbox, ports: &[u16]) -> Result<Self> {
        // Version 4 alone: it needs no port mapper and no lock manager.
        let mut script =
            "mount -t nfsd nfsd /proc/fs/nfsd\ncd /proc/fs/nfsd\necho -2 -3 +4 >versions\n".to_owned();
        for port in ports {
            script += &format!("echo tcp {port} >portlist\n");
        }
        shell(sandbox, &format!("{script}echo 2 >threads\n"))?;
        Ok(Self(sandbox))
    }

    fn listen(&self, port: u16) -> Result<()> {
        shell(self.0, &format!("echo tcp {port} >/proc/fs/nfsd/portlist\n"))
    }
}

impl Drop for Nfsd<'_> {
    fn drop(&mut self) {
        // Nothing can be done about a failure here; it would show in the next start.
        drop(shell(self.0, "echo 0 >/proc/fs/nfsd/threads\numount /proc/fs/nfsd\n"));
    }
}

fn shell(sandbox: &Sandbox, script: &str) -> Result<()> {
    let mut command = Command::new("sh");
    command.args(["-ec", script]);
    sandbox.run(Place::Guarded, command, SOON).map(drop).context("nfsd")
}

/// Calls procedure 0 of NFS version 4, which does nothing, and reads the reply.
///
/// Source: RFC 5531 sections 9 and 11, RFC 7530 section 16.1.
fn call_null(stream: &mut TcpStream) -> Result<()> {
    const LAST_FRAGMENT: u32 = 1 << 31;
    const CALL_ID: u32 = 0x7463_7077;
    let (call, version_of_rpc, nfs, version, procedure) = (0, 2, 100_003, 4, 0);
    let no_credentials = [0, 0, 0, 0];
    let call: Vec<u32> =
        [[CALL_ID, call, version_of_rpc, nfs, version, procedure].as_slice(), &no_credentials].concat();
    let length = u32::try_from(call.len() * 4)?;
    let bytes: Vec<u8> =
        [length | LAST_FRAGMENT].iter().chain(&call).flat_map(|word| word.to_be_bytes()).collect();
    stream.set_read_timeout(Some(SOON))?;
    stream.write_all(&bytes)?;
    let mut reply = [0; 28];
    stream.read_exact(&mut reply).context("no reply to an RPC call")?;
    let words: Vec<u32> =
        reply.chunks(4).map(|word| word.try_into().map(u32::from_be_bytes)).collect::<Result<_, _>>()?;
    // Its length, whose reply, that it is one, accepted, no verifier, success.
    ensure!(words == [24 | LAST_FRAGMENT, CALL_ID, 1, 0, 0, 0, 0], "the reply is {words:x?}");
    Ok(())
}

/// Whether nfsd answers a client, as is expected or not.
fn is_served(sandbox: &Sandbox, client: IpAddr, server: IpAddr, port: u16, expected: bool) -> Result<bool> {
    let attempt = connect(sandbox.client(), client, SocketAddr::new(server, port), patience(expected))?;
    match attempt.ended {
        Ended::Connected(mut stream) => call_null(&mut stream).map(|()| true),
        Ended::ConnectedAndReset => anyhow::bail!("reset by nfsd"),
        Ended::Refused => anyhow::bail!("nobody listens at {port}"),
        Ended::TimedOut => Ok(false),
    }
}

fn assert_judged(sandbox: &Sandbox, port: u16) -> Result<()> {
    for (client, server, allowed) in CLIENTS {
        let is_served = is_served(sandbox, client, server, port, allowed)
            .with_context(|| format!("{client} to {port}"))?;
        assert_eq!(is_served, allowed, "{client} to {port}");
    }
    Ok(())
}

fn tcpw(sandbox: &Sandbox, more: &[&str]) -> Result<Tcpw> {
    let settings = sandbox.write_settings("[names.port]\n2049 = [\"nfsd\"]\n2051 = [\"nfsd\"]\n")?;
    Tcpw::start(sandbox, &[&["--config", &*settings], more].concat())
}

#[test]
#[ignore = "needs nfsd in the kernel: cargo xtask vm"]
fn nfsd_named_by_its_port_serves_whom_the_tables_allow() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = Sandbox::new("nfsd")?;
    sandbox.write_tables("nfsd: 1.2.3. [3ffe:ffff:100:200::]/64\n", "ALL: ALL\n")?;
    let nfsd = Nfsd::start(&sandbox, &[2049, 2050])?;
    for (client, server, _) in CLIENTS {
        assert!(is_served(&sandbox, client, server, 2049, true)?, "{client}: nfsd without tcpw");
    }
    let mut tcpw = tcpw(&sandbox, &[])?;
    assert_judged(&sandbox, 2049)?;
    // One more of its sockets, while tcpw runs.
    nfsd.listen(2051)?;
    assert_judged(&sandbox, 2051)?;
    // Nobody says what listens here: it is judged by the rules for any daemon.
    assert!(!is_served(&sandbox, CLIENT_V4, SERVER_V4, 2050, false)?);
    let line = tcpw.process.wait_for_line("refused connect from 1.2.4.4 (1.2.4.4)", SOON)?.text;
    assert!(line.contains(" nfsd"), "{line}");

    let lines = Tcpw::command(&sandbox, &["status", "--json"])?;
    let text: String = lines.into_iter().map(|line| line.text).collect();
    let status: serde_json::Value = serde_json::from_str(&text)?;
    let rows = status["listeners"].as_array().context("no listeners")?;
    for (local, ident, found_by) in [
        ("0.0.0.0:2049", "nfsd", "tcpw.toml"),
        ("[::]:2049", "nfsd", "tcpw.toml"),
        ("0.0.0.0:2050", "kernel", "no process"),
        ("0.0.0.0:2051", "nfsd", "tcpw.toml"),
    ] {
        let row =
            rows.iter().find(|row| row["local"] == local).with_context(|| format!("{local}: {text}"))?;
        assert_eq!((&row["ident"], &row["found_by"]), (&ident.into(), &found_by.into()), "{row}");
        assert_eq!(row["pid"], 0, "{row}");
    }
    let counters = Tcpw::counters(&sandbox)?;
    assert_eq!((counters["disagreements"], counters["broken"]), (0, 0), "{counters:?}");
    Ok(())
}

/// No process is in sight whose network namespace the packet could be sent in.
#[test]
#[ignore = "needs nfsd in the kernel: cargo xtask vm"]
fn held_client_of_nfsd_is_connected_without_trying_again() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = Sandbox::new("nfsdheld")?;
    sandbox.send_each_syn_once()?;
    // Too many networks for a table: user space has to look at the text.
    sandbox.write_tables("nfsd: *3.4 *3456\n", "ALL: ALL\n")?;
    let _nfsd = Nfsd::start(&sandbox, &[2049])?;
    let _tcpw = tcpw(&sandbox, &[])?;
    assert_judged(&sandbox, 2049)?;
    assert!(Tcpw::counters(&sandbox)?["asked"] >= 4);
    Ok(())
}

/// Its refused clients are reset as any daemon's are.
#[test]
#[ignore = "needs nfsd in the kernel: cargo xtask vm"]
fn refused_client_of_nfsd_is_reset_at_once() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = Sandbox::new("nfsdreset")?;
    sandbox.write_tables("nfsd: 1.2.3. [3ffe:ffff:100:200::]/64\n", "ALL: ALL\n")?;
    let _nfsd = Nfsd::start(&sandbox, &[2049])?;
    let _tcpw = tcpw(&sandbox, &["--on-deny", "reset"])?;
    let deadline = Instant::now() + SOON;
    for (client, server, allowed) in CLIENTS {
        loop {
            let server = SocketAddr::new(server, 2049);
            let ended = connect(sandbox.client(), client, server, patience(allowed))?.ended;
            match ended {
                Ended::Connected(mut stream) if allowed => break call_null(&mut stream)?,
                Ended::Refused if !allowed => break,
                other @ (Ended::Connected(_)
                | Ended::ConnectedAndReset
                | Ended::Refused
                | Ended::TimedOut) => ensure!(
                    Instant::now() < deadline && matches!(other, Ended::TimedOut) && !allowed,
                    "{client}: {other:?}"
                ),
            }
        }
    }
    Ok(())
}
