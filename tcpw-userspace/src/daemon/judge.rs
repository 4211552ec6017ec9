//! A decision of the kernel, judged once more by the reference evaluator.
//!
//! In: an attempt, the listener's names and the tables of its generation. Out: the
//! verdict and the rule behind it.

use std::net::{IpAddr, SocketAddr};

use crate::{
    evaluate::{
        self, numeric_host,
        request::{Judgement, Request},
    },
    events::{self, Decision},
    names::NamesSet,
    parse::rule::Tables,
    resolve::Accounts,
};

/// What the evaluator says of the attempt; `daemon` is which of the names stands for all.
pub(super) fn judge(
    tables: &Tables,
    names: &NamesSet,
    daemon: Option<&str>,
    decision: &Decision,
) -> Judgement {
    let mut daemons = names.to_vec();
    daemons.sort_by_key(|name| daemon.is_none_or(|daemon| **name != *daemon.as_bytes()));
    let (client, server) =
        (numeric_host(events::ip(&decision.client)), numeric_host(events::ip(&decision.server)));
    let request = Request {
        daemons: &daemons,
        client_address: Some(&client),
        server_address: Some(&server),
        client_port: Some(decision.client_port),
        server_port: Some(decision.server_port),
        pid: decision.pid,
        ..Request::default()
    };
    evaluate::evaluate(tables, &request, &Accounts)
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
