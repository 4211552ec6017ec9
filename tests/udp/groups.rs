//! Questions to a group: whose datagrams are replies.

use std::{fs, net::SocketAddrV6, net::UdpSocket};

use nix::net::if_::if_nametoindex;
use tcpw_tests::Netns;

use super::*;

const SOON: Duration = Duration::from_secs(20);

/// A host behind a router.
const FAR_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 9));
const FAR_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 9));

/// Its network. The router is the sandbox's client.
fn beyond(sandbox: &Sandbox) -> Result<Netns> {
    let far = Netns::new()?;
    let router = sandbox.client();
    router.connect(&far, "far0")?;
    for (netns, address, bits) in [
        (router, "198.51.100.1", 24),
        (router, "2001:db8:1::1", 64),
        (&far, "198.51.100.9", 24),
        (&far, "2001:db8:1::9", 64),
    ] {
        netns.address("far0", address.parse()?, bits)?;
    }
    router.run(|| {
        fs::write("/proc/sys/net/ipv4/ip_forward", "1")?;
        Ok(fs::write("/proc/sys/net/ipv6/conf/all/forwarding", "1")?)
    })?;
    far.ip("route add default via 198.51.100.1")?;
    far.ip("-6 route add default via 2001:db8:1::1")?;
    sandbox.server().ip("route add 224.0.0.0/4 dev tcpw0")?;
    sandbox.server().ip("route add default via 1.2.3.4")?;
    sandbox.server().ip("-6 route add default via 3ffe:ffff:100:200:212:34ff:fe12:3456")?;
    Ok(far)
}

/// A service that asks a group, and sends no answers.
fn asks(sandbox: &Sandbox, group: &str, bind: &str) -> Result<Testd> {
    let mut daemon = Testd::start(sandbox, "alphad", &format!("--udp --quiet --ask {group} {bind}"))?;
    daemon.process.wait_for_line("asked", SOON)?;
    Ok(daemon)
}

fn index_of(netns: &Netns, interface: &str) -> Result<u32> {
    netns.run(|| Ok(if_nametoindex(interface)?))
}

/// As mDNS and SSDP ask: the group's port replies, to the socket that asked.
#[test]
fn replies_to_a_multicast_question_come_from_the_link() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = Sandbox::new("udplink")?;
    sandbox.write_tables("", DENY)?;
    let far = beyond(&sandbox)?;
    let device = index_of(sandbox.server(), "tcpw0")?;
    let _tcpw = Tcpw::start(&sandbox, &[])?;
    let v6 = (CLIENT_V6_OTHER, FAR_V6, SERVER_V6);
    let v4 = (CLIENT_V4_OTHER, FAR_V4, SERVER_V4);
    let cases = [
        ("mDNS", "224.0.0.251:5353".to_owned(), "0.0.0.0:5353", v4),
        ("SSDP", "239.255.255.250:1900".to_owned(), "0.0.0.0:7001", v4),
        ("SSDP of a socket for both", "[::ffff:239.255.255.250]:1900".to_owned(), "[::]:7002", v4),
        ("mDNS over IPv6", format!("[ff02::fb%{device}]:5353"), "[::]:5353", v6),
        ("SSDP over IPv6", format!("[ff05::c%{device}]:1900"), "[::]:7003", v6),
    ];
    for (refused, (what, group, bind, (near, beyond, server))) in (1..).zip(cases) {
        let port = group.rsplit(':').next().context("a port")?.parse()?;
        let mut daemon = asks(&sandbox, &group, bind)?;
        let server = SocketAddr::new(server, bind.rsplit(':').next().context("a port")?.parse()?);
        Client::new(&far, beyond, port)?.send(server, b"intruder")?;
        Client::new(sandbox.client(), near, port)?.send(server, b"reply")?;
        wait_heard(&mut daemon, "reply").context(what)?;
        Tcpw::wait_counter(&sandbox, "refused", refused, SOON)
            .with_context(|| format!("{what}: {:?}", all_heard(&daemon)))?;
        let heard = all_heard(&daemon);
        assert!(!heard.iter().any(|line| line.starts_with("heard intruder")), "{what}: {heard:?}");
    }
    Ok(())
}

