//! A decision of the kernel, judged once more by the reference evaluator.
//!
//! In: an attempt, the listener's names, the tables of its generation and what was looked up.
//! Out: the verdict and the rule behind it, or what has to be looked up first.

use std::net::{IpAddr, SocketAddr};

use crate::{
    evaluate::{
        self, numeric_host,
        request::{HostName, Judgement, Request},
    },
    events::{self, Decision},
    names::NamesSet,
};

use super::{
    facts::{Answers, Facts, Missing, UserWanted},
    policy::Rules,
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
    let mut daemons = names.to_vec();
    daemons.sort_by_key(|name| daemon.is_none_or(|daemon| **name != *daemon.as_bytes()));
    let ends = addresses(decision);
    let [client, server] = ends.map(numeric_host);
    let answers = Answers::new(facts, ends, &rules.accounts);
    let request = Request {
        daemons: &daemons,
        client_address: Some(&client),
        server_address: Some(&server),
        client_port: Some(decision.client_port),
        server_port: Some(decision.server_port),
        pid: decision.pid,
        ..Request::default()
    };
    let judgement = rules.indexed.evaluate(&request, &answers);
    let user = answers.user_wanted();
    Judged { judgement, missing: answers.missing(), user }
}

/// The addresses of client and server.
pub(super) fn addresses(decision: &Decision) -> [IpAddr; 2] {
    [events::ip(&decision.client), events::ip(&decision.server)]
}

/// Client as libwrap's callers log it: its name if a rule had it looked up and it can be believed,
/// else its address; `user@` in front if a rule had him looked up and he is known.
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

/// A user as the client's host gave it. What a reader of lines might take for a blank is written
/// `\xNN`: nobody shall forge the rest of a line.
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

/// The client as the daemon itself would have seen it: on an AF_INET6 socket an
/// IPv4 client is `::ffff:a.b.c.d`.
pub(super) fn client_text(decision: &Decision) -> String {
    match events::ip(&decision.client) {
        IpAddr::V4(v4) if decision.socket_is_v6 => numeric_host(IpAddr::V6(v4.to_ipv6_mapped())),
        other @ (IpAddr::V4(_) | IpAddr::V6(_)) => numeric_host(other),
    }
}

/// Both ends of the attempt, for diagnostics.
pub(super) fn ends(decision: &Decision) -> (SocketAddr, SocketAddr) {
    (
        SocketAddr::new(events::ip(&decision.client), decision.client_port),
        SocketAddr::new(events::ip(&decision.server), decision.server_port),
    )
}
