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
    parse::rule::Tables,
    resolve::Question,
};

use super::facts::{Answers, Facts};

/// What the evaluator says of the attempt, and the first question it had that the facts do not
/// answer: the verdict is then that of an unknown name.
pub(super) fn judge(
    tables: &Tables,
    names: &NamesSet,
    decision: &Decision,
    facts: &Facts,
) -> (Judgement, Option<Question>) {
    let daemons = names.to_vec();
    let ends = addresses(decision);
    let [client, server] = ends.map(numeric_host);
    let answers = Answers::new(facts, ends);
    let request = Request {
        daemons: &daemons,
        client_address: Some(&client),
        server_address: Some(&server),
        client_port: Some(decision.client_port),
        server_port: Some(decision.server_port),
        ..Request::default()
    };
    let judgement = evaluate::evaluate(tables, &request, &answers);
    (judgement, answers.missing())
}

/// The addresses of client and server.
pub(super) fn addresses(decision: &Decision) -> [IpAddr; 2] {
    [events::ip(&decision.client), events::ip(&decision.server)]
}

/// Host or address of the client, as libwrap's callers log it: the name if a rule had it looked up
/// and it can be believed.
pub(super) fn host_text(decision: &Decision, facts: &Facts, judgement: Option<&Judgement>) -> String {
    let [client, _] = addresses(decision);
    let is_named = matches!(facts.name(client), Some(HostName::Known(_)));
    match judgement.filter(|it| is_named && *it.client != *numeric_host(client).as_bytes()) {
        // DNS names are letters, digits and few marks; /etc/hosts may hold any bytes.
        Some(judgement) => evaluate::quoted_bytes(&judgement.client),
        None => client_text(decision),
    }
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
