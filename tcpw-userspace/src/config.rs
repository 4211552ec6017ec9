//! The configuration of `tcpw run`: flags override /etc/tcpw.toml, which overrides defaults.
//!
//! In: a TOML file and the command line. Out: [`Config`], complete and checked.
//! Invariant: no setting is silently ignored; an unknown key or value is an error with its
//! place and what to write instead.

mod arguments;
mod destinations;
mod effects;
mod file;
mod lines;
mod metrics;
mod privacy;
mod resolve;

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::{
    compile::ClientTableKind,
    effects::Settings as Effects,
    host,
    listeners::MoreNames,
    log::{LogTarget, LogTargetError},
    names::NamesSet,
};
pub use arguments::{RunArgs, TableArgs};
use file::FileSettings;
pub use lines::LineRates;
pub use metrics::MetricsSettings;
pub use privacy::{PrivacySettings, ShownAddresses};
pub use resolve::{NAME_SERVER_PORTS, Resolve};

/// Read if it exists; another one is named by `--config`, and must exist.
pub const DEFAULT_PATH: &str = "/etc/tcpw.toml";

/// Default of `--run-dir`.
pub const DEFAULT_RUN_DIR: &str = "/run/tcpw";

/// Default of `--pin-dir`.
pub const DEFAULT_PIN_DIR: &str = "/sys/fs/bpf/tcpw";

/// Default of `--state-dir`.
pub const DEFAULT_STATE_DIR: &str = "/var/lib/tcpw";

/// Default of `--hosts-allow`.
pub const DEFAULT_HOSTS_ALLOW: &str = "/etc/hosts.allow";

/// Default of `--hosts-deny`.
pub const DEFAULT_HOSTS_DENY: &str = "/etc/hosts.deny";

/// The daemon's configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// hosts.allow.
    pub hosts_allow: PathBuf,
    /// hosts.deny.
    pub hosts_deny: PathBuf,
    /// The cgroup2 directory below which every listener is guarded.
    pub cgroup: PathBuf,
    /// Where records are written; no two to the same place.
    pub log: Vec<LogTarget>,
    /// What sinks show of clients.
    pub privacy: PrivacySettings,
    /// Also log accepted connections.
    pub log_allowed: bool,
    /// Source addresses cannot be forged here.
    pub trust_source_addresses: bool,
    /// Leave the policy in force when the daemon ends.
    pub pin: bool,
    /// Edits of the tables come into force by themselves.
    pub follow_files: bool,
    /// Refuse, or only log.
    pub mode: Mode,
    /// How to refuse.
    pub refusal: Refusal,
    /// Devices at which SYNs of refused clients are dropped before the stack.
    pub early_drop: Vec<String>,
    /// The form of the tables of clients.
    pub table: ClientTableKind,
    /// Files of network namespaces, besides the host's and the daemon's, whose listeners' lines carry their names.
    pub line_namespaces: Vec<PathBuf>,
    /// Addresses and ports that are never judged.
    pub exempt: Exempt,
    /// Additional names for listeners.
    pub more_names: MoreNames,
    /// How commands of the tables are run.
    pub effects: Effects,
    /// How names are looked up.
    pub resolve: Resolve,
    /// How many attempts have lines of their own; none: all.
    pub lines: Option<LineRates>,
    /// How metrics are exported.
    pub metrics: MetricsSettings,
    /// Directory of the lock and the control socket.
    pub run_dir: PathBuf,
    /// The group whose members may ask for what changes nothing.
    pub readers: Option<u32>,
    /// Directory of the pinned maps and links.
    pub pin_dir: PathBuf,
    /// Directory of what is kept over a reboot.
    pub state_dir: PathBuf,
    /// The proc file system that is scanned for listeners.
    pub proc_root: PathBuf,
}

/// Refuse, or only log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// What the tables refuse is refused.
    #[default]
    Enforce,
    /// What the tables refuse is logged and let pass.
    Audit,
}

impl fmt::Display for Mode {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Enforce => "enforce",
            Self::Audit => "audit",
        })
    }
}

impl FromStr for Mode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "enforce" => Ok(Self::Enforce),
            "audit" => Ok(Self::Audit),
            _ => Err(format!("mode \"{text}\": write \"enforce\" or \"audit\"")),
        }
    }
}

