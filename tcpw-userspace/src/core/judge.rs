//! An attempt, judged by the reference evaluator.
//!
//! In: an attempt, the listener's names, the rules of its generation and what was found out. Out: the
//! verdict and the rule behind it, or what has to be found out first.

use std::net::{IpAddr, SocketAddr};

use super::{
    facts::Facts,
    lookup::{Answers, Missing, UserWanted},
    policies::Rules,
};
use crate::{
    evaluate::{
        self,
        judgement::{RuleIndex, Verdict},
        numeric_host,
        request::{HostName, Judgement, Request},
    },
    events::{self, Decision},
    names::NamesSet,
};

/// What the evaluator says of an attempt.
pub(super) struct Judged {
    pub(super) judgement: Judgement,
    /// The first thing it had to know that the facts do not answer: the verdict is then that of an
    /// unknown name, or of a command that succeeds.
    pub(super) missing: Option<Missing>,
    /// It asked for the user first: the verdict is that of an unknown one.
    pub(super) user: Option<UserWanted>,
}

/// Asks the evaluator; `daemon` is which of the names stands for all.
pub(super) fn judge(
    rules: &Rules,
    names: &NamesSet,
    daemon: Option<&str>,
    decision: &Decision,
    facts: &Facts,
) -> Judged {
    with_request(names, daemon, decision, |request, ends| {
        let answers = Answers::new(facts, ends, &rules.accounts);
        let judgement = rules.indexed.evaluate(request, &answers);
        let user = answers.user_wanted();
        Judged { judgement, missing: answers.missing(), user }
    })
}

/// A judgement to be made once more, by a walk over every rule.
#[derive(Clone, Debug)]
pub struct Walk {
    pub(super) rules: Rules,
    pub(super) names: NamesSet,
    /// Which of the names stands for all.
    pub(super) daemon: Option<String>,
    pub(super) decision: Decision,
    pub(super) facts: Facts,
    /// What the index says.
    pub(super) found: (Verdict, Option<RuleIndex>),
}

impl Walk {
    /// Walks; what to say if it comes to something else.
    pub fn run(&self) -> Option<String> {
        let Self { rules, names, daemon, decision, facts, found: (verdict, rule) } = self;
        let walked = with_request(names, daemon.as_deref(), decision, |request, ends| {
            let answers = Answers::new(facts, ends, &rules.accounts);
            evaluate::evaluate(rules.tables(), request, &answers)
        });
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

fn with_request<T>(
    names: &NamesSet,
    daemon: Option<&str>,
    decision: &Decision,
    ask: impl FnOnce(&Request<'_>, [IpAddr; 2]) -> T,
) -> T {
    let mut daemons = names.to_vec();
    daemons.sort_by_key(|name| daemon.is_none_or(|daemon| **name != *daemon.as_bytes()));
    let ends = addresses(decision);
    let [client, server] = ends.map(numeric_host);
    let request = Request {
        daemons: &daemons,
        client_address: Some(&client),
        server_address: Some(&server),
        client_port: Some(decision.client_port),
        server_port: Some(decision.server_port),
        pid: decision.pid,
        ..Request::default()
    };
    ask(&request, ends)
}

/// The addresses of client and server.
pub(super) fn addresses(decision: &Decision) -> [IpAddr; 2] {
    [events::ip(&decision.client), events::ip(&decision.server)]
}

/// Client as the callers of libwrap log it: its name if a rule had it looked up and it can be believed,
/// else its address; `user@` in front if a rule had the user looked up and it is known.
pub(super) fn host_text(decision: &Decision, facts: &Facts, judgement: Option<&Judgement>) -> String {
    let [client, _] = addresses(decision);
    let Some(judgement) = judgement else { return client_text(decision) };
    let (user, host) =
        match facts.user().and_then(|_| judgement.client.iter().rposition(|byte| *byte == b'@')) {
            Some(at) => (Some(&judgement.client[..at]), &judgement.client[at + 1..]),
            None => (None, &*judgement.client),
        };
    let is_named = matches!(facts.name(client), Some(HostName::Known(_)));
    let host = if is_named && *host != *numeric_host(client).as_bytes() {
        // DNS names are letters, digits and few marks; /etc/hosts may hold any bytes.
        evaluate::quoted_bytes(host)
    } else {
        client_text(decision)
    };
    match user {
        Some(user) => format!("{}@{host}", plain(user)),
        None => host,
    }
}

/// A user as the client's host gave it. A byte that a reader of lines could take for a blank is written
/// `\xNN`: the client's host must not forge the rest of a line.
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

/// The client as the daemon itself would have seen it: on an AF_INET6 socket an IPv4 client is
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
