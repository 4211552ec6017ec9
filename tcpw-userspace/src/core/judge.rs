//! An attempt, judged by the reference evaluator.
//!
//! In: an attempt, the listener's names, the rules of its generation and the known facts. Out: the verdict
//! and the rule behind it, or the first fact that is missing.

use std::net::{IpAddr, SocketAddr};

use super::{
    facts::AttemptFacts,
    input::KernelEvent,
    lookup::{FactLookup, MissingFact, UserWanted},
    policies::Rules,
    shared::SharedState,
};
use crate::{
    evaluate::{
        self, ByNames, decide_by_names,
        judgement::{RuleIndex, Verdict},
        numeric_host,
        request::{AccessRequest, HostName, Judgement},
    },
    events::{self, Decision},
    names::NamesSet,
    parse::rule::Text,
};

/// The evaluator's judgement of an attempt.
pub(super) struct Judged {
    pub(super) judgement: Judgement,
    /// The first missing fact; the verdict then takes a name as unknown and a command as successful.
    pub(super) missing: Option<MissingFact>,
    /// The user was needed before any other missing fact: the verdict is for an unknown user.
    pub(super) user: Option<UserWanted>,
}

/// What the judging of these events needs is read for all of them at once.
pub(super) fn read_ahead(events: &[KernelEvent], shared: &SharedState) {
    let Some(rules) = shared.policies.current_rules() else { return };
    let clients: Vec<IpAddr> = events
        .iter()
        .filter_map(|event| match event {
            KernelEvent::Decided(decision) => Some(events::ip(&decision.client)),
            KernelEvent::Listening { .. }
            | KernelEvent::Executed { .. }
            | KernelEvent::WaitsForUser(_)
            | KernelEvent::NoRoomForUser(_)
            | KernelEvent::CannotWait(_)
            | KernelEvent::HandshakeHasData(..)
            | KernelEvent::BannerDone(_)
            | KernelEvent::Outdated
            | KernelEvent::Unknown { .. } => None,
        })
        .collect();
    rules.indexed.read_ahead(&clients);
}

/// Calls the evaluator; `daemon` is the index of the name that `%d` expands to.
pub(super) fn judge(
    rules: &Rules,
    names: &NamesSet,
    daemon: Option<&str>,
    decision: &Decision,
    facts: &AttemptFacts,
) -> Judged {
    judge_with(rules, names, daemon, decision, facts, |request, answers| {
        rules.indexed.evaluate(request, answers)
    })
}

fn judge_with(
    rules: &Rules,
    names: &NamesSet,
    daemon: Option<&str>,
    decision: &Decision,
    facts: &AttemptFacts,
    evaluate: impl Fn(&AccessRequest<'_>, &FactLookup<'_>) -> Judgement,
) -> Judged {
    let of_names = |names: Vec<Text>| {
        let answers = FactLookup::new(facts, addresses(decision), &rules.accounts);
        let judgement = with_request(names, daemon, decision, |request| evaluate(request, &answers));
        let user = answers.user_wanted();
        Judged { judgement, missing: answers.missing(), user }
    };
    let verdict = |judged: &Judged| {
        let is_known = judged.missing.is_none() && judged.user.is_none();
        is_known.then_some(judged.judgement.verdict)
    };
    match decide_by_names(names, of_names, verdict) {
        ByNames::Decided(judged) => judged,
        // The facts that all names need are found out first, one after the other.
        ByNames::Open { of_all, of_proven } => {
            let is_refused = of_proven.judgement.verdict == Verdict::Refuse;
            let needs_more = of_proven.missing.is_some() || of_proven.user.is_some_and(|user| user.is_open);
            Judged {
                judgement: if is_refused { of_proven.judgement } else { of_all.judgement },
                missing: of_all.missing,
                user: of_all.user.map(|user| UserWanted { is_open: user.is_open || needs_more, ..user }),
            }
        }
    }
}

