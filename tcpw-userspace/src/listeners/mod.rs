//! Finds listeners and their names.
//!
//! In: /proc and the sockets behind it. Out: [`Listener`]s, each with a duplicate
//! of its socket, ready to be tagged.
//! Invariant: a process cannot take a name that only root may give: argv\[0\],
//! comm, systemd units of users and configuration files of unprivileged
//! super-servers do not count, and a name that is not proven ([`Proof`]) closes and never opens.

mod config_files;
mod duplicates;
mod hidden;
mod holders;
pub mod inetd;
mod libwrap_names;
mod manager;
mod names;
mod owner;
mod process;
mod program;
mod proof;
mod scan;
mod scope;
pub mod services;
mod settings;
pub mod socket_unit;
mod superserver;
mod survey;
mod sys;
mod unit;
pub mod xinetd;

use std::{net::SocketAddr, os::fd::OwnedFd};

pub(crate) use duplicates::duplicates_of;
pub use proof::{Claim, Doubt, Proof};
pub use scan::Scanner;
pub use settings::MoreNames;
pub use survey::{Namespace, PortSocket, Survey};

use crate::names::NamesSet;

/// A listening socket, or a UDP socket that has a port, and the process it belongs to.
#[derive(Debug)]
pub struct Listener {
    /// A duplicate of the socket: dropping it changes nothing for the owner. `None` if no process was found
    /// that holds it.
    pub socket: Option<OwnedFd>,
    /// SO_COOKIE of the socket that the gate sees, never used again; of an MPTCP listener its subflow's.
    pub cookie: u64,
    /// SO_NETNS_COOKIE; 0 if the kernel lacks it (before 5.14).
    pub netns: u64,
    /// The process it is named after; 0 for a listener of the kernel.
    pub pid: u32,
    /// A process in its network namespace: its own, or any for a listener of the kernel.
    pub resident: u32,
    /// Every process that holds the socket.
    pub holders: Vec<u32>,
    /// 2 (AF_INET) or 10 (AF_INET6).
    pub family: u32,
    /// 6 (TCP), 17 (UDP) or 262 (MPTCP, whose tag does not reach the gate).
    pub protocol: u16,
    /// Local address and port.
    pub local: SocketAddr,
    /// The names a daemon token is compared with.
    pub names: NamesSet,
    /// The same, each with what proves it or why nothing does.
    pub claims: Vec<Claim>,
    /// The text before `[pid]` in the log line.
    pub ident: String,
    /// Where the names come from.
    pub found: NameSource,
    /// Which facts of the process they come from, if from the process.
    pub parts: Vec<NamePart>,
    /// Whether it is in scope: other listeners are found only on demand.
    pub is_guarded: bool,
    /// A UDP socket whose datagrams the kernel itself consumes before any filter sees them: IPsec, L2TP.
    pub is_tunnel: bool,
    /// The service, if a super-server listens for it and has its own line format.
    pub service: Option<XinetdService>,
}

/// Where a listener's names come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NameSource {
    /// The process: its executable, its systemd unit and, if it is privileged, argv\[0\] and comm.
    Process,
    /// The configuration of xinetd, by port.
    Xinetd,
    /// The configuration of inetd, by port.
    Inetd,
    /// systemd's socket units, by address: the daemon has not started yet.
    Systemd,
    /// Port or unit, by tcpw.toml.
    Settings,
    /// No process: the kernel itself listens, or a process that cannot be seen.
    NoProcess,
}

/// A fact of a process that gives it a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NamePart {
    /// The basename of the executable.
    Executable,
    /// What the executable calls itself to libwrap.
    Libwrap,
    /// The systemd unit.
    Unit,
    /// argv\[0\].
    Argv,
    /// The process name (comm).
    Comm,
}

/// The part of a service that xinetd's log lines show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct XinetdService {
    /// Its `id`.
    pub id: String,
}
