//! Clients with every kind of name, and a name server that knows them.

use std::{fs, net::IpAddr};

use anyhow::{Context as _, Result};
use tcpw_tests::{
    CLIENT_V4, CLIENT_V4_OTHER, CLIENT_V6, CLIENT_V6_OTHER, SERVER_V4, SERVER_V6, Sandbox,
    daemons::{Unbound, Zones},
};

/// Labels of 60 and more: 200 bytes of name.
fn long_name() -> String {
    ["a", "b", "c"].map(|letter| letter.repeat(61)).join(".")
}

/// Addresses of clients; a comment says what they are called.
pub(crate) fn clients() -> Vec<IpAddr> {
    let more = (1..=16u8).map(|last| IpAddr::from([1, 2, 5, last]));
    let more_v6 = (10..=14u16).map(|last| IpAddr::from([0x3ffe, 0xffff, 0x100, 0x202, 0, 0, 0, last]));
    [CLIENT_V4, CLIENT_V4_OTHER, CLIENT_V6, CLIENT_V6_OTHER].into_iter().chain(more).chain(more_v6).collect()
}

/// The server's network with all clients, names for them, and a netgroup.
pub(crate) fn build(sandbox: &Sandbox) -> Result<Unbound> {
    let v4 = |last: u8| IpAddr::from([1, 2, 5, last]);
    let v6 = |last: u16| IpAddr::from([0x3ffe, 0xffff, 0x100, 0x202, 0, 0, 0, last]);
    let mut zones = Zones::default();
    zones.host("good", CLIENT_V4);
    zones.host("other.sub", CLIENT_V4_OTHER);
    zones.host("good6", CLIENT_V6);
    zones.host("server", SERVER_V4);
    zones.host("server6", SERVER_V6);
    // Somebody else's name.
    zones.pointer(v4(1), "good.example.test.");
    // An alias of a name that leads back.
    zones.record("alias CNAME canonical");
    zones.record("canonical A 1.2.5.2");
    zones.pointer(v4(2), "alias.example.test.");
    // 1.2.5.3 has no name.
    zones.host(&long_name(), v4(4));
    // A name with addresses of the other family alone.
    zones.record("six AAAA 3ffe:ffff:100:202::1");
    zones.pointer(v4(5), "six.example.test.");
    // 1.2.5.6 and 1.2.5.7 are in /etc/hosts.
    zones.pointer(v4(6), "not-this.example.test.");
    // Looks like another's address to a pattern.
    zones.host("1.2.3.4.evil", v4(8));
    zones.host("trusted", v4(9));
    zones.pointer(v4(10), "localhost.");
    // Letters of both cases.
    zones.record("mixed A 1.2.5.11");
    zones.pointer(v4(11), "MiXed.Example.Test.");
    // No host name to the C library.
    zones.pointer(v4(12), "-dash.example.test.");
    zones.pointer(v4(13), "1.2.5.13.");
    // A name that does not exist.
    zones.pointer(v4(14), "gone.example.test.");
    // Several addresses, the right one among them.
    zones.record("many A 1.2.5.99");
    zones.host("many", v4(15));
    // Two names.
    zones.host("first", v4(16));
    zones.record("four A 1.2.5.98");
    zones.host("v6only", v6(10));
    zones.pointer(v6(11), "four.example.test.");
    // ::12 has no name.
    zones.pointer(v6(13), "good6.example.test.");
    zones.host("3ffe.evil", v6(14));
    let unbound = Unbound::start(sandbox, &zones)?;
    let etc = sandbox.etc();
    let hosts = "127.0.0.1 localhost\n1.2.5.6 hostfile.example.test hostfile\n1.2.5.7 shorty\n";
    fs::write(etc.join("hosts"), hosts).context("write hosts")?;
    // Many ask at once, on a busy machine, and libwrap believes nobody who does not answer in time.
    let resolver = "nameserver 127.0.0.1\noptions timeout:5 attempts:3\n";
    fs::write(etc.join("resolv.conf"), resolver).context("write resolv.conf")?;
    let netgroups = "trusted (trusted.example.test,,) (hostfile.example.test,,)\nanybody (,,)\n";
    fs::write(etc.join("netgroup"), netgroups).context("write netgroup")?;
    for client in clients() {
        if ![CLIENT_V4, CLIENT_V4_OTHER, CLIENT_V6, CLIENT_V6_OTHER].contains(&client) {
            sandbox.client().address("tcpw0", client, if client.is_ipv4() { 16 } else { 48 })?;
        }
    }
    Ok(unbound)
}