/// A judgement to be repeated by a walk over every rule.
#[derive(Clone, Debug)]
pub struct Walk {
    pub(super) rules: Rules,
    pub(super) names: NamesSet,
    /// Index of the name that `%d` expands to.
    pub(super) daemon: Option<String>,
    pub(super) decision: Decision,
    pub(super) facts: AttemptFacts,
    /// The judgement by the index.
    pub(super) found: (Verdict, Option<RuleIndex>),
}

impl Walk {
    /// Walks over every rule; returns a message if the result differs.
    pub fn run(&self) -> Option<String> {
        let Self { rules, names, daemon, decision, facts, found: (verdict, rule) } = self;
        let walked = judge_with(rules, names, daemon.as_deref(), decision, facts, |request, answers| {
            evaluate::evaluate(rules.tables(), request, answers)
        });
        let walked = walked.judgement;
        if walked.verdict == *verdict && walked.rule == *rule {
            return None;
        }
        let (client, server) = ends(decision);
        Some(format!(
            "the index over the rules says {verdict:?} of {client} at {server} ({names}), the rules themselves {:?}: please report this",
            walked.verdict
        ))
    }
}

fn with_request(
    mut daemons: Vec<Text>,
    daemon: Option<&str>,
    decision: &Decision,
    evaluate: impl FnOnce(&AccessRequest<'_>) -> Judgement,
) -> Judgement {
    daemons.sort_by_key(|name| daemon.is_none_or(|daemon| **name != *daemon.as_bytes()));
    let [client, server] = addresses(decision).map(numeric_host);
    let request = AccessRequest {
        daemons: &daemons,
        client_address: Some(&client),
        server_address: Some(&server),
        client_port: Some(decision.client_port),
        server_port: Some(decision.server_port),
        pid: decision.pid,
        ..AccessRequest::default()
    };
    evaluate(&request)
}

/// The addresses of client and server.
pub(super) fn addresses(decision: &Decision) -> [IpAddr; 2] {
    [events::ip(&decision.client), events::ip(&decision.server)]
}

/// The client as libwrap's callers log it: its name if a rule had it looked up and it was verified, else its
/// address; `user@` in front if a rule had the user looked up and it is known.
pub(super) fn host_text(decision: &Decision, facts: &AttemptFacts, judgement: Option<&Judgement>) -> String {
    let [client, _] = addresses(decision);
    let Some(judgement) = judgement else { return client_text(decision) };
    let (user, host) =
        match facts.user().and_then(|_| judgement.client.iter().rposition(|byte| *byte == b'@')) {
            Some(at) => (Some(&judgement.client[..at]), &judgement.client[at + 1..]),
            None => (None, &*judgement.client),
        };
    let is_named = matches!(facts.name(client), Some(HostName::Known(_)));
    let host = if is_named && *host != *numeric_host(client).as_bytes() {
        // DNS names are letters, digits and a few other characters; /etc/hosts may hold any bytes.
        evaluate::quoted_bytes(host)
    } else {
        client_text(decision)
    };
    match user {
        Some(user) => format!("{}@{host}", plain(user)),
        None => host,
    }
}

/// A user as the client's host gave it. A byte that a log parser could take as a blank is written `\xNN`, so
/// that the client's host cannot forge the rest of a line.
fn plain(user: &[u8]) -> String {
    let mut text = String::with_capacity(user.len());
    for byte in user {
        match byte {
            b'!'..=b'~' => text.push(char::from(*byte)),
            _ => text.push_str(&format!("\\x{byte:02x}")),
        }
    }
    text
}

/// The client's address as the daemon sees it: on an AF_INET6 socket an IPv4 client is
/// `::ffff:a.b.c.d`.
pub(super) fn client_text(decision: &Decision) -> String {
    match events::ip(&decision.client) {
        IpAddr::V4(v4) if decision.socket_is_v6 => numeric_host(IpAddr::V6(v4.to_ipv6_mapped())),
        other @ (IpAddr::V4(_) | IpAddr::V6(_)) => numeric_host(other),
    }
}

/// Both ends of the attempt.
pub(super) fn ends(decision: &Decision) -> (SocketAddr, SocketAddr) {
    (
        SocketAddr::new(events::ip(&decision.client), decision.client_port),
        SocketAddr::new(events::ip(&decision.server), decision.server_port),
    )
}
