//! How long a client takes to connect that is held until the daemon has decided, and one that is not.
//!
//! Every client comes twice: the first time its address does not decide, the second time the answer
//! is there. Real sockets, in a sandbox.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use tcpw_tests::{Netns, SERVER_V4, SERVER_V6, Sandbox, Tcpw, Testd, client::connect};

/// Clients of each path.
const CLIENTS: u8 = 51;
/// Longer than a client's own retransmit takes.
const PATIENCE: Duration = Duration::from_secs(5);

const PORT: u16 = 7001;
/// Of a listener that hears the cable alone.
const DEVICE_PORT: u16 = 7002;

/// Too many networks for a table: the text decides.
const ALLOW: &str = "alphad: *.3.* *:ffff:*\n";

/// Measures every path; one JSON array.
pub(crate) fn run() -> Result<String> {
    let sandbox = Sandbox::new("bench-held")?;
    sandbox.write_tables(ALLOW, "ALL: ALL\n")?;
    let _alphad = Testd::start(&sandbox, "alphad", &format!("[::]:{PORT}"))?;
    let _bound = Testd::start(&sandbox, "alphad", &format!("--device tcpw0 [::]:{DEVICE_PORT}"))?;
    let _tcpw = Tcpw::start(&sandbox, &[])?;
    let (client, server) = (sandbox.client(), sandbox.server());
    let v4 = |net: u8| (0..CLIENTS).map(move |host| IpAddr::from([net, 2, 3, 100 + host])).collect();
    let v6 = |high: [u16; 4]| -> Vec<IpAddr> {
        let [a, b, c, d] = high;
        (0..CLIENTS).map(|host| Ipv6Addr::new(a, b, c, d, 0, 0, 1, host.into()).into()).collect()
    };
    let (cable_v4, cable_v6): (Vec<IpAddr>, _) = (v4(1), v6([0x3ffe, 0xffff, 0x100, 0x200]));
    let (own_v4, own_v6): (Vec<IpAddr>, _) = (v4(127), v6([0xfd00, 0xffff, 0, 0]));
    add(client, "tcpw0", &cable_v4, 16)?;
    add(client, "tcpw0", &cable_v6, 48)?;
    add(server, "lo", &own_v6, 64)?;
    let results = [
        path("IPv4", client, &cable_v4, SocketAddr::new(SERVER_V4, PORT))?,
        path("IPv6", client, &cable_v6, SocketAddr::new(SERVER_V6, PORT))?,
        path("IPv4 loopback", server, &own_v4, SocketAddr::from((Ipv4Addr::LOCALHOST, PORT)))?,
        path("IPv6 loopback", server, &own_v6, SocketAddr::new(own_v6[0], PORT))?,
        // The other socket's clients are decided: other addresses of the server ask anew.
        path("IPv4, listener of one device", client, &cable_v4, on(server, "1.2.5.1", 16)?)?,
        path("IPv6, listener of one device", client, &cable_v6, on(server, "3ffe:ffff:100:205::1", 48)?)?,
    ];
    let asked = Tcpw::counters(&sandbox)?["asked"];
    let expected = u64::from(CLIENTS) * results.len() as u64;
    // One that was held twice was not sent again in time.
    ensure!(asked == expected, "{asked} were held, not {expected}");
    Ok(serde_json::Value::from(results.to_vec()).to_string())
}

/// One more address of the server, at the port of the listener of one device.
fn on(server: &Netns, address: &str, bits: u8) -> Result<SocketAddr> {
    let address = address.parse()?;
    server.address("tcpw0", address, bits)?;
    Ok(SocketAddr::new(address, DEVICE_PORT))
}

fn add(netns: &Netns, interface: &str, addresses: &[IpAddr], bits: u8) -> Result<()> {
    addresses.iter().try_for_each(|address| netns.address(interface, *address, bits))
}

/// Every client twice; medians in milliseconds.
fn path(name: &str, place: &Netns, clients: &[IpAddr], server: SocketAddr) -> Result<serde_json::Value> {
    let (mut held, mut unheld) = (Vec::new(), Vec::new());
    for client in clients {
        for times in [&mut held, &mut unheld] {
            let attempt = connect(place, *client, server, PATIENCE)?;
            ensure!(attempt.is_connected(), "{client} at {server}: {attempt:?}");
            times.push(attempt.took.as_secs_f64() * 1e3);
        }
    }
    Ok(serde_json::json!({
        "path": name,
        "clients": clients.len(),
        "held_ms": median(&mut held)?,
        "unheld_ms": median(&mut unheld)?,
        "slowest_held_ms": held.last(),
    }))
}

/// Of the sorted times, the one in the middle.
fn median(times: &mut [f64]) -> Result<f64> {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().context("no times")
}
