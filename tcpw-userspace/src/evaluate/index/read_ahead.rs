//! Reads what judging many clients will need, each step for all of them.
//!
//! In: addresses of clients. Out: nothing, but what was read lies in the processor's caches. With a million
//! rules nearly all that a search reads comes from main memory. A search waits for one read after the other;
//! the reads of many clients do not depend on each other, so here the processor waits for many at a time.
//! Invariant: no verdict depends on it.

use std::{hint::black_box, net::IpAddr};

use super::{
    super::{host::Host, request::AccessRequest, unknown::Unknown},
    Index,
    host::HostIndex,
};
use crate::parse::{
    numeric_host,
    rule::{Daemon, HostPattern, Rule, RuleEntry, Table, Tables, TextPattern},
};

/// For fewer clients, or a shorter table, it gains nothing.
const FEWEST_CLIENTS: usize = 8;
const FEWEST: usize = 5_000;

pub(super) fn read_ahead(all: &Tables, index: &Index, clients: &[IpAddr]) {
    let is_long = |length: usize| length >= FEWEST;
    let tables: Vec<&Table> =
        [&all.allow, &all.deny].into_iter().filter(|table| is_long(table.rules.len())).collect();
    let files: Vec<_> = all.files.iter().filter(|(_, file)| is_long(file.patterns.len())).collect();
    if clients.len() < FEWEST_CLIENTS || tables.is_empty() && files.is_empty() {
        return;
    }
    let texts: Vec<String> = clients.iter().map(|client| numeric_host(*client)).collect();
    let requests: Vec<AccessRequest<'_>> = texts
        .iter()
        .map(|text| AccessRequest { client_address: Some(text), ..AccessRequest::default() })
        .collect();
    let hosts: Vec<Host<'_>> = requests.iter().map(|request| Host::client(request, &Unknown)).collect();
    for table in tables {
        if let Some(indexed) = index.table(table.kind) {
            read_rules(table, &positions(indexed.keys(), &hosts));
        }
    }
    for (path, file) in files {
        if let Some(indexed) = index.file(path) {
            let found = positions(indexed.keys(), &hosts);
            read_hosts(found.iter().filter_map(|at| Some(&file.patterns.get(*at)?.1)));
        }
    }
}

/// The first position of each key that one of the hosts has.
fn positions(index: &HostIndex, hosts: &[Host<'_>]) -> Vec<usize> {
    let keys = index.keys();
    let mut hashes = Vec::with_capacity(2 * hosts.len());
    for host in hosts {
        index.each_key(host, |key| hashes.extend(keys.hash(key)));
    }
    let buckets: Vec<_> = hashes.iter().map(|hash| keys.bucket_of(*hash)).collect();
    let found = hashes.iter().zip(buckets).filter_map(|(hash, bucket)| keys.positions(*hash, bucket).first());
    found.map(|entry| entry.position()).collect()
}

fn read_rules(table: &Table, positions: &[usize]) {
    let mut kept: Vec<&Rule> = Vec::new();
    for at in positions {
        match table.rules.entry_at(*at) {
            // It is compared as numbers.
            Some(RuleEntry::Plain(rule)) => {
                black_box(rule.bits);
            }
            Some(RuleEntry::Kept(rule)) => kept.push(rule),
            None => {}
        }
    }
    let is_read = |rule: &&Rule| {
        let names_all = |daemon: &Daemon| matches!(daemon, Daemon::Name(TextPattern::All));
        let daemons = rule.daemons.patterns.iter().filter(|pattern| names_all(&pattern.daemon)).count();
        daemons + rule.clients.patterns.len() + rule.options.len()
    };
    black_box(kept.iter().map(is_read).sum::<usize>());
    read_hosts(kept.iter().flat_map(|rule| &rule.clients.patterns).map(|pattern| &pattern.host));
}

fn read_hosts<'a>(hosts: impl Iterator<Item = &'a HostPattern>) {
    let texts: Vec<&[u8]> = hosts
        .filter_map(|host| match host {
            HostPattern::Text { pattern: TextPattern::Exact(text), .. } => Some(&**text),
            HostPattern::Text { .. }
            | HostPattern::Netgroup(_)
            | HostPattern::File(_)
            | HostPattern::Known
            | HostPattern::Local
            | HostPattern::NetV4 { .. }
            | HostPattern::NetV6 { .. }
            | HostPattern::Never => None,
        })
        .collect();
    black_box(texts.iter().filter_map(|text| text.first()).fold(0u8, |sum, byte| sum ^ byte));
}
