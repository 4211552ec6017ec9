//! Real servers and real clients: avahi, dnsmasq, unbound, chrony, tftpd-hpa, xinetd.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::IpAddr,
    os::unix::net::UnixStream,
    path::Path,
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result};
use tcpw_tests::{
    CLIENT_V4, CLIENT_V4_OTHER, CLIENT_V6, CLIENT_V6_OTHER, DENY, Listening, Place, Process, Requirement,
    SERVER_V4, SERVER_V6, Sandbox, Tcpw, can_run,
    datagrams::{Client, wait_bound},
    wait_ready,
};

const SOON: Duration = Duration::from_secs(20);

fn can_run_with(test: &str, programs: &[&'static str]) -> bool {
    let programs = programs.iter().map(|program| Requirement::Program(program));
    let all: Vec<Requirement> = std::iter::once(Requirement::Root).chain(programs).collect();
    can_run(test, &all)
}

/// dnsmasq that knows one name.
fn dnsmasq(sandbox: &Sandbox, place: Place) -> Result<Process> {
    let mut command = Command::new("/usr/sbin/dnsmasq");
    command.args([
        "--keep-in-foreground",
        "--conf-file=/dev/null",
        "--no-resolv",
        "--no-hosts",
        "--pid-file",
    ]);
    command.args(["--user=root", "--log-facility=-", "--address=/name.test/192.0.2.7"]);
    let mut process = sandbox.spawn(place, command)?;
    if place == Place::Guarded {
        let both = [false, true].map(|v6| Listening { v6, port: 53 });
        sandbox.wait_listening(&mut process, &both)?;
    } else {
        wait_bound(sandbox.client(), 53, false)?;
    }
    Ok(process)
}

/// Whether dig, with one question and no second try, gets the address.
fn is_resolved(sandbox: &Sandbox, place: Place, from: IpAddr, server: IpAddr) -> Result<bool> {
    let mut dig = Command::new("/usr/bin/dig");
    dig.args(["-b", &from.to_string(), &format!("@{server}"), "+tries=1", "+timeout=2", "+short"]);
    dig.args(["name.test", "A"]);
    let mut dig = sandbox.spawn(place, dig)?;
    dig.wait(SOON)?;
    Ok(dig.lines().iter().any(|line| line.text == "192.0.2.7"))
}

#[test]
fn dnsmasq_answers_whom_the_tables_allow() -> Result<()> {
    if !can_run_with("dnsmasq", &["/usr/sbin/dnsmasq", "/usr/bin/dig"]) {
        return Ok(());
    }
    let sandbox = Sandbox::new("dnsmasq")?;
    sandbox.write_tables("dnsmasq: 1.2.3. [3ffe:ffff:100:200::]/64\n", DENY)?;
    let _before = dnsmasq(&sandbox, Place::Guarded)?;
    let mut tcpw = Tcpw::start(&sandbox, &[])?;
    for (from, server, allowed) in [
        (CLIENT_V4, SERVER_V4, true),
        (CLIENT_V4_OTHER, SERVER_V4, false),
        (CLIENT_V6, SERVER_V6, true),
        (CLIENT_V6_OTHER, SERVER_V6, false),
    ] {
        assert_eq!(is_resolved(&sandbox, Place::Client, from, server)?, allowed, "{from}");
    }
    let line = tcpw.process.wait_for_line("refused connect from 1.2.4.4 (1.2.4.4)", SOON)?.text;
    assert!(line.contains(" dnsmasq["), "{line}");
    Ok(())
}

/// unbound opens a socket with a port of its own choice for each question.
#[test]
fn unbound_resolves_through_a_host_that_it_would_not_serve() -> Result<()> {
    if !can_run_with("unbound", &["/usr/sbin/dnsmasq", "/usr/bin/dig", "/usr/sbin/unbound"]) {
        return Ok(());
    }
    let sandbox = Sandbox::new("unbound")?;
    sandbox.write_tables("unbound: 127.\n", DENY)?;
    let _upstream = dnsmasq(&sandbox, Place::Client)?;
    let mut tcpw = Tcpw::start(&sandbox, &[])?;
    let directory = sandbox.etc().join("unbound");
    fs::create_dir_all(&directory)?;
    let text = "server:\n interface: 0.0.0.0\n interface: ::0\n access-control: 0.0.0.0/0 allow\n\
                \x20access-control: ::/0 allow\n do-daemonize: no\n username: \"\"\n chroot: \"\"\n\
                \x20directory: \"/etc/unbound\"\n pidfile: \"\"\n use-syslog: no\n logfile: \"\"\n\
                \x20module-config: \"iterator\"\n num-threads: 1\n udp-connect: no\n local-zone: \"test.\" nodefault\n\
                remote-control:\n control-enable: no\n\
                forward-zone:\n name: \".\"\n forward-addr: 1.2.3.4@53\n";
    fs::write(directory.join("tcpw.conf"), text)?;
    let mut command = Command::new("/usr/sbin/unbound");
    command.args(["-d", "-p", "-c", "/etc/unbound/tcpw.conf"]);
    let mut unbound = sandbox.spawn(Place::Guarded, command)?;
    sandbox.wait_listening(&mut unbound, &[Listening { v6: false, port: 53 }])?;
    let local = IpAddr::from([127, 0, 0, 1]);
    assert!(is_resolved(&sandbox, Place::Server, local, local)?, "{}", unbound.tail());
    assert!(!is_resolved(&sandbox, Place::Client, CLIENT_V4_OTHER, SERVER_V4)?);
    // Whoever it asked is a client like any other at the port that it serves.
    assert!(!is_resolved(&sandbox, Place::Client, CLIENT_V4, SERVER_V4)?);
    tcpw.process.wait_for_line("unbound[", SOON)?;
    let counters = Tcpw::counters(&sandbox)?;
    assert!(counters["replies"] > 0, "{counters:?}");
    Ok(())
}

/// chrony that serves the time of the host as it is.
fn chrony_server(sandbox: &Sandbox, place: Place) -> Result<Process> {
    let conf = sandbox.scratch().join("chrony-server.conf");
    let pid = sandbox.scratch().join("chrony-server.pid");
    fs::write(
        &conf,
        format!("local stratum 8\nallow\nport 123\ncmdport 0\nbindcmdaddress /\npidfile {}\n", pid.display()),
    )?;
    let mut command = Command::new("/usr/sbin/chronyd");
    // Without setting any clock.
    command.args(["-x", "-d", "-u", "root", "-f"]).arg(&conf);
    let process = sandbox.spawn(place, command)?;
    let netns = if place == Place::Client { sandbox.client() } else { sandbox.server() };
    for v6 in [false, true] {
        wait_bound(netns, 123, v6).with_context(|| process.tail())?;
    }
    Ok(process)
}

/// Whether chrony measures its offset to the server from that address; sets nothing.
fn is_measured(sandbox: &Sandbox, place: Place, from: IpAddr, server: IpAddr) -> Result<bool> {
    let mut command = Command::new("/usr/sbin/chronyd");
    command.args(["-Q", "-u", "root", "-t", "4", "port 0", "cmdport 0", "bindcmdaddress /"]);
    command.arg(format!("pidfile {}", sandbox.scratch().join(format!("{from}.pid")).display()));
    command.args([format!("server {server} iburst maxsamples 1"), format!("bindacqaddress {from}")]);
    let mut client = sandbox.spawn(place, command)?;
    client.wait(SOON)?;
    Ok(client.lines().iter().any(|line| line.text.contains("System clock wrong by")))
}

#[test]
fn chrony_serves_whom_the_tables_allow_and_asks_whom_it_likes() -> Result<()> {
    if !can_run_with("chrony", &["/usr/sbin/chronyd"]) {
        return Ok(());
    }
    let sandbox = Sandbox::new("chrony")?;
    sandbox.write_tables("chronyd: 1.2.3. [3ffe:ffff:100:200::]/64\n", DENY)?;
    let mut tcpw = Tcpw::start(&sandbox, &[])?;
    let server = chrony_server(&sandbox, Place::Guarded)?;
    for (from, address, allowed) in [
        (CLIENT_V4, SERVER_V4, true),
        (CLIENT_V4_OTHER, SERVER_V4, false),
        (CLIENT_V6, SERVER_V6, true),
        (CLIENT_V6_OTHER, SERVER_V6, false),
    ] {
        assert_eq!(is_measured(&sandbox, Place::Client, from, address)?, allowed, "{from}");
    }
    tcpw.process.wait_for_line("refused connect from 1.2.4.4 (1.2.4.4)", SOON)?;
    drop(server);
    // The other way round: nobody may come in, the host still asks.
    let mark = tcpw.process.mark();
    sandbox.write_tables("", DENY)?;
    tcpw.wait_applied(mark)?;
    let _there = chrony_server(&sandbox, Place::Client)?;
    assert!(is_measured(&sandbox, Place::Guarded, SERVER_V4, CLIENT_V4)?);
    assert!(is_measured(&sandbox, Place::Guarded, SERVER_V6, CLIENT_V6)?);
    Ok(())
}

fn tftpd(sandbox: &Sandbox, place: Place, directory: &Path) -> Result<Process> {
    let mut command = Command::new("/usr/sbin/in.tftpd");
    command.args(["-L", "--user", "root", "--address", "0.0.0.0:69", "--secure"]).arg(directory);
    let process = sandbox.spawn(place, command)?;
    let netns = if place == Place::Client { sandbox.client() } else { sandbox.server() };
    wait_bound(netns, 69, false).with_context(|| process.tail())?;
    Ok(process)
}

/// Whether the file comes, several blocks of it.
fn is_fetched(sandbox: &Sandbox, place: Place, server: IpAddr) -> Result<bool> {
    let copy = sandbox.scratch().join("copy");
    drop(fs::remove_file(&copy));
    let mut tftp = Command::new("timeout");
    tftp.args(["3", "/usr/bin/tftp", "-m", "binary", &server.to_string(), "-c", "get", "file"]).arg(&copy);
    sandbox.spawn(place, tftp)?.wait(SOON)?;
    Ok(fs::metadata(&copy).is_ok_and(|copy| copy.len() == 5000))
}

/// A transfer goes from a socket of its own to a socket of its own.
#[test]
fn tftpd_sends_files_to_whom_the_tables_allow() -> Result<()> {
    if !can_run_with("tftpd", &["/usr/sbin/in.tftpd", "/usr/bin/tftp"]) {
        return Ok(());
    }
    let sandbox = Sandbox::new("tftpd")?;
    let directory = sandbox.scratch().join("files");
    fs::create_dir(&directory)?;
    fs::write(directory.join("file"), vec![b'x'; 5000])?;
    sandbox.write_tables("in.tftpd: 1.2.3.\n", DENY)?;
    let server = tftpd(&sandbox, Place::Guarded, &directory)?;
    let mut tcpw = Tcpw::start(&sandbox, &[])?;
    assert!(is_fetched(&sandbox, Place::Client, SERVER_V4)?, "{}", server.tail());
    sandbox.client().ip("route add 1.2.3.1/32 dev tcpw0 src 1.2.4.4")?;
    assert!(!is_fetched(&sandbox, Place::Client, SERVER_V4)?);
    let line = tcpw.process.wait_for_line("refused connect from 1.2.4.4 (1.2.4.4)", SOON)?.text;
    assert!(line.contains(" in.tftpd["), "{line}");
    // And the host fetches files itself.
    drop(server);
    let mark = tcpw.process.mark();
    sandbox.write_tables("", DENY)?;
    tcpw.wait_applied(mark)?;
    sandbox.client().ip("route del 1.2.3.1/32 dev tcpw0 src 1.2.4.4")?;
    let there = tftpd(&sandbox, Place::Client, &directory)?;
    let is_fetched = is_fetched(&sandbox, Place::Guarded, CLIENT_V4)?;
    assert!(is_fetched, "{}\n{:?}\n{}", there.tail(), Tcpw::counters(&sandbox), tcpw.process.tail());
    Ok(())
}

#[test]
fn xinetds_datagram_service_has_its_own_name() -> Result<()> {
    if !can_run_with("xinetd over UDP", &["/usr/sbin/xinetd"]) {
        return Ok(());
    }
    let sandbox = Sandbox::new("xinetdudp")?;
    sandbox.write_tables("daytime-dgram: 1.2.3.\n", DENY)?;
    let service = "service daytime\n{\ndisable = no\ntype = INTERNAL UNLISTED\nid = daytime-dgram\n\
                   socket_type = dgram\nprotocol = udp\nport = 13\nuser = root\nwait = yes\nflags = IPv4\n}\n";
    fs::write(sandbox.etc().join("xinetd.d/daytime"), service)?;
    let mut command = Command::new("/usr/sbin/xinetd");
    command.args(["-dontfork", "-stayalive", "-pidfile", "/run/xinetd.pid"]);
    let xinetd = sandbox.spawn(Place::Guarded, command)?;
    wait_bound(sandbox.server(), 13, false).with_context(|| xinetd.tail())?;
    let _tcpw = Tcpw::start(&sandbox, &[])?;
    for (from, allowed) in [(CLIENT_V4, true), (CLIENT_V4_OTHER, false)] {
        let client = Client::new(sandbox.client(), from, 0)?;
        client.send((SERVER_V4, 13).into(), b"\n")?;
        assert_eq!(client.receive_as(allowed)?.is_some(), allowed, "{from}");
    }
    Ok(())
}

/// A host on the link that knows its own name, as mDNS does it: it tells the group.
const NEAR: &str = "\
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(('', 5353))
group, own = socket.inet_aton('224.0.0.251'), socket.inet_aton('1.2.4.4')
s.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group + own)
s.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, own)
s.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 255)
name = b'\\x04near\\x05local\\x00'
print('bound', flush=True)
while True:
    query = s.recvfrom(9000)[0]
    if query[2] & 0x80 == 0 and name in query:
        header = bytes([0, 0, 0x84, 0, 0, 0, 0, 1, 0, 0, 0, 0])
        record = bytes([0, 1, 0x80, 1, 0, 0, 0, 120, 0, 4])
        s.sendto(header + name + record + own, ('224.0.0.251', 5353))
