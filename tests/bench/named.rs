//! How long a client takes to connect whose verdict hangs on its name, and the look-up of a name alone.
//!
//! A real name server behind a wire that takes its time. Each client has a name of its own, so each
//! look-up is a first one; the look-ups alone are those the daemon makes, for names of the same zone, in turn
//! with the clients. Real sockets, in a sandbox.

use std::{
    net::{IpAddr, Ipv6Addr, SocketAddr},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use tcpw_tests::{
    SERVER_V4, SERVER_V6, Sandbox, Tcpw, Testd,
    client::connect,
    daemons::{Unbound, Zones},
};
use tcpw_userspace::{
    evaluate::request::HostName,
    resolve::{SystemResolver, verified_name},
};

use crate::held::median;

/// Clients of each family.
const CLIENTS: u8 = 51;
/// Of each question on its way: a look-up has two.
const DELAY: Duration = Duration::from_millis(5);
/// Longer than a client's own retransmit takes.
const PATIENCE: Duration = Duration::from_secs(5);
const PORT: u16 = 7001;

/// Measures both families; one JSON array.
pub(crate) fn run() -> Result<String> {
    let sandbox = Sandbox::new("bench-named")?;
    sandbox.write_tables("alphad: .example.test\n", "ALL: ALL\n")?;
    let v4 = |subnet: u8| -> Vec<IpAddr> {
        (0..CLIENTS).map(|host| IpAddr::from([1, 2, subnet, 10 + host])).collect()
    };
    let v6 = |subnet: u16| -> Vec<IpAddr> {
        let address = |host: u8| Ipv6Addr::new(0x3ffe, 0xffff, 0x100, 0x200, 0, 0, subnet, host.into());
        (1..=CLIENTS).map(|host| address(host).into()).collect()
    };
    let families = [("IPv4", SERVER_V4, v4(1), v4(2), 16), ("IPv6", SERVER_V6, v6(1), v6(2), 48)];
    let mut zones = Zones::default();
    for (name, _, clients, alone, _) in &families {
        for (number, address) in clients.iter().chain(alone).enumerate() {
            zones.host(&format!("{}-{number}", name.to_lowercase()), *address);
        }
    }
    let unbound = Unbound::start(&sandbox, &zones)?;
    unbound.delay(Some(DELAY));
    let _alphad = Testd::start(&sandbox, "alphad", &format!("[::]:{PORT}"))?;
    let _tcpw = Tcpw::start(&sandbox, &[])?;
    let mut results = Vec::new();
    for (name, server, clients, alone, bits) in families {
        for client in &clients {
            sandbox.client().address("tcpw0", *client, bits)?;
        }
        // The C library reads its settings and loads its modules once.
        look_up(&sandbox, clients[0])?;
        let (mut held, mut looked_up, mut beyond) = (Vec::new(), Vec::new(), Vec::new());
        for (client, alone) in clients.iter().zip(&alone) {
            let lookup_ms = look_up(&sandbox, *alone)?;
            let attempt = connect(sandbox.client(), *client, SocketAddr::new(server, PORT), PATIENCE)?;
            ensure!(attempt.is_connected(), "{client}: {attempt:?}");
            let held_ms = attempt.took.as_secs_f64() * 1e3;
            held.push(held_ms);
            looked_up.push(lookup_ms);
            beyond.push(held_ms - lookup_ms);
        }
        results.push(serde_json::json!({
            "path": name,
            "clients": clients.len(),
            "held_ms": median(&mut held)?,
            "lookup_ms": median(&mut looked_up)?,
            "beyond_ms": median(&mut beyond)?,
        }));
    }
    Ok(serde_json::Value::from(results).to_string())
}

/// Milliseconds of one look-up as the daemon makes it, with the server's resolver.
fn look_up(sandbox: &Sandbox, address: IpAddr) -> Result<f64> {
    sandbox
        .server()
        .run(|| {
            sandbox.mounts().run(|| {
                let began = Instant::now();
                let found = verified_name(address, &SystemResolver);
                let took = began.elapsed();
                ensure!(matches!(found.name, HostName::Known(_)), "{address} is {found:?}");
                Ok(took.as_secs_f64() * 1e3)
            })
        })
        .context("look a name up")
}
