//! Why a policy does not fit, and its bounds.

use tcpw_common::limits::{MAX_COMMS, MAX_PREFIXES};

/// Most (names class, port class, server class) triples: 8 MiB of kernel memory.
pub(super) const MAX_SERVICES: usize = 1 << 20;

/// Most (policy, client class) pairs: 128 MiB of kernel memory.
pub(super) const MAX_OUTCOMES: usize = 1 << 24;

/// Most cells a family may be cut into before they become prefixes.
pub(super) const MAX_CELLS: usize = 2 * MAX_PREFIXES;

/// A policy that does not fit the kernel's tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    /// Too many networks.
    #[error(
        "the rules need {count} {family} prefixes, at most {MAX_PREFIXES} fit: join networks, or list fewer of them"
    )]
    Prefixes {
        /// `IPv4` or `IPv6`.
        family: &'static str,
        /// How many.
        count: usize,
    },
    /// Too many services that the rules tell apart.
    #[error(
        "the daemon lists tell {count} services apart ({names} sets of names, {ports} ports, {servers} groups of server \
         addresses), at most {MAX_SERVICES} fit: name fewer daemons, ports or servers"
    )]
    Services {
        /// Their product.
        count: usize,
        /// Classes of names.
        names: usize,
        /// Classes of ports.
        ports: usize,
        /// Classes of server addresses.
        servers: usize,
    },
    /// Too many groups of clients under too many policies.
    #[error(
        "{policies} policies treat {clients} groups of clients differently: {count} outcomes, at most {MAX_OUTCOMES} fit: \
         let more daemons share their rules"
    )]
    Outcomes {
        /// Their product.
        count: usize,
        /// Distinct policies.
        policies: usize,
        /// Client classes.
        clients: usize,
    },
    /// Two names-sets have one id.
    #[error("two sets of names have the same id: \"tcpw detach\", then start tcpw again")]
    SameId,
    /// Too much to say which clients may reach which services.
    #[error(
        "the rules tell too many clients apart, service by service, to list them: let more daemons share their rules, or \
         ask for one daemon"
    )]
    Survey,
    /// Too many ways for daemon patterns to overlap.
    #[error(
        "the daemon patterns with wildcards overlap in too many ways to tell daemons apart: use fewer of them, or ask for \
         one daemon"
    )]
    DaemonPatterns,
    /// Too many daemon names.
    #[error(
        "the daemon lists name {count} daemons, at most {MAX_COMMS} fit: use a pattern such as \"in.*\" or ALL"
    )]
    Names {
        /// How many.
        count: usize,
    },
}
