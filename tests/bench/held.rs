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
const ALLOW: &str = "alphad: *.4 *3456\n";

/// Measures every path; one JSON array.
pub(crate) fn run() -> Result<String> {
    let sandbox = Sandbox::new("bench-held")?;
    sandbox.write_tables(ALLOW, "ALL: ALL\n")?;
    let _alphad = Testd::start(&sandbox, "alphad", &format!("[::]:{PORT}"))?;
    let _bound = Testd::start(&sandbox, "alphad", &format!("--device tcpw0 [::]:{DEVICE_PORT}"))?;
    let _tcpw = Tcpw::start(&sandbox, &[])?;
    let (client, server) = (sandbox.client(), sandbox.server());
    let v4 = |net: u8, subnet: u8| -> Vec<IpAddr> {
        (0..CLIENTS).map(|host| IpAddr::from([net, 2, subnet + host, 4])).collect()
    };
    let v6 = |high: [u16; 4], subnet: u16| -> Vec<IpAddr> {
        let [a, b, c, d] = high;
        let address = |host: u8| Ipv6Addr::new(a, b, c, d, 0, subnet, host.into(), 0x3456).into();
        (1..=CLIENTS).map(address).collect()
    };
    let cable = [0x3ffe, 0xffff, 0x100, 0x200];
    // An answer is the client's, whichever the socket: each path has its own.
    let (cable_v4, device_v4, own_v4) = (v4(1, 100), v4(1, 160), v4(127, 100));
    let (cable_v6, device_v6, own_v6) = (v6(cable, 1), v6(cable, 2), v6([0xfd00, 0, 0, 0], 1));
    for addresses in [&cable_v4, &device_v4] {
        add(client, "tcpw0", addresses, 16)?;
    }
    for addresses in [&cable_v6, &device_v6] {
        add(client, "tcpw0", addresses, 48)?;
    }
    add(server, "lo", &own_v6, 64)?;
    let (to_v4, to_v6) = (|port| SocketAddr::new(SERVER_V4, port), |port| SocketAddr::new(SERVER_V6, port));
    let own = |address: IpAddr| SocketAddr::new(address, PORT);
    let results = [
        path(&sandbox, "IPv4", client, &cable_v4, to_v4(PORT))?,
        path(&sandbox, "IPv6", client, &cable_v6, to_v6(PORT))?,
        path(&sandbox, "IPv4 loopback", server, &own_v4, own(Ipv4Addr::LOCALHOST.into()))?,
        path(&sandbox, "IPv6 loopback", server, &own_v6, own(own_v6[0]))?,
        path(&sandbox, "IPv4, listener of one device", client, &device_v4, to_v4(DEVICE_PORT))?,
        path(&sandbox, "IPv6, listener of one device", client, &device_v6, to_v6(DEVICE_PORT))?,
    ];
    Ok(serde_json::Value::from(results.to_vec()).to_string())
}

fn add(netns: &Netns, interface: &str, addresses: &[IpAddr], bits: u8) -> Result<()> {
    addresses.iter().try_for_each(|address| netns.address(interface, *address, bits))
}

/// Every client twice; medians in milliseconds.
fn path(
    sandbox: &Sandbox,
    name: &str,
    place: &Netns,
    clients: &[IpAddr],
    server: SocketAddr,
) -> Result<serde_json::Value> {
    let before = Tcpw::counters(sandbox)?["asked"];
    let (mut held, mut unheld) = (Vec::new(), Vec::new());
    for client in clients {
        for times in [&mut held, &mut unheld] {
            let attempt = connect(place, *client, server, PATIENCE)?;
            ensure!(attempt.is_connected(), "{client} at {server}: {attempt:?}");
            times.push(attempt.took.as_secs_f64() * 1e3);
        }
    }
    let asked = Tcpw::counters(sandbox)?["asked"] - before;
    // One that was held twice was not sent again in time.
    ensure!(asked == clients.len() as u64, "{name}: {asked} of {} were held", clients.len());
    Ok(serde_json::json!({
        "path": name,
        "clients": clients.len(),
        "held_ms": median(&mut held)?,
        "unheld_ms": median(&mut unheld)?,
        "slowest_held_ms": held.last(),
    }))
}

/// Of the sorted times, the one in the middle.
pub(crate) fn median(times: &mut [f64]) -> Result<f64> {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().context("no times")
}