/// How to refuse.
///
/// Of several settings for one listener the greatest counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum OnDeny {
    /// The connection is completed by the redirect listener and closed, as libwrap's daemons do it, if the place
    /// is certified; else dropped. Where there is no redirect listener, and over UDP: as [`Self::Reset`].
    #[default]
    Close,
    /// The SYN is answered with a reset, a datagram with ICMP, if the place is certified; else dropped.
    Reset,
    /// The SYN is dropped: the client waits until it gives up.
    Drop,
}

impl FromStr for OnDeny {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "close" => Ok(Self::Close),
            "reset" => Ok(Self::Reset),
            "drop" => Ok(Self::Drop),
            _ => Err(format!("on-deny \"{text}\": write \"reset\", \"close\" or \"drop\"")),
        }
    }
}

/// How to refuse the clients of each daemon, and how often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// For daemons without a setting of their own.
    pub on_deny: OnDeny,
    /// By daemon name, or by port as a number.
    pub daemons: BTreeMap<String, OnDeny>,
    /// Most resets.
    pub rates: ResetRates,
    /// Most network namespaces in which they are reset.
    pub namespaces: usize,
    /// Watch which UDP ports are bound outside of the guarded cgroup: without it, and with a cgroup that is not the
    /// root, refused datagrams are dropped.
    pub watch_udp_binds: bool,
}

/// Each has a link and a small program in the kernel: 1024 of them cost a few megabytes.
const NAMESPACES: usize = 1024;

impl Default for Refusal {
    fn default() -> Self {
        Self {
            on_deny: OnDeny::default(),
            daemons: BTreeMap::new(),
            rates: ResetRates::default(),
            namespaces: NAMESPACES,
            watch_udp_binds: false,
        }
    }
}

/// Most resets in a second; what is more is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResetRates {
    /// To one source: an IPv4 address, an IPv6 /64.
    pub per_source: u32,
    /// To all.
    pub total: u32,
}

impl Default for ResetRates {
    fn default() -> Self {
        Self { per_source: 50, total: 2000 }
    }
}

impl Refusal {
    /// How the clients of a listener are refused.
    pub fn of(&self, names: &NamesSet, port: u16) -> OnDeny {
        let port = port.to_string();
        let is_named =
            |key: &str| key == port || names.iter().any(|name| name.eq_ignore_ascii_case(key.as_bytes()));
        let named = self.daemons.iter().filter(|(key, _)| is_named(key)).map(|(_, on_deny)| *on_deny);
        named.max().unwrap_or(self.on_deny)
    }

    /// Whether any client gets an answer.
    pub fn answers_any(&self) -> bool {
        std::iter::once(&self.on_deny).chain(self.daemons.values()).any(|on_deny| *on_deny != OnDeny::Drop)
    }
}

/// Addresses and ports that are never judged and never logged: access that no table can prevent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exempt {
    /// Client networks.
    pub addresses: Vec<IpNet>,
    /// Local ports.
    pub ports: Vec<u16>,
}

/// Why there is no [`Config`].
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file that was named is not there, or not readable.
    #[error("{}: {reason}: name a file that exists", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// strerror(3)'s text.
        reason: String,
    },
    /// Something is wrong in the file.
    #[error("{}:{line}:{column}: {what}; tcpw does not start with a setting it cannot honour", path.display())]
    Wrong {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Column in bytes, from 1.
        column: usize,
        /// What, and what to write.
        what: String,
    },
    /// The flags name destinations that cannot be together.
    #[error("--log: {0}")]
    Log(LogTargetError),
    /// No cgroup was named and none was found.
    #[error(transparent)]
    Cgroup(#[from] host::Missing),
}

