//! The daemon's state, for `tcpw status`.
//!
//! In: state of the duties, and facts of the host. Out: a [`Status`].

use std::{
    collections::{BTreeMap, HashSet},
    path::PathBuf,
    time::{SystemTime, UNIX_EPOCH},
};

use tcpw_common::{certified::CertifiedKey, metric::Metric};

use super::{
    apply::Apply, certify::on_deny, early::EarlyDrop, listener_policy::PolicyWords, listeners::is_service,
    redirect::Redirect, report::AttemptRecords, unproven::not_opened,
};
use crate::{
    control::{ListenerStatus, LogStatus, SinkStatus, Status, TableStatus, TablesStatus, TagState},
    core::{
        input::{Seen, StatusFacts},
        inventory::KnownListener,
        policies::InForce,
        shared::SharedState,
    },
    listeners::{Claim, NamePart, NameSource},
    log::SinkCounts,
};

/// The state that `tcpw status` shows; `own` are the counters of the duties.
pub(in crate::core) fn status(
    facts: &StatusFacts,
    own: Vec<(Metric, u64)>,
    enforcing_since: SystemTime,
    (redirect, early, report, apply): (&Redirect, &EarlyDrop, &AttemptRecords, &Apply),
    shared: &SharedState,
) -> Status {
    let current = shared.policies.current.as_ref();
    let mut counters: BTreeMap<String, u64> = BTreeMap::new();
    // Counters of the same name are added up: the kernel's part and user space's.
    for (metric, value) in facts.counters.iter().copied().chain(own) {
        *counters.entry(metric.name.to_owned()).or_default() += value;
    }
    let size = |size: usize| u64::try_from(size).unwrap_or(u64::MAX);
    let (with, without) = facts.reset_namespaces;
    for (name, value) in [
        ("reset_namespaces", size(with)),
        ("reset_namespaces_without", size(without)),
        ("users_held", facts.waiting),
        ("banners_waiting", facts.banner_sockets),
    ] {
        counters.insert(name.into(), value);
    }
    Status {
        version: env!("CARGO_PKG_VERSION").into(),
        pid: std::process::id(),
        mode: shared.config.mode,
        enforcing_since: seconds(enforcing_since),
        generation: current.map_or(0, |current| current.generation),
        applied_at: current.map_or(0, |current| seconds(current.applied_at)),
        tables: TablesStatus { allow: table(current, 0, facts), deny: table(current, 1, facts) },
        problem: Some(problems(report, shared).join("; ")).filter(|all| !all.is_empty()),
        follow_files: shared.config.follow_files,
        confirm: apply.status(),
        cgroup: shared.config.cgroup.clone(),
        pinned: shared.config.pin,
        kernel_not_asked: kernel_not_asked(facts, shared),
        early_drop: early.status(),
        listeners: sockets(facts, redirect, shared),
        counters,
        log: log(&facts.lines),
    }
}

/// What each sink wrote, and all together.
pub(super) fn log(lines: &[SinkCounts]) -> LogStatus {
    let of = |sink: &SinkCounts| SinkStatus {
        target: sink.target.clone(),
        written: sink.lines.written,
        lost: sink.lines.lost,
        waiting: sink.lines.waiting,
    };
    LogStatus {
        written: lines.iter().map(|sink| sink.lines.written).sum(),
        failed: lines.iter().map(|sink| sink.lines.lost).sum(),
        sinks: lines.iter().map(of).collect(),
    }
}

/// What the administrator has to see to. A verdict that differs is a defect, and stays one until the daemon ends.
pub(super) fn problems(report: &AttemptRecords, shared: &SharedState) -> Vec<String> {
    let (disagreements, index_disagreements) = report.mismatches();
    let mismatch = (disagreements + index_disagreements > 0).then(|| {
        format!(
            "{disagreements} verdicts of the kernel differ from the evaluator's, {index_disagreements} of the index from \
             those of a walk over every rule: please report it, with the lines of the log"
        )
    });
    shared.problems.texts().map(str::to_owned).chain(mismatch).collect()
}

/// Why the kernel's own decisions are not in the status.
fn kernel_not_asked(facts: &StatusFacts, shared: &SharedState) -> Option<String> {
    match &facts.answers {
        Err(reason) => Some(reason.clone()),
        Ok(answers) if Some(answers.generation) != shared.policies.generation() => {
            Some("the policy changed meanwhile".into())
        }
        Ok(_) => None,
    }
}

/// IPPROTO_UDPLITE.
const UDP_LITE: u16 = 136;

/// Listeners that are guarded and still exist, then those that are not guarded.
fn sockets(facts: &StatusFacts, redirect: &Redirect, shared: &SharedState) -> Vec<ListenerStatus> {
    let current = shared.policies.current.as_ref();
    let answers = facts
        .answers
        .as_ref()
        .ok()
        .filter(|answers| Some(answers.generation) == shared.policies.generation());
    let mut words = PolicyWords::new(current.map(|current| &*current.policy), answers);
    let seen: HashSet<u64> = facts.all.iter().map(|seen| seen.cookie).collect();
    let is_answered = |key: &CertifiedKey| facts.reset_places.contains(key);
    let known = shared.inventory.sorted();
    let known = known.into_iter().filter(|(cookie, _)| seen.contains(cookie));
    let mut rows: Vec<ListenerStatus> = known
        .map(|(cookie, known)| {
            let policy = words.of_known(cookie, known);
            listener(known, current, on_deny(known, &shared.config, is_answered), policy)
        })
        .collect();
    let is_other = |it: &&Seen| shared.inventory.get(it.cookie).is_none() && !redirect.is_own(it.cookie);
    let others = facts.all.iter().filter(is_other).filter(|it| is_service(it, facts.marks_bound));
    let mut others: Vec<ListenerStatus> = others.map(|it| unguarded(it, &mut words)).collect();
    others.sort_by_key(|it| (it.tag != TagState::Outside, it.local.port(), it.pid));
    rows.extend(others);
    rows
}

