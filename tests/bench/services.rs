//! One hosts.deny of so many networks, and so many services that each have a rule of their own in hosts.allow;
//! `tcpw-bench services SERVICES NETWORKS`.
//!
//! Out: one JSON object: the milliseconds until it is compiled, and the bytes of a slot: the tables of clients, and
//! everything that grows with the services.

use std::{collections::BTreeMap, fmt::Write as _, time::Instant};

use anyhow::{Context as _, Result};
use tcpw_common::measure::network_v4;
use tcpw_tests::policy::{compile_as, tables};
use tcpw_userspace::{
    compile::{ClientTableKind, Names},
    names::NamesSet,
};

use crate::decision::size;

/// Measures one.
pub(crate) fn run(services: &str, networks: &str) -> Result<String> {
    let services: u32 = services.parse().with_context(|| format!("{services}: no number"))?;
    let networks: u32 = networks.parse().with_context(|| format!("{networks}: no number"))?;
    let (mut allow, mut deny) = (String::new(), String::new());
    for service in 0..services {
        // A client that all others refuse.
        let (address, _) = network_v4(service);
        writeln!(allow, "daemon{service}: {}", std::net::Ipv4Addr::from_bits(address))?;
    }
    for number in 0..networks {
        let (address, bits) = network_v4(number);
        writeln!(deny, "ALL: {}/{bits}", std::net::Ipv4Addr::from_bits(address))?;
    }
    let tables = tables(Some(&allow), Some(&deny), BTreeMap::new());
    let listeners: Vec<NamesSet> =
        (0..services).map(|service| NamesSet::new([format!("daemon{service}")])).collect();
    let began = Instant::now();
    let policy = compile_as(ClientTableKind::Flat, Names::Unknown, &tables, &listeners)?;
    let compiled = began.elapsed();
    let of_services = policy.outcomes.len() + 4 * policy.policies.len() + 12 * policy.names.len();
    Ok(serde_json::json!({
        "services": services,
        "networks": networks,
        "compile_ms": compiled.as_secs_f64() * 1e3,
        "clients_bytes": size(&policy),
        "services_bytes": of_services,
    })
    .to_string())
}