impl Config {
    /// Reads `path`, or the default file if that exists, and puts the flags over it.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong with the file.
    pub fn load(path: Option<&Path>, flags: &RunArgs) -> Result<Self, ConfigError> {
        let default = Path::new(DEFAULT_PATH);
        let file = match std::fs::read_to_string(path.unwrap_or(default)) {
            Ok(text) => FileSettings::parse(path.unwrap_or(default), &text)?,
            Err(error) if path.is_none() && error.kind() == std::io::ErrorKind::NotFound => {
                FileSettings::default()
            }
            Err(error) => {
                return Err(ConfigError::Unreadable {
                    path: path.unwrap_or(default).to_path_buf(),
                    reason: crate::host::reason(&error),
                });
            }
        };
        let cgroup = match flags.cgroup.clone().or(file.cgroup) {
            Some(cgroup) => cgroup,
            None => host::cgroup2_root()?,
        };
        let pick = |flag: &Option<PathBuf>, file: Option<PathBuf>, default: &str| {
            let path = flag.clone().or(file).unwrap_or_else(|| default.into());
            // Another working directory must not change what is guarded.
            std::path::absolute(&path).unwrap_or(path)
        };
        Ok(Self {
            hosts_allow: pick(&flags.tables.hosts_allow, file.hosts_allow, DEFAULT_HOSTS_ALLOW),
            hosts_deny: pick(&flags.tables.hosts_deny, file.hosts_deny, DEFAULT_HOSTS_DENY),
            cgroup: std::path::absolute(&cgroup).unwrap_or(cgroup),
            log: log_targets(&flags.log, file.log)?,
            privacy: file.privacy,
            log_allowed: flags.log_allowed || file.log_allowed.unwrap_or_default(),
            trust_source_addresses: flags.trust_source_addresses
                || file.trust_source_addresses.unwrap_or_default(),
            pin: flags.pin || file.pin.unwrap_or_default(),
            follow_files: file.follow_files.unwrap_or(true),
            mode: file.mode.unwrap_or_default(),
            refusal: Refusal {
                on_deny: flags.on_deny.or(file.on_deny).unwrap_or_default(),
                // The flag applies to all daemons.
                daemons: if flags.on_deny.is_some() { BTreeMap::new() } else { file.on_deny_of },
                rates: file.rates,
                namespaces: file.namespaces.unwrap_or(NAMESPACES),
                watch_udp_binds: flags.watch_udp_binds || file.watch_udp_binds.unwrap_or_default(),
            },
            early_drop: if flags.early_drop.is_empty() {
                file.early_drop
            } else {
                flags.early_drop.iter().map(|device| device.0.clone()).collect()
            },
            table: file.table.unwrap_or_default(),
            line_namespaces: file.line_namespaces,
            exempt: file.exempt,
            more_names: file.more_names,
            effects: file.effects,
            resolve: file.resolve,
            lines: file.lines,
            metrics: file.metrics,
            readers: file.readers,
            run_dir: pick(&flags.run_dir, file.run_dir, DEFAULT_RUN_DIR),
            pin_dir: pick(&flags.pin_dir, file.pin_dir, DEFAULT_PIN_DIR),
            state_dir: pick(&flags.state_dir, file.state_dir, DEFAULT_STATE_DIR),
            proc_root: file.proc_root.unwrap_or_else(|| "/proc".into()),
        })
    }
}

/// The destinations of the flags, else of the file, else syslog.
fn log_targets(flags: &[LogTarget], file: Option<Vec<LogTarget>>) -> Result<Vec<LogTarget>, ConfigError> {
    if flags.is_empty() {
        return Ok(file.unwrap_or_else(|| vec![LogTarget::syslog()]));
    }
    LogTarget::check(flags).map_err(|(_, error)| ConfigError::Log(error))?;
    Ok(flags.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn daemon_has_its_own_way_to_be_refused_by_any_of_its_names_and_drop_wins() {
        let refusal = Refusal {
            on_deny: OnDeny::Reset,
            daemons: [
                ("SSHD", OnDeny::Drop),
                ("80", OnDeny::Reset),
                ("443", OnDeny::Close),
                ("8080", OnDeny::Drop),
            ]
            .map(|(name, on_deny)| (name.to_owned(), on_deny))
            .into(),
            ..Refusal::default()
        };
        let of = |names: &[&str], port| refusal.of(&NamesSet::new(names), port);
        assert_eq!(of(&["nginx"], 81), OnDeny::Reset);
        assert_eq!(of(&["nginx"], 443), OnDeny::Close);
        assert_eq!(of(&["ssh", "sshd"], 22), OnDeny::Drop);
        assert_eq!(of(&["sshd"], 80), OnDeny::Drop);
        assert_eq!(of(&["sshd"], 443), OnDeny::Drop);
        assert_eq!(of(&["nginx"], 8080), OnDeny::Drop);
        assert!(refusal.answers_any());
        let drop = Refusal { on_deny: OnDeny::Drop, ..Refusal::default() };
        assert!(drop.of(&NamesSet::new(["sshd"]), 22) == OnDeny::Drop && !drop.answers_any());
    }
}