/// mDNS: the group hears the reply. It reaches the link alone, whatever its source says.
#[test]
fn reply_to_the_group_itself_with_a_source_of_elsewhere_is_refused() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = Sandbox::new("udpmdns")?;
    sandbox.write_tables("", DENY)?;
    let _far = beyond(&sandbox)?;
    let elsewhere: IpAddr = "203.0.113.9".parse()?;
    sandbox.client().address("tcpw0", elsewhere, 32)?;
    sandbox.client().ip("route add 224.0.0.0/4 dev tcpw0")?;
    let _tcpw = Tcpw::start(&sandbox, &[])?;
    let mut daemon = Testd::start(
        &sandbox,
        "alphad",
        "--udp --quiet --group 224.0.0.251,1.2.3.1 --ask 224.0.0.251:5353 0.0.0.0:5353",
    )?;
    daemon.process.wait_for_line("asked", SOON)?;
    let group = "224.0.0.251:5353".parse()?;
    Client::new(sandbox.client(), elsewhere, 5353)?.send(group, b"intruder")?;
    Client::new(sandbox.client(), CLIENT_V4_OTHER, 5353)?.send(group, b"reply")?;
    wait_heard(&mut daemon, "reply")?;
    // One cable and one socket: what was sent first is heard first, or never.
    Tcpw::wait_counter(&sandbox, "refused", 1, SOON)?;
    let heard = all_heard(&daemon);
    assert!(!heard.iter().any(|line| line.starts_with("heard intruder")), "{heard:?}");
    Ok(())
}

#[test]
fn host_itself_and_link_local_addresses_are_on_the_link() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = Sandbox::new("udplocal")?;
    sandbox.write_tables("", DENY)?;
    let _far = beyond(&sandbox)?;
    let (near, own): (Ipv6Addr, Ipv6Addr) = ("fe80::7:9".parse()?, "fe80::7:1".parse()?);
    sandbox.client().address("tcpw0", near.into(), 64)?;
    sandbox.server().address("tcpw0", own.into(), 64)?;
    let [device, there] = [sandbox.server(), sandbox.client()].map(|netns| index_of(netns, "tcpw0"));
    let (device, there) = (device?, there?);
    let _tcpw = Tcpw::start(&sandbox, &[])?;
    let mut daemon = asks(&sandbox, "239.255.255.250:1900", "0.0.0.0:7001")?;
    Client::new(sandbox.server(), SERVER_V4, 1900)?.send(SocketAddr::new(SERVER_V4, 7001), b"own")?;
    wait_heard(&mut daemon, "own")?;
    let mut daemon = asks(&sandbox, &format!("[ff02::fb%{device}]:5353"), "[::]:7002")?;
    let client = sandbox.client().run(|| Ok(UdpSocket::bind(SocketAddrV6::new(near, 5353, 0, there))?))?;
    client.send_to(b"reply", SocketAddrV6::new(own, 7002, 0, there))?;
    wait_heard(&mut daemon, "reply")
}

/// Clients without an address, and servers on other networks, reply to a broadcast: DHCP.
#[test]
fn replies_to_a_broadcast_come_from_anywhere_at_the_port_written_to() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = Sandbox::new("udpgroup")?;
    sandbox.write_tables("", DENY)?;
    let far = beyond(&sandbox)?;
    let _tcpw = Tcpw::start(&sandbox, &[])?;
    for (group, port, netns, address) in [
        ("255.255.255.255:9000", 7001, sandbox.client(), CLIENT_V4_OTHER),
        ("255.255.255.255:9000", 7002, &far, FAR_V4),
        ("239.1.1.1:9000", 7003, sandbox.client(), CLIENT_V4_OTHER),
    ] {
        let mut daemon = asks(&sandbox, group, &format!("0.0.0.0:{port}"))?;
        let server = SocketAddr::new(SERVER_V4, port);
        // From one address and one socket after the other: what was sent first is heard first, or never.
        Client::new(netns, address, 9001)?.send(server, b"intruder")?;
        Client::new(netns, address, 9000)?.send(server, b"reply")?;
        wait_heard(&mut daemon, "reply").with_context(|| format!("{group} from {address}"))?;
        let heard = all_heard(&daemon);
        assert!(!heard.iter().any(|line| line.starts_with("heard intruder")), "{group}: {heard:?}");
    }
    Ok(())
}

