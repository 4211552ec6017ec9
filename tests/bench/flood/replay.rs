//! Records of refused attempts, replayed: judged, rendered and written; `tcpw-bench replay RULES SHAPE`.
//!
//! In: the number of rules and their shape. Out: one JSON object. No kernel: what one client can offer is not
//! the limit. Judged by the index, and as often as [`SelfCheck`] says by a walk of every rule, too.

use std::{
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
    sync::Arc,
    thread,
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use tcpw_common::{
    event::{Event as Record, Kind},
    key::mapped,
};
use tcpw_tests::Scratch;
use tcpw_userspace::{
    evaluate::{
        IndexedTables, SelfCheck, Unknown, evaluate, numeric_host,
        request::{AccessRequest, Verdict},
    },
    events::{self, Decision, Event},
    log::{FileSink, Log, LogEntry, Writer, line, priority},
    parse::{
        parse,
        rule::Text,
        text::{FileText, Texts},
    },
};

use super::rules::{Shape, address};
use crate::{peak_memory, processor_time};

/// Records of a replay.
const RECORDS: usize = 400_000;
/// What the reader of the ring takes in a batch while 100,000 come a second.
const BATCH: usize = 200;
/// Lines that may wait for the writer: no line of a replay is lost.
const WAITING: u64 = 30_000;
const PATIENCE: Duration = Duration::from_secs(60);

/// Measures one size and shape.
pub(crate) fn run(rules: &str, shape: &str) -> Result<String> {
    let rules: usize = rules.parse().with_context(|| format!("{rules}: no number of rules"))?;
    let started = processor_time()?;
    let tables = Arc::new(parse(&texts(rules, Shape::named(shape)?)).tables);
    let parse_s = (processor_time()? - started).as_secs_f64();
    let started = processor_time()?;
    let tables = IndexedTables::new(tables);
    let index_s = (processor_time()? - started).as_secs_f64();

    let scratch = Scratch::new("bench-replay");
    let log = PathBuf::from(scratch.path("secure"));
    let sink = FileSink::open(&log).context("open the file of lines")?;
    let writer =
        Writer::start(Log::new(log.display().to_string(), Box::new(sink))).context("start the writer")?;
    let records: Vec<Record> = (0..RECORDS).map(|number| record(number, rules)).collect();
    let mut check = SelfCheck::default();
    let (started, cpu) = (Instant::now(), processor_time()?);
    for batch in records.chunks(BATCH) {
        let mut entries = Vec::with_capacity(batch.len());
        let clients: Vec<IpAddr> = batch.iter().map(|record| events::ip(&record.client)).collect();
        tables.read_ahead(&clients);
        for record in batch {
            entries.push(judge(record, &tables, &mut check, started)?);
        }
        while writer.counts().waiting > WAITING {
            thread::yield_now();
        }
        writer.send(entries);
    }
    let counts = writer.close(PATIENCE);
    let (seconds, cpu) = (started.elapsed().as_secs_f64(), (processor_time()? - cpu).as_secs_f64());
    ensure!(counts.written == RECORDS as u64, "lines are missing: {counts:?}");
    let checks = check.counts();
    let result = json!({
        "rules": rules,
        "shape": shape,
        "records": RECORDS,
        "seconds": seconds,
        "processor_s": cpu,
        "parse_s": parse_s,
        "index_s": index_s,
        "peak_bytes": peak_memory()?,
        "checked": checks.checked,
        "unchecked": checks.unchecked,
    });
    Ok(result.to_string())
}

fn texts(rules: usize, shape: Shape) -> Texts {
    const FILE: &str = "/many.hosts";
    let (deny, file) = shape.texts(rules, IpAddr::V4(address(rules - 1)), FILE);
    let bytes = |text: String| FileText::Bytes(text.into_bytes().into());
    Texts {
        allow: (Arc::new("hosts.allow".into()), FileText::Missing),
        deny: (Arc::new("hosts.deny".into()), bytes(deny)),
        files: file.into_iter().map(|text| (FILE.into(), bytes(text))).collect(),
    }
}

/// A refused attempt; its client is that of one of the rules, in no order.
fn record(number: usize, rules: usize) -> Record {
    let client = address(number.wrapping_mul(0x9e37_79b1) % rules);
    let empty = [0; size_of::<Record>()];
    Record {
        kind: Kind::Refused as u32,
        client: mapped(client.octets()),
        server: mapped(Ipv4Addr::new(1, 2, 3, 1).octets()),
        client_port: 40_000,
        server_port: 22,
        protocol: 6,
        family: 2,
        pid: 1234,
        ..Record::from_bytes(&empty).expect("a record has that size")
    }
}

/// What becomes of a record, up to its line.
fn judge(record: &Record, tables: &IndexedTables, check: &mut SelfCheck, start: Instant) -> Result<LogEntry> {
    let Some(Event::Decision(decision)) = Event::from_record(record) else {
        anyhow::bail!("no decision: {record:?}");
    };
    let Decision { client, server, client_port, server_port, pid, .. } = decision;
    let [client, server] = [client, server].map(|address| numeric_host(events::ip(&address)));
    let daemons = [Text::from(*b"sshd")];
    let request = AccessRequest {
        daemons: &daemons,
        client_address: Some(&client),
        server_address: Some(&server),
        client_port: Some(client_port),
        server_port: Some(server_port),
        pid,
        ..AccessRequest::default()
    };
    let judgement = tables.evaluate(&request, &Unknown);
    let now_ns = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
    if check.is_due(now_ns, tables.walk_length()) {
        ensure!(evaluate(tables.tables(), &request, &Unknown) == judgement, "{client}: {judgement:?}");
    }
    ensure!(judgement.verdict == Verdict::Refuse, "{client} is refused");
    Ok(LogEntry {
        time: SystemTime::now(),
        host: "gate".into(),
        ident: "sshd".into(),
        pid,
        message: line::refused(None, &client, &client),
        priority: priority::of(priority::REFUSED, judgement.severity),
    })
}
