//! The sandbox and helpers the tests and the demo share.
//!
//! [`Sandbox`] is a small network of one server and one client with real daemons,
//! a cgroup of its own and private /etc, /run, /dev, /var/log and bpffs. Nothing in it
//! touches the host's own connections, and nothing of it is left behind.

pub mod client;
pub mod daemons;
pub mod datagrams;
pub mod differential;
pub mod policy;
pub mod unpacked;

mod bpf;
mod cgroup;
mod cleanup;
mod commands;
mod live_frames;
mod namespace;
mod process;
mod raw_client;
mod sandbox;
mod scratch;
mod skip;
mod systemd;
mod tcpw;
mod testd;
mod tiny_program;
mod wait;

pub use cgroup::{Cgroup, cgroup2_root};
pub use commands::Commands;
pub use live_frames::{LiveFrames, Received};
pub use namespace::{Listening, MountNamespace, Netns};
pub use process::{Line, Process};
pub use raw_client::RawClient;
pub use sandbox::{
    ALLOW, CLIENT_V4, CLIENT_V4_OTHER, CLIENT_V6, CLIENT_V6_OTHER, CLIENTS, DENY, LO_V4, LO_V6, Place,
    SERVER_V4, SERVER_V6, Sandbox,
};
pub use scratch::{Scratch, tcpw_output};
pub use skip::{Requirement, can_run, skip};
pub use systemd::Systemd;
pub use tcpw::{
    BELOW_ONLY, FORGEABLE, STATE_DIR, Tcpw, children, other_layout_binary, status_of, tcpw_binary,
};
pub use testd::Testd;
pub use tiny_program::{EveryFrame, TinyProgram};
pub use wait::{Barrier, Tries, wait_for, wait_ready, wait_syn_sent, wait_until};
