//! Who connects to what, and what became of it.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    thread,
    time::Duration,
};

use anyhow::{Result, anyhow};
use tcpw_tests::{
    CLIENT_V4, CLIENT_V4_OTHER, CLIENT_V6, CLIENT_V6_OTHER, SERVER_V4, SERVER_V6, Sandbox,
    client::{Attempt, Ended, connect},
};

use crate::predict::Prediction;

/// A refused SYN is dropped without a word; after this the client gives up.
const PATIENCE: Duration = Duration::from_millis(400);

/// All clients: two the seed's rules allow, two they do not, and the server itself.
pub(crate) const CLIENTS: [IpAddr; 6] = [
    CLIENT_V4,
    CLIENT_V4_OTHER,
    CLIENT_V6,
    CLIENT_V6_OTHER,
    IpAddr::V4(Ipv4Addr::LOCALHOST),
    IpAddr::V6(Ipv6Addr::LOCALHOST),
];

/// A daemon's service.
pub(crate) struct Service {
    /// What the table calls it.
    pub(crate) name: &'static str,
    /// The names under which the rules know it.
    pub(crate) names: &'static [&'static str],
    pub(crate) port: u16,
    /// Whether one socket serves both families.
    pub(crate) is_dual_stack: bool,
}

pub(crate) const SSHD: Service =
    Service { name: "sshd :22", names: &["sshd"], port: 22, is_dual_stack: true };
pub(crate) const SSHD_PER_FAMILY: Service =
    Service { name: "sshd :2222", names: &["sshd"], port: 2222, is_dual_stack: false };
pub(crate) const NGINX: Service =
    Service { name: "nginx :80", names: &["nginx"], port: 80, is_dual_stack: false };
pub(crate) const DAYTIME: Service =
    Service { name: "daytime :13", names: &["daytime-stream", "daytime"], port: 13, is_dual_stack: true };
pub(crate) const SERVICES: [&Service; 4] = [&SSHD, &SSHD_PER_FAMILY, &NGINX, &DAYTIME];

impl Service {
    /// An address as the service's socket spells it.
    pub(crate) fn spell(&self, address: IpAddr) -> String {
        match address {
            IpAddr::V4(v4) if self.is_dual_stack => v4.to_ipv6_mapped().to_string(),
            IpAddr::V4(_) | IpAddr::V6(_) => address.to_string(),
        }
    }
}

/// One line of the final table.
pub(crate) struct Row {
    pub(crate) when: &'static str,
    pub(crate) client: IpAddr,
    pub(crate) service: &'static str,
    is_allowed: bool,
    attempt: Attempt,
}

impl Row {
    pub(crate) fn agrees(&self) -> bool {
        self.is_allowed == self.attempt.is_connected()
    }

    pub(crate) fn predicted(&self) -> &'static str {
        if self.is_allowed { "allow" } else { "refuse" }
    }

    pub(crate) fn seen(&self) -> &'static str {
        match self.attempt.ended {
            Ended::Connected(_) | Ended::ConnectedAndReset => "connected",
            Ended::Refused => "reset",
            Ended::TimedOut => "no answer",
        }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} to {}: {} after {:.1?}", self.client, self.service, self.seen(), self.attempt.took)
    }
}

/// Connects from each client to each service, all at once.
pub(crate) fn connect_all(
    sandbox: &Sandbox,
    when: &'static str,
    pairs: &[(IpAddr, &Service)],
) -> Result<Vec<Row>> {
    let prediction = Prediction::new(sandbox)?;
    let results: Vec<Result<Row>> = thread::scope(|scope| {
        let running: Vec<_> = pairs
            .iter()
            .map(|(client, service)| scope.spawn(|| one(sandbox, &prediction, when, *client, service)))
            .collect();
        running
            .into_iter()
            .map(|attempt| attempt.join().unwrap_or_else(|_panic| Err(anyhow!("a connection panicked"))))
            .collect()
    });
    results.into_iter().collect()
}

fn one(
    sandbox: &Sandbox,
    prediction: &Prediction,
    when: &'static str,
    client: IpAddr,
    service: &Service,
) -> Result<Row> {
    let (netns, server) = match client {
        loopback if loopback.is_loopback() => (sandbox.server(), loopback),
        IpAddr::V4(_) => (sandbox.client(), SERVER_V4),
        IpAddr::V6(_) => (sandbox.client(), SERVER_V6),
    };
    let attempt = connect(netns, client, SocketAddr::new(server, service.port), PATIENCE)?;
    let is_allowed = prediction.allows(client, server, service);
    Ok(Row { when, client, service: service.name, is_allowed, attempt })
}
