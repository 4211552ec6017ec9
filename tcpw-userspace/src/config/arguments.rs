//! The flags of `tcpw run`, and those that name the tables.

use std::{path::PathBuf, str::FromStr};

use clap::Args;

use super::OnDeny;
use crate::{host::is_device_name, log::LogTarget};

/// The tables.
#[derive(Args, Clone, Debug, Default)]
pub struct TableArgs {
    /// Table of the clients that are allowed [default: /etc/hosts.allow]
    #[arg(long, value_name = "FILE")]
    pub hosts_allow: Option<PathBuf>,
    /// Table of the clients that are refused [default: /etc/hosts.deny]
    #[arg(long, value_name = "FILE")]
    pub hosts_deny: Option<PathBuf>,
}

/// Flags of `tcpw run`; they override the configuration file.
#[derive(Args, Clone, Debug, Default)]
pub struct RunArgs {
    /// Configuration file [default: /etc/tcpw.toml, if it exists]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The tables.
    #[command(flatten)]
    pub tables: TableArgs,
    /// Guard the sockets below this cgroup2 directory [default: the root: every socket]
    #[arg(long, value_name = "DIR")]
    pub cgroup: Option<PathBuf>,
    /// Where refused attempts are logged: stdout, syslog, journald, file:PATH, json or json:PATH; may be given
    /// several times [default: syslog]
    #[arg(long, value_name = "WHERE")]
    pub log: Vec<LogTarget>,
    /// Log accepted connections as well
    #[arg(long)]
    pub log_allowed: bool,
    /// Source addresses cannot be forged here: every refused attempt gets a line that fail2ban counts
    #[arg(long)]
    pub trust_source_addresses: bool,
    /// Keep the policy in force when the daemon ends
    #[arg(long)]
    pub pin: bool,
    /// How to refuse: close, reset or drop; for every daemon [default: close]
    #[arg(long, value_name = "HOW")]
    pub on_deny: Option<OnDeny>,
    /// Drop the SYNs of refused clients at this network device, before the stack; may be given several times
    #[arg(long, value_name = "DEVICE")]
    pub early_drop: Vec<DeviceName>,
    /// With --cgroup: watch which UDP ports are bound outside it, by programs at the root of all cgroups, so that
    /// refused datagrams can be answered
    #[arg(long)]
    pub watch_udp_binds: bool,
    /// Directory of the lock and the control socket [default: /run/tcpw]
    #[arg(long, value_name = "DIR")]
    pub run_dir: Option<PathBuf>,
    /// Directory of the pinned policy [default: /sys/fs/bpf/tcpw]
    #[arg(long, value_name = "DIR")]
    pub pin_dir: Option<PathBuf>,
    /// Directory of what is kept over a reboot [default: /var/lib/tcpw]
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
}

/// The name of a network device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceName(pub String);

impl FromStr for DeviceName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if is_device_name(text) {
            return Ok(Self(text.to_owned()));
        }
        Err(format!("early-drop \"{text}\": write the name of a network device, as in \"ip link\""))
    }
}
