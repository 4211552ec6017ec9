//! Tables as text to parsed tables, policies, and questions put to the reference evaluator.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::PathBuf,
    sync::Arc,
};

use tcpw_common::key::{Address, Query, mapped};
use tcpw_userspace::{
    compile::{self, ClientTableKind, CompileError, Names, Policy, PolicySource},
    evaluate::{
        self,
        judgement::{EffectAction, Judgement},
        numeric_host,
        request::{AccessRequest, Lookup, Verdict},
    },
    events::ip,
    names::NamesSet,
    parse::{
        self,
        rule::{Tables, Text},
        text::{FileText, Texts},
    },
};

/// The text of a file; `None` is a missing one.
pub fn text(text: Option<&str>) -> FileText {
    text.map_or(FileText::Missing, |text| FileText::Bytes(Arc::from(text.as_bytes())))
}

/// Parses both tables. A file they name that is not given does not exist; the interface `lo` does.
pub fn tables(allow: Option<&str>, deny: Option<&str>, files: BTreeMap<PathBuf, FileText>) -> Tables {
    let path = |name: &str| Arc::new(PathBuf::from(name));
    let (allow, deny) = ((path("hosts.allow"), text(allow)), (path("hosts.deny"), text(deny)));
    let mut texts = Texts { allow, deny, files };
    loop {
        let tables = parse::parse(&texts).tables;
        let named = parse::pattern_files(&tables);
        let new: Vec<_> = named.into_iter().filter(|path| !texts.files.contains_key(path)).collect();
        if new.is_empty() {
            return tables;
        }
        texts.files.extend(new.into_iter().map(|path| {
            let exists = path.ends_with("class/net/lo");
            (path, text(exists.then_some("")))
        }));
    }
}

/// Compiles them for the given listeners; nothing is exempt.
///
/// # Errors
/// They do not fit.
pub fn compile(tables: &Tables, listeners: &[NamesSet]) -> Result<Policy, CompileError> {
    compile_with(Names::Unknown, tables, listeners)
}

/// As [`compile()`], with names and users taken as `names` says.
///
/// # Errors
/// They do not fit.
pub fn compile_with(names: Names, tables: &Tables, listeners: &[NamesSet]) -> Result<Policy, CompileError> {
    compile_as(ClientTableKind::Trie, names, tables, listeners)
}

/// As [`compile_with()`], with tables of clients of the given form.
///
/// # Errors
/// They do not fit.
pub fn compile_as(
    client_tables: ClientTableKind,
    names: Names,
    tables: &Tables,
    listeners: &[NamesSet],
) -> Result<Policy, CompileError> {
    compile::compile(&source_as(client_tables, names, tables, listeners))
}

/// What [`compile_as()`] compiles.
pub fn source_as<'a>(
    client_tables: ClientTableKind,
    names: Names,
    tables: &'a Tables,
    listeners: &'a [NamesSet],
) -> PolicySource<'a> {
    PolicySource {
        tables,
        listeners,
        exempt_networks: &[],
        exempt_ports: &[],
        lookup: &evaluate::Unknown,
        names,
        unnamed_ports: &[UNNAMED_PORT],
        client_tables,
    }
}

/// A port at which [`compile_with`] takes every name as unknown.
pub const UNNAMED_PORT: u16 = 53;

/// The form addresses have in keys.
pub fn address(ip: IpAddr) -> Address {
    match ip {
        IpAddr::V4(v4) => mapped(v4.octets()),
        IpAddr::V6(v6) => v6.octets(),
    }
}

/// The reference evaluator's verdict, all names unknown.
pub fn evaluated(tables: &Tables, names: &NamesSet, query: &Query) -> Verdict {
    evaluated_with(tables, names, query, &evaluate::Unknown)
}

/// Whether the reference evaluator runs a `spawn`, and sets `keepalive`, all names unknown.
pub fn acts(tables: &Tables, names: &NamesSet, query: &Query) -> (bool, bool) {
    let effects = judged(tables, names, query, &evaluate::Unknown).effects;
    let does = |what: fn(&EffectAction) -> bool| effects.iter().any(|effect| what(&effect.action));
    (does(|it| matches!(it, EffectAction::Spawn(_))), does(|it| matches!(it, EffectAction::Keepalive)))
}

/// The reference evaluator's verdict.
pub fn evaluated_with(tables: &Tables, names: &NamesSet, query: &Query, lookup: &dyn Lookup) -> Verdict {
    judged(tables, names, query, lookup).verdict
}

/// The reference evaluator's whole answer.
pub fn judged(tables: &Tables, names: &NamesSet, query: &Query, lookup: &dyn Lookup) -> Judgement {
    let (client, server) = (numeric_host(ip(&query.client)), numeric_host(ip(&query.server)));
    let evaluate = |names: Vec<Text>| {
        let request = AccessRequest {
            daemons: &names,
            client_address: Some(&client),
            server_address: Some(&server),
            server_port: Some(query.port),
            ..AccessRequest::default()
        };
        evaluate::evaluate(tables, &request, lookup)
    };
    evaluate::decide_by_names(names, evaluate, |judged| Some(judged.verdict)).decided()
}

/// First and last address of every prefix, and those just outside of it; at most about
/// `limit` of each family, chosen evenly.
pub fn borders(policy: &Policy, limit: usize) -> Vec<IpAddr> {
    let mut v4 = BTreeSet::from([IpAddr::V4(Ipv4Addr::LOCALHOST)]);
    let mut v6 = BTreeSet::from([IpAddr::V6(Ipv6Addr::LOCALHOST)]);
    for (prefix, _) in policy.clients_v4.prefixes() {
        let host = u32::MAX.checked_shr(prefix.bits.into()).unwrap_or(0);
        let first = u32::from_be_bytes(prefix.address);
        let last = first | host;
        v4.extend([first, last, first.wrapping_sub(1), last.wrapping_add(1)].map(|it| IpAddr::V4(it.into())));
    }
    for (prefix, _) in policy.clients_v6.prefixes() {
        let host = u128::MAX.checked_shr(prefix.bits.into()).unwrap_or(0);
        let first = u128::from_be_bytes(prefix.address);
        let last = first | host;
        v6.extend([first, last, first.wrapping_sub(1), last.wrapping_add(1)].map(|it| IpAddr::V6(it.into())));
    }
    let some = |all: BTreeSet<IpAddr>| {
        // Odd: each prefix brings four addresses, and all kinds are wanted.
        let step = all.len().div_ceil(limit.max(1)) | 1;
        all.into_iter().step_by(step)
    };
    some(v4).chain(some(v6)).collect()
}