/// A socket that no scan has tagged: it is out of scope, or new.
fn unguarded(it: &Seen, words: &mut PolicyWords<'_>) -> ListenerStatus {
    let tag = match it.tag {
        _ if !it.is_guarded => TagState::Outside,
        Ok(Some(_)) if it.is_shown => TagState::Provisional,
        Ok(_) | Err(()) => TagState::Missing,
    };
    let (found_by, policy) = match tag {
        TagState::Outside if it.protocol == UDP_LITE => {
            (found_by(it.found, &it.parts), "not judged: UDP-Lite")
        }
        TagState::Outside => (found_by(it.found, &it.parts), "not judged: outside the cgroup"),
        TagState::Provisional => ("process name only".into(), "that of its process name"),
        TagState::Written | TagState::Missing => ("no scan yet".into(), "that of any daemon"),
    };
    ListenerStatus {
        pid: it.pid,
        ident: it.ident.clone(),
        names: texts(&it.names),
        proven_by: proven_by(&it.claims),
        unproven: unproven(&it.claims),
        not_opened: Vec::new(),
        netns: it.netns,
        local: it.local,
        protocol: protocol(it.protocol),
        found_by,
        policy: if tag == TagState::Outside {
            policy.into()
        } else {
            words.of_other(it.cookie, it.local.port()).unwrap_or_else(|| policy.into())
        },
        on_deny: if tag == TagState::Outside { "-".into() } else { "drop".into() },
        tag,
    }
}

/// What proves names, each once.
fn proven_by(claims: &[Claim]) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for proof in claims.iter().filter_map(|claim| claim.proof.as_ref().ok()) {
        let proof = proof.to_string();
        if !all.contains(&proof) {
            all.push(proof);
        }
    }
    all
}

/// The names that are not proven, and why.
fn unproven(claims: &[Claim]) -> BTreeMap<String, String> {
    let doubts = claims.iter().filter_map(|claim| Some((&claim.name, claim.proof.as_ref().err()?)));
    doubts.map(|(name, doubt)| (String::from_utf8_lossy(name).into_owned(), doubt.to_string())).collect()
}

fn texts(names: &crate::names::NamesSet) -> Vec<String> {
    names.iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect()
}

fn protocol(number: u16) -> String {
    match number {
        6 => "tcp".into(),
        17 => "udp".into(),
        UDP_LITE => "udplite".into(),
        262 => "mptcp".into(),
        other => other.to_string(),
    }
}

/// The source of the names, in words.
fn found_by(found: NameSource, parts: &[NamePart]) -> String {
    match found {
        NameSource::Process if parts == [NamePart::Comm] => "process name only".into(),
        NameSource::Process => {
            let parts: Vec<&str> = parts
                .iter()
                .map(|part| match part {
                    NamePart::Executable => "executable",
                    NamePart::Libwrap => "libwrap name",
                    NamePart::Unit => "unit",
                    NamePart::Argv => "argv",
                    NamePart::Comm => "process name",
                })
                .collect();
            parts.join(", ")
        }
        NameSource::Xinetd => "xinetd.conf".into(),
        NameSource::Inetd => "inetd.conf".into(),
        NameSource::Systemd => "systemd socket".into(),
        NameSource::Settings => "tcpw.toml".into(),
        NameSource::NoProcess => "no process".into(),
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn table(current: Option<&InForce>, index: usize, facts: &StatusFacts) -> TableStatus {
    let Some(current) = current else {
        return TableStatus { path: PathBuf::new(), rules: 0, errors: 0, sha256: String::new() };
    };
    let tables = current.rules.tables();
    let table = [&tables.allow, &tables.deny][index];
    let sha256 = facts.hashes.as_ref().filter(|(generation, _)| *generation == current.generation);
    let sha256 = sha256.map(|(_, hashes)| hashes[index].clone());
    TableStatus {
        path: (*table.path).clone(),
        rules: table.rules.len(),
        errors: current.errors_of(table.kind),
        sha256: sha256.filter(|_| table.rules.text().was_read()).unwrap_or_default(),
    }
}

fn listener(
    known: &KnownListener,
    current: Option<&InForce>,
    on_deny: &str,
    policy: String,
) -> ListenerStatus {
    ListenerStatus {
        pid: known.pid,
        ident: known.ident.clone(),
        names: texts(&known.names),
        proven_by: proven_by(&known.claims),
        unproven: unproven(&known.claims),
        not_opened: current.map_or_else(Vec::new, |current| not_opened(known, &current.rules)),
        netns: known.netns,
        local: known.local,
        protocol: protocol(known.protocol),
        found_by: found_by(known.found, &known.parts),
        policy,
        on_deny: on_deny.into(),
        tag: match known.untagged {
            None => TagState::Written,
            Some(_) => TagState::Missing,
        },
    }
}