/// The far network is on the link of an interface that has the same number, in another network namespace.
#[test]
fn network_on_a_link_of_another_namespace_does_not_count() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = Sandbox::new("udplinkns")?;
    sandbox.write_tables("", DENY)?;
    let far = beyond(&sandbox)?;
    assert_eq!(
        index_of(&far, "far0")?,
        index_of(sandbox.server(), "tcpw0")?,
        "the numbers of the interfaces"
    );
    let netns = far.path();
    let arguments = format!("--udp --netns {} 0.0.0.0:7009", netns.display());
    let _there = Testd::start(&sandbox, "betad", &arguments)?;
    let _tcpw = Tcpw::start(&sandbox, &[])?;
    let mut daemon = asks(&sandbox, "239.255.255.250:1900", "0.0.0.0:7001")?;
    let server = SocketAddr::new(SERVER_V4, 7001);
    Client::new(&far, FAR_V4, 1900)?.send(server, b"intruder")?;
    Client::new(sandbox.client(), CLIENT_V4_OTHER, 1900)?.send(server, b"reply")?;
    wait_heard(&mut daemon, "reply")?;
    Tcpw::wait_counter(&sandbox, "refused", 1, SOON)?;
    assert_eq!(all_heard(&daemon).len(), 1, "{:?}", all_heard(&daemon));
    Ok(())
}

/// Asks a group when it is told to, and tells how many replies it heard.
const ASKS: &str = "\
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(('0.0.0.0', 7001))
replies = 0
print('bound', flush=True)
while True:
    data, peer = s.recvfrom(2048)
    if data == b'ask':
        s.sendto(b'question', ('239.255.255.250', 1900))
        s.sendto(b'asked', peer)
    elif data == b'count':
        s.sendto(str(replies).encode(), peer)
    else:
        replies += 1
";

/// Addresses come and go while tcpw runs, and their networks with them; and at once: full scans are 10 s apart.
#[test]
fn network_of_an_address_counts_until_the_address_is_gone() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = Sandbox::new("udpnewlink")?;
    sandbox.write_tables("python3: 1.2.3.\n", DENY)?;
    let _far = beyond(&sandbox)?;
    let mut python = Command::new("/usr/bin/python3");
    python.args(["-c", ASKS]);
    let mut python = sandbox.spawn(Place::Guarded, python)?;
    python.wait_for_line("bound", SOON)?;
    let _tcpw = Tcpw::start(&sandbox, &[])?;
    Tcpw::wait_listener(&sandbox, 7001, |_row| true)?;
    let server = SocketAddr::new(SERVER_V4, 7001);
    let teller = Client::new(sandbox.client(), CLIENT_V4, 0)?;
    let told = |what: &str| -> Result<String> {
        teller.send(server, what.as_bytes())?;
        teller.receive_as(true)?.context("it says nothing")
    };
    let is_heard = |near: &Client| -> Result<bool> {
        let before = told("count")?;
        assert_eq!(told("ask")?, "asked");
        near.send(server, b"reply")?;
        // One cable and one socket: what was sent first is heard first, or never.
        Ok(told("count")? != before)
    };
    const AT_ONCE: Duration = Duration::from_secs(6);
    for (near, own, time) in [("203.0.113.9", "203.0.113.1", SOON), ("192.0.2.9", "192.0.2.1", AT_ONCE)] {
        sandbox.client().address("tcpw0", near.parse()?, 24)?;
        let client = Client::new(sandbox.client(), near.parse()?, 1900)?;
        assert!(!is_heard(&client)?, "{near}");
        sandbox.server().address("tcpw0", own.parse()?, 24)?;
        wait_until(&format!("a reply of {near} is heard"), time, || is_heard(&client))?;
        sandbox.server().ip(&format!("address del {own}/24 dev tcpw0"))?;
        wait_until(&format!("one of {near} is not heard any more"), AT_ONCE, || Ok(!is_heard(&client)?))?;
    }
    Ok(())
}

/// What user space refuses it sends again over the loopback device, for the gate to count: the sender is no nearer.
#[test]
fn datagram_that_was_held_is_no_reply_of_the_host_itself() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = Sandbox::new("udplinkheld")?;
    sandbox.write_tables("al??ad: *3.4\n", DENY)?;
    let far = beyond(&sandbox)?;
    let _tcpw = Tcpw::start(&sandbox, &[])?;
    let mut daemon = asks(&sandbox, "239.255.255.250:1900", "0.0.0.0:7001")?;
    let server = SocketAddr::new(SERVER_V4, 7001);
    Client::new(&far, FAR_V4, 1900)?.send(server, b"intruder")?;
    let reads = |name: &str| -> Result<u64> { Ok(Tcpw::counters(&sandbox)?[name]) };
    wait_until("it was refused, or taken for a reply", SOON, || {
        Ok(reads("refused")? == 1 || !all_heard(&daemon).is_empty())
    })?;
    assert!(reads("asked")? > 0, "it was held");
    Client::new(sandbox.client(), CLIENT_V4_OTHER, 1900)?.send(server, b"reply")?;
    wait_heard(&mut daemon, "reply")?;
    assert_eq!(all_heard(&daemon).len(), 1, "{:?}", all_heard(&daemon));
    Ok(())
}
