//! A record as a JSON object.
//!
//! In: a [`Record`] or a count. Out: its line. docs/records.md describes each field, docs/record.schema.json all of them.
//! Invariant: an object of a kind always has the same fields; what is not known is null. Text that a table, a name server
//! or a process gave may be any bytes: see [`words::text`].

use std::os::unix::ffi::OsStrExt as _;

use serde::Serialize;

use super::{
    AttemptCount, JudgementRecord, ListenerRecord, LookupRecord, Record,
    words::{self, micros, text},
};
use crate::{
    bans::BanEntry,
    evaluate::request::HostName,
    log::{JsonLine, rfc3339},
    parse::rule::Text,
    resolve::{Found, Question},
};

/// Number of the form: another one where a field goes away or means something else.
const VERSION: u32 = 1;

#[derive(Serialize)]
struct Attempt<'a> {
    version: u32,
    kind: &'static str,
    time: String,
    id: u64,
    fate: &'static str,
    verdict: Option<&'static str>,
    reason: Option<&'static str>,
    source: &'static str,
    protocol: &'static str,
    client: Client<'a>,
    server: End,
    interface: u32,
    netns: u64,
    listener: Listener<'a>,
    rule: Option<Rule>,
    ban: Option<Ban<'a>>,
    effects: &'a [&'static str],
    lookups: Vec<Lookup>,
    held_us: Option<u64>,
    generation: u32,
    policy: u32,
    twist: Option<String>,
}

#[derive(Serialize)]
struct Client<'a> {
    address: String,
    port: u16,
    as_seen: &'a str,
    name: Option<String>,
    user: Option<String>,
}

#[derive(Serialize)]
struct End {
    address: String,
    port: u16,
}

#[derive(Serialize)]
struct Listener<'a> {
    ident: &'a str,
    pid: u32,
    names: Vec<String>,
    unproven_names: Vec<String>,
    service: Option<&'a str>,
    doubt: Option<&'static str>,
}

#[derive(Serialize)]
struct Rule {
    table: &'static str,
    file: String,
    line: u32,
    text: Option<String>,
}

#[derive(Serialize)]
struct Ban<'a> {
    network: String,
    daemon: Option<&'a str>,
    since: String,
    until: Option<String>,
    reason: &'a str,
    by: &'a str,
}

#[derive(Serialize)]
struct Lookup {
    kind: &'static str,
    asked: Option<String>,
    host: Option<String>,
    result: &'static str,
    name: Option<String>,
    took_us: Option<u64>,
}

#[derive(Serialize)]
struct Count {
    version: u32,
    kind: &'static str,
    time: String,
    within_s: u64,
    clients: &'static str,
    network: Option<String>,
    attempts: u64,
}

/// The line of an attempt.
pub(super) fn attempt(record: &Record) -> JsonLine {
    let judged = record.judged.as_ref();
    let is_hidden = record.hidden_client.is_some();
    line(&Attempt {
        version: VERSION,
        kind: "attempt",
        time: rfc3339(record.time),
        id: record.id,
        fate: words::fate(record.fate),
        verdict: record.decided().map(|(verdict, _)| verdict),
        reason: record.decided().map(|(_, reason)| reason),
        source: words::source(record.source),
        protocol: words::protocol(record.protocol),
        client: Client {
            address: record.shown_client(),
            port: record.client.port(),
            as_seen: &record.client_address,
            name: record.client_name.as_deref().map(text),
            user: record.client_user.as_deref().map(text),
        },
        server: End { address: record.server.ip().to_canonical().to_string(), port: record.server.port() },
        interface: record.ifindex,
        netns: record.netns,
        listener: listener(&record.listener),
        rule: judged.and_then(|judged| rule(judged, is_hidden)),
        ban: record.ban.as_ref().map(ban),
        effects: judged.map_or(&[], |judged| &judged.effects),
        lookups: record.lookups.iter().map(|it| lookup(it, is_hidden)).collect(),
        held_us: record.held_for.map(micros),
        generation: record.generation,
        policy: record.policy,
        twist: record.twist.as_deref().map(text),
    })
}

/// The line of a count.
pub(super) fn count(count: &AttemptCount, hidden: Option<&str>) -> JsonLine {
    let (clients, network) = words::counted(count.clients, hidden);
    line(&Count {
        version: VERSION,
        kind: words::counted_for(count.counted_for),
        time: rfc3339(count.time),
        within_s: count.within.as_secs(),
        clients,
        network,
        attempts: count.attempts,
    })
}

fn line(object: &impl Serialize) -> JsonLine {
    // It has no map and no number that JSON lacks: it cannot fail.
    JsonLine::new(serde_json::to_vec(object).unwrap_or_default())
}

fn listener(listener: &ListenerRecord) -> Listener<'_> {
    let proven = listener.names.proven();
    let is_proven = |name: &&Text| proven.iter().any(|it| it == *name);
    let names = |wanted: bool| {
        listener.names.iter().filter(|name| is_proven(name) == wanted).map(|name| text(name)).collect()
    };
    Listener {
        ident: &listener.ident,
        pid: listener.pid,
        names: names(true),
        unproven_names: names(false),
        service: listener.service.as_deref(),
        doubt: listener.doubt.map(words::doubt),
    }
}

fn rule(judged: &JudgementRecord, is_hidden: bool) -> Option<Rule> {
    let rule = judged.rule()?;
    Some(Rule {
        table: words::table(judged)?,
        file: text(rule.path().as_os_str().as_bytes()),
        line: rule.line(),
        text: (!is_hidden).then(|| text(&rule.text())),
    })
}

fn ban(BanEntry { of, facts }: &BanEntry) -> Ban<'_> {
    Ban {
        network: of.network.to_string(),
        daemon: of.daemon.as_deref(),
        since: words::time(facts.since),
        until: facts.until.map(words::time),
        reason: &facts.reason,
        by: &facts.by,
    }
}

fn lookup(lookup: &LookupRecord, is_hidden: bool) -> Lookup {
    let (kind, asked, host) = match &lookup.question {
        Question::Name(address) => ("name", address.to_string(), None),
        Question::Netgroup { group, host } => ("netgroup", text(group), Some(text(host))),
    };
    let (result, name) = match &lookup.found {
        Found::Name(verified) => match &verified.name {
            HostName::Known(name) => ("found", Some(text(name))),
            HostName::Unknown => ("not-found", None),
            HostName::Paranoid => ("contradiction", None),
        },
        Found::Member(true) => ("member", None),
        Found::Member(false) => ("no-member", None),
    };
    let shown = |text: Option<String>| text.filter(|_| !is_hidden);
    Lookup {
        kind,
        asked: shown(Some(asked)),
        host: shown(host),
        result,
        name: shown(name),
        took_us: lookup.took.map(micros),
    }
}