";

#[test]
fn avahi_finds_hosts_of_the_link_that_it_would_not_serve() -> Result<()> {
    if !can_run_with("avahi", &["/usr/sbin/avahi-daemon", "/usr/bin/python3"]) {
        return Ok(());
    }
    let sandbox = Sandbox::new("avahi")?;
    sandbox.write_tables("", DENY)?;
    let tcpw = Tcpw::start(&sandbox, &[])?;
    let mut near = Command::new("/usr/bin/python3");
    near.args(["-c", NEAR]);
    let mut near = sandbox.spawn(Place::Client, near)?;
    near.wait_for_line("bound", SOON)?;
    let settings = sandbox.scratch().join("avahi.conf");
    fs::write(&settings, "[server]\nhost-name=gate\nallow-interfaces=tcpw0\nenable-dbus=no\nuse-ipv6=no\n")?;
    let mut command = Command::new("/usr/sbin/avahi-daemon");
    command.args(["--no-drop-root", "--no-chroot", "--no-rlimits", "--file"]).arg(&settings);
    let mut avahi = sandbox.spawn(Place::Guarded, command)?;
    wait_ready(&mut avahi, "avahi knows the address of a host on the link", SOON, || {
        // It asks the group, and answers when it knows, or after 5 s.
        let answer = sandbox.mounts().run(|| {
            let Ok(mut stream) = UnixStream::connect("/run/avahi-daemon/socket") else {
                return Ok(String::new());
            };
            stream.write_all(b"RESOLVE-HOSTNAME-IPV4 near.local\n")?;
            let mut answer = String::new();
            BufReader::new(stream).read_line(&mut answer)?;
            Ok(answer)
        })?;
        Ok(answer.starts_with('+') && answer.trim_end().ends_with(" 1.2.4.4"))
    })
    .with_context(|| tcpw.process.tail())?;
    assert!(Tcpw::counters(&sandbox)?["replies"] > 0);
    Ok(())
}
