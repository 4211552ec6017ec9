//! How long a decision takes in the kernel, with LPM tries and with flat tables of the same networks.
//!
//! In: an address family and a number of networks. Out: nanoseconds of a decision about a client in a network and about
//! one in none, the sizes of both tables, and how long each took from text to being in force.

use std::{collections::BTreeMap, fmt::Write as _, net::Ipv6Addr, time::Instant};

use anyhow::{Context as _, Result, bail};
use tcpw_common::{
    flat::{BucketV4, ChunkV4, LowsV6, NodeV6},
    key::Query,
    measure::{network_v4, network_v6},
};
use tcpw_tests::policy::{address, source_as, tables};
use tcpw_userspace::{
    compile::{self, ClientTableKind, Names, Policy},
    kernel::{Kernel, LoadOptions, MeasuredClients},
};

/// Decisions of one run.
const DECISIONS: u32 = 200_000;
/// Runs of each, in turn; the medians count.
const ROUNDS: usize = 9;

pub(crate) fn run(family: &str, networks: &str) -> Result<String> {
    let are_v6 = match family {
        "v4" => false,
        "v6" => true,
        _ => bail!("{family}: v4 or v6"),
    };
    let networks: u32 = networks.parse().with_context(|| format!("{networks}: no number of networks"))?;
    let deny = text(networks, are_v6);
    let parsed = tables(Some(""), Some(&deny), BTreeMap::new());
    drop(deny);
    let mut loaded = Vec::new();
    for kind in [ClientTableKind::Trie, ClientTableKind::Flat] {
        let mut kernel = Kernel::load(&LoadOptions::default())?;
        let measurement = kernel.load_measurement()?;
        let begin = Instant::now();
        let policy = compile::compile(&source_as(kind, Names::Unknown, &parsed, &[]))?;
        let compiled = begin.elapsed();
        let applied = kernel.apply(&policy, 0)?;
        loaded.push((measurement, compiled, applied.took, size(&policy)));
    }
    let server = if are_v6 { "2001:db8::1".parse()? } else { "192.0.2.1".parse()? };
    let query = Query { names: 0, client: [0; 16], server: address(server), port: 22 };
    let mut times = vec![[Vec::new(), Vec::new()]; loaded.len()];
    for _ in 0..ROUNDS {
        for ((measurement, ..), times) in loaded.iter().zip(&mut times) {
            for (are_elsewhere, times) in [false, true].into_iter().zip(times) {
                let clients = MeasuredClients { networks, are_v6, are_elsewhere };
                times.push(measurement.decision_ns(&query, &clients, DECISIONS)?);
            }
        }
    }
    let results = loaded.iter().zip(times).map(|((_, compiled, took, bytes), [hit, miss])| {
        serde_json::json!({
            "hit_ns": median(hit),
            "miss_ns": median(miss),
            "compile_ms": compiled.as_secs_f64() * 1e3,
            "load_ms": took.as_secs_f64() * 1e3,
            "bytes": bytes,
        })
    });
    let [lpm, flat]: [serde_json::Value; 2] = results.collect::<Vec<_>>().try_into().ok().context("two")?;
    Ok(serde_json::json!({ "family": family, "networks": networks, "lpm": lpm, "flat": flat }).to_string())
}

fn text(networks: u32, are_v6: bool) -> String {
    let mut deny = String::new();
    for number in 0..networks {
        let written = if are_v6 {
            let (high, low, bits) = network_v6(number);
            let address = Ipv6Addr::from_bits(u128::from(high) << 64 | u128::from(low));
            writeln!(deny, "ALL: [{address}]/{bits}")
        } else {
            let (address, bits) = network_v4(number);
            writeln!(deny, "ALL: {}/{bits}", std::net::Ipv4Addr::from_bits(address))
        };
        written.unwrap_or_default();
    }
    deny
}

/// Bytes of the tables of clients in one slot. Those of a trie: linux/kernel/bpf/lpm_trie.c, a node and its value
/// in a slab, 64 bytes for IPv4 and as many for IPv6, and at most one node without a value for each entry.
pub(crate) fn size(policy: &Policy) -> Option<usize> {
    let v4 = policy.clients_v4.flat()?;
    let v6 = policy.clients_v6.flat()?;
    Some(
        v4.buckets.len() * size_of::<BucketV4>()
            + v4.chunks.len() * size_of::<ChunkV4>()
            + v6.nodes.len() * (size_of::<NodeV6>() + size_of::<LowsV6>()),
    )
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
