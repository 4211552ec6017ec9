//! From the text of a hosts.deny to a policy, step by step.

use std::{collections::BTreeMap, fs, hint::black_box, path::Path, sync::Arc};

use anyhow::{Context, Result};
use tcpw_tests::policy::compile;
use tcpw_userspace::{
    check::{Scope, check, facts::Given},
    compile::unreachable,
    evaluate::{IndexedTables, Unknown, evaluate, request::AccessRequest},
    parse::{
        parse,
        text::{FileText, Texts},
    },
};

use super::{peak_memory, processor_time};

/// Times each step of a table; the peak is that after parsing, indexing and compiling.
pub(crate) fn run(path: &Path) -> Result<String> {
    let bytes = fs::read(path).with_context(|| format!("read {}", path.display()))?;
    let texts = Texts {
        allow: (Arc::new("hosts.allow".into()), FileText::Missing),
        deny: (Arc::new("hosts.deny".into()), FileText::Bytes(bytes.into())),
        files: BTreeMap::new(),
    };
    let (parsed, parsing) = timed(|| parse(&texts))?;
    let tables = Arc::new(parsed.tables);
    let (indexed, indexing) = timed(|| IndexedTables::new(Arc::clone(&tables)))?;
    let (policy, compiling) = timed(|| compile(&tables, &[]))?;
    let peak_bytes = peak_memory()?;
    let policy = policy.map_err(|error| anyhow::anyhow!("{error}"))?;
    let daemons = [b"sshd"[..].into()];
    let request =
        AccessRequest { daemons: &daemons, client_address: Some("198.51.100.7"), ..AccessRequest::default() };
    let (_, walking) = timed(|| evaluate(&tables, &request, &Unknown))?;
    let (_, finding) = timed(|| indexed.evaluate(&request, &Unknown))?;
    let (_, reaching) = timed(|| unreachable(&tables))?;
    let scope = Scope { both: true, in_use: false };
    let (_, checking) = timed(|| check(&texts, &Given::default(), scope))?;
    let result = serde_json::json!({
        "rules": tables.deny.rules.len(),
        "prefixes": policy.clients_v4.prefixes().len() + policy.clients_v6.prefixes().len(),
        "parse_s": parsing,
        "index_s": indexing,
        "compile_s": compiling,
        "peak_bytes": peak_bytes,
        "walk_s": walking,
        "find_s": finding,
        "unreachable_s": reaching,
        "check_s": checking,
    });
    Ok(result.to_string())
}

/// What something gives, and the seconds of the processor that it takes.
fn timed<T>(make: impl FnOnce() -> T) -> Result<(T, f64)> {
    let started = processor_time()?;
    let made = black_box(make());
    Ok((made, (processor_time()? - started).as_secs_f64()))
}
