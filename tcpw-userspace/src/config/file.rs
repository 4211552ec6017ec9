//! The TOML file: keys, checked values, and where each stands.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    ops::Range,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use ipnet::IpNet;
use serde::Deserialize;
use toml::Spanned;

use super::{
    ConfigError, Exempt, LineRates, MetricsSettings, Mode, OnDeny, PrivacySettings, ResetRates, Resolve,
    arguments::DeviceName,
    destinations::{self, Destinations},
    effects, lines, metrics,
    privacy::{self, RawPrivacy},
    resolve,
};
use crate::{compile::ClientTableKind, effects::Settings as Effects, listeners::MoreNames, log::LogTarget};

/// A file's settings; `None` where it says nothing.
#[derive(Debug, Default)]
pub(super) struct FileSettings {
    pub(super) hosts_allow: Option<PathBuf>,
    pub(super) hosts_deny: Option<PathBuf>,
    pub(super) cgroup: Option<PathBuf>,
    pub(super) log: Option<Vec<LogTarget>>,
    pub(super) privacy: PrivacySettings,
    pub(super) log_allowed: Option<bool>,
    pub(super) trust_source_addresses: Option<bool>,
    pub(super) watch_udp_binds: Option<bool>,
    pub(super) pin: Option<bool>,
    pub(super) follow_files: Option<bool>,
    pub(super) mode: Option<Mode>,
    pub(super) on_deny: Option<OnDeny>,
    pub(super) early_drop: Vec<String>,
    pub(super) table: Option<ClientTableKind>,
    pub(super) line_namespaces: Vec<PathBuf>,
    pub(super) on_deny_of: BTreeMap<String, OnDeny>,
    pub(super) rates: ResetRates,
    pub(super) namespaces: Option<usize>,
    pub(super) exempt: Exempt,
    pub(super) more_names: MoreNames,
    pub(super) effects: Effects,
    pub(super) resolve: Resolve,
    pub(super) lines: Option<LineRates>,
    pub(super) metrics: MetricsSettings,
    pub(super) readers: Option<u32>,
    pub(super) run_dir: Option<PathBuf>,
    pub(super) pin_dir: Option<PathBuf>,
    pub(super) state_dir: Option<PathBuf>,
    pub(super) proc_root: Option<PathBuf>,
}

/// The file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawSettings {
    hosts_allow: Option<Spanned<PathBuf>>,
    hosts_deny: Option<Spanned<PathBuf>>,
    cgroup: Option<Spanned<PathBuf>>,
    log: Option<Spanned<Destinations>>,
    log_allowed: Option<bool>,
    trust_source_addresses: Option<bool>,
    watch_udp_binds: Option<bool>,
    pin: Option<bool>,
    follow_files: Option<bool>,
    mode: Option<Spanned<String>>,
    on_deny: Option<Spanned<String>>,
    #[serde(default)]
    early_drop: Vec<Spanned<String>>,
    table: Option<Spanned<String>>,
    #[serde(default)]
    line_namespaces: Vec<Spanned<PathBuf>>,
    readers: Option<Spanned<String>>,
    run_dir: Option<Spanned<PathBuf>>,
    pin_dir: Option<Spanned<PathBuf>>,
    state_dir: Option<Spanned<PathBuf>>,
    proc_root: Option<Spanned<PathBuf>>,
    exempt: Option<RawExempt>,
    names: Option<RawNames>,
    effects: Option<effects::RawEffects>,
    resolve: Option<RawResolve>,
    lines: Option<lines::RawLines>,
    metrics: Option<metrics::RawMetrics>,
    privacy: Option<RawPrivacy>,
    #[serde(default)]
    daemon: BTreeMap<String, RawDaemon>,
    reset: Option<RawReset>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawDaemon {
    on_deny: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawReset {
    per_source: Option<Spanned<i64>>,
    total: Option<Spanned<i64>>,
    namespaces: Option<Spanned<i64>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawResolve {
    lookups: Option<Spanned<i64>>,
    waiting: Option<Spanned<i64>>,
    time_limit: Option<Spanned<i64>>,
    cache: Option<Spanned<i64>>,
    found_for: Option<Spanned<i64>>,
    not_found_for: Option<Spanned<i64>>,
    user_lookups: Option<Spanned<i64>>,
    user_lookups_per_client: Option<Spanned<i64>>,
    name_server_ports: Option<Vec<Spanned<i64>>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawNames {
    #[serde(default)]
    port: BTreeMap<Spanned<String>, Vec<String>>,
    #[serde(default)]
    unit: BTreeMap<String, Vec<String>>,
    #[serde(default)]
    user: BTreeMap<Spanned<String>, Vec<String>>,
    #[serde(default)]
    cgroup: BTreeMap<Spanned<PathBuf>, Vec<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawExempt {
    #[serde(default)]
    addresses: Vec<Spanned<String>>,
    #[serde(default)]
    ports: Vec<Spanned<i64>>,
}

const KEYS: [&str; 28] = [
    "hosts-allow",
    "hosts-deny",
    "cgroup",
    "log",
    "log-allowed",
    "trust-source-addresses",
    "watch-udp-binds",
    "line-namespaces",
    "pin",
    "follow-files",
    "mode",
    "on-deny",
    "early-drop",
    "table",
    "readers",
    "run-dir",
    "pin-dir",
    "state-dir",
    "proc-root",
    "exempt",
    "names",
    "effects",
    "resolve",
    "lines",
    "metrics",
    "privacy",
    "daemon",
    "reset",
];
const DAEMON_KEYS: [&str; 1] = ["on-deny"];
/// Each takes an open file.
const MOST_NAMESPACES: usize = 1 << 16;
const RESET_KEYS: [&str; 3] = ["per-source", "total", "namespaces"];
const RESOLVE_KEYS: [&str; 9] = [
    "lookups",
    "waiting",
    "time-limit",
    "cache",
    "found-for",
    "not-found-for",
    "user-lookups",
    "user-lookups-per-client",
    "name-server-ports",
];
const NAMES_KEYS: [&str; 4] = ["port", "unit", "user", "cgroup"];
const EXEMPT_KEYS: [&str; 2] = ["addresses", "ports"];

impl FileSettings {
    pub(super) fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let wrong = |span: Range<usize>, what: String| {
            let (line, column) = position(text, span.start);
            ConfigError::Wrong { path: path.to_path_buf(), line, column, what }
        };
        let raw: RawSettings = toml::from_str(text).map_err(|error| {
            let span = error.span().unwrap_or(0..0);
            let what = explain(text, &span, error.message());
            wrong(span, what)
        })?;
        let absolute = |value: Option<Spanned<PathBuf>>| {
            value
                .map(|value| {
                    let span = value.span();
                    let path = value.into_inner();
                    if path.is_absolute() {
                        return Ok(path);
                    }
                    Err(wrong(span, format!("\"{}\": write an absolute path, from /", path.display())))
                })
                .transpose()
        };
        let exempt = raw.exempt.unwrap_or(RawExempt { addresses: Vec::new(), ports: Vec::new() });
        let check = |span, result: Result<_, String>| result.map_err(|what| wrong(span, what));
        let addresses = exempt.addresses.into_iter().map(|it| check(it.span(), network(it.get_ref())));
        let ports =
            exempt.ports.into_iter().map(|it| port(*it.get_ref()).map_err(|what| wrong(it.span(), what)));
        let resolve = read_resolve(raw.resolve.unwrap_or_default())
            .map_err(|(span, what): (Range<usize>, String)| wrong(span, what))?;
        let names = raw.names.unwrap_or_default();
        let by_port = names.port.into_iter().map(|(port, names)| {
            let number = port.get_ref().parse().ok().filter(|number: &u16| *number != 0);
            let wrong_port =
                || wrong(port.span(), format!("port \"{}\": write a number from 1 to 65535", port.get_ref()));
            number.ok_or_else(wrong_port).map(|number| (number, names))
        });
        let by_user = names.user.into_iter().map(|(user, names)| {
            let uid = user_id(user.get_ref()).map_err(|what| wrong(user.span(), what));
            uid.map(|uid| (uid, names))
        });
        let by_cgroup = names.cgroup.into_iter().map(|(path, names)| {
            if path.get_ref().is_absolute() {
                return Ok((path.into_inner(), names));
            }
            let what =
                format!("\"{}\": write a path as in /proc/PID/cgroup, from /", path.get_ref().display());
            Err(wrong(path.span(), what))
        });
        let on_deny_of = raw.daemon.into_iter().filter_map(|(name, daemon)| {
            let on_deny = parsed(daemon.on_deny, wrong).transpose()?;
            Some(on_deny.map(|on_deny| (name, on_deny)))
        });
        let rate = |value: Option<Spanned<i64>>, default: u32| match value {
            None => Ok(default),
            Some(value) => u32::try_from(*value.get_ref()).map_err(|_| {
                wrong(value.span(), format!("{}: write how many in a second, 0 for none", value.get_ref()))
            }),
        };
        let count = |value: Spanned<i64>| {
            let count = usize::try_from(*value.get_ref()).ok().filter(|count| *count <= MOST_NAMESPACES);
            count.ok_or_else(|| {
                let what = format!("{}: write a number from 0 to {MOST_NAMESPACES}", value.get_ref());
                wrong(value.span(), what)
            })
        };
        let rates = ResetRates::default();
        let (rates, namespaces) = match raw.reset {
            None => (rates, None),
            Some(reset) => (
                ResetRates {
                    per_source: rate(reset.per_source, rates.per_source)?,
                    total: rate(reset.total, rates.total)?,
                },
                reset.namespaces.map(count).transpose()?,
            ),
        };
        Ok(Self {
            namespaces,
            on_deny_of: on_deny_of.collect::<Result<_, _>>()?,
            rates,
            hosts_allow: absolute(raw.hosts_allow)?,
            hosts_deny: absolute(raw.hosts_deny)?,
            cgroup: absolute(raw.cgroup)?,
            log: raw.log.map(|log| destinations::read(log, &wrong)).transpose()?,
            privacy: raw.privacy.unwrap_or_default().check(&wrong)?,
            log_allowed: raw.log_allowed,
            trust_source_addresses: raw.trust_source_addresses,
            watch_udp_binds: raw.watch_udp_binds,
            pin: raw.pin,
            follow_files: raw.follow_files,
            mode: parsed(raw.mode, wrong)?,
            on_deny: parsed(raw.on_deny, wrong)?,
            early_drop: raw
                .early_drop
                .into_iter()
                .map(|name| {
                    Ok(parsed::<DeviceName>(Some(name), wrong)?.map(|name| name.0).unwrap_or_default())
                })
                .collect::<Result<_, ConfigError>>()?,
            table: parsed(raw.table, wrong)?,
            line_namespaces: raw
                .line_namespaces
                .into_iter()
                .map(|path| absolute(Some(path)).map(Option::unwrap_or_default))
                .collect::<Result<_, _>>()?,
            exempt: Exempt {
                addresses: addresses.collect::<Result<_, _>>()?,
                ports: ports.collect::<Result<_, _>>()?,
            },
            effects: raw.effects.unwrap_or_default().check(&wrong)?,
            more_names: MoreNames {
                ports: by_port.collect::<Result<_, _>>()?,
                units: names.unit,
                users: by_user.collect::<Result<_, _>>()?,
                cgroups: by_cgroup.collect::<Result<_, _>>()?,
            },
            resolve,
            lines: raw.lines.unwrap_or_default().check(&wrong)?,
            metrics: raw.metrics.unwrap_or_default().check(&wrong)?,
            readers: raw
                .readers
                .map(|group| group_id(group.get_ref()).map_err(|what| wrong(group.span(), what)))
                .transpose()?,
            run_dir: absolute(raw.run_dir)?,
            pin_dir: absolute(raw.pin_dir)?,
            state_dir: absolute(raw.state_dir)?,
            proc_root: absolute(raw.proc_root)?,
        })
    }
}

/// The user id of a name or number.
fn user_id(user: &str) -> Result<u32, String> {
    if let Ok(uid) = user.parse() {
        return Ok(uid);
    }
    match nix::unistd::User::from_name(user) {
        Ok(Some(found)) => Ok(found.uid.as_raw()),
        Ok(None) => Err(format!("user \"{user}\": there is no such user")),
        Err(error) => Err(format!("user \"{user}\": {error}")),
    }
}

/// The group id of a name or number.
fn group_id(group: &str) -> Result<u32, String> {
    if let Ok(gid) = group.parse() {
        return Ok(gid);
    }
    match nix::unistd::Group::from_name(group) {
        Ok(Some(found)) => Ok(found.gid.as_raw()),
        Ok(None) => Err(format!("group \"{group}\": there is no such group")),
        Err(error) => Err(format!("group \"{group}\": {error}")),
    }
}

fn read_resolve(raw: RawResolve) -> Result<Resolve, (Range<usize>, String)> {
    let check = |value: Option<Spanned<i64>>, number: &resolve::NumberSetting, default: u64| match value {
        None => Ok(default),
        Some(value) => number.check(*value.get_ref()).map_err(|what| (value.span(), what)),
    };
    let seconds = |value, number: &_, default: Duration| {
        check(value, number, default.as_secs()).map(Duration::from_secs)
    };
    let count = |value, number: &_, default: usize| {
        let default = u64::try_from(default).unwrap_or(u64::MAX);
        check(value, number, default).map(|value| usize::try_from(value).unwrap_or(usize::MAX))
    };
    let default = Resolve::default();
    let ports = raw.name_server_ports.map(|ports| {
        let one = |it: Spanned<i64>| port(*it.get_ref()).map_err(|what| (it.span(), what));
        ports.into_iter().map(one).collect::<Result<_, _>>()
    });
    Ok(Resolve {
        at_once: count(raw.lookups, &resolve::AT_ONCE, default.at_once)?,
        waiting: count(raw.waiting, &resolve::WAITING, default.waiting)?,
        time_limit: seconds(raw.time_limit, &resolve::TIME_LIMIT, default.time_limit)?,
        kept: count(raw.cache, &resolve::KEPT, default.kept)?,
        found_for: seconds(raw.found_for, &resolve::FOUND_FOR, default.found_for)?,
        not_found_for: seconds(raw.not_found_for, &resolve::NOT_FOUND_FOR, default.not_found_for)?,
        users_at_once: count(raw.user_lookups, &resolve::USERS, default.users_at_once)?,
        users_of_a_source: count(
            raw.user_lookups_per_client,
            &resolve::USERS_OF_A_SOURCE,
            default.users_of_a_source,
        )?,
        name_server_ports: ports.transpose()?.unwrap_or(default.name_server_ports),
    })
}

fn port(number: i64) -> Result<u16, String> {
    let port = u16::try_from(number).ok().filter(|port| *port != 0);
    port.ok_or_else(|| format!("port {number}: write a number from 1 to 65535"))
}

fn parsed<T: FromStr<Err: std::fmt::Display>>(
    value: Option<Spanned<String>>,
    wrong: impl Fn(Range<usize>, String) -> ConfigError,
) -> Result<Option<T>, ConfigError> {
    value
        .map(|value| value.get_ref().parse().map_err(|what: T::Err| wrong(value.span(), what.to_string())))
        .transpose()
}

/// An address or a network without host bits.
fn network(text: &str) -> Result<IpNet, String> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(address.into());
    }
    let network: IpNet = text.parse().map_err(|_| {
        format!("\"{text}\" is no address: write one like \"192.0.2.1\", \"10.0.0.0/8\" or \"2001:db8::/32\"")
    })?;
    if network == network.trunc() {
        return Ok(network);
    }
    let (address, trunc) = (network.addr(), network.trunc());
    Err(format!(
        "host bits set in \"{text}\": write \"{trunc}\" for the network, \"{address}\" for the one address"
    ))
}

/// The message for an error that the TOML parser found.
fn explain(text: &str, span: &Range<usize>, message: &str) -> String {
    // serde's wording of `deny_unknown_fields`; pinned by the tests below.
    let Some(rest) = message.strip_prefix("unknown field `") else {
        return message.lines().collect::<Vec<_>>().join(": ");
    };
    let key = text.get(span.clone()).filter(|key| !key.contains('\n')).unwrap_or(rest);
    let key = rest.split_once('`').map_or(key, |(key, _)| key);
    let (keys, place): (&[&str], _) = if message.contains("`key-file`") {
        (&privacy::KEYS, " in [privacy]")
    } else if message.contains("`per-network`") {
        (&lines::KEYS, " in [lines]")
    } else if message.contains("`addresses`") {
        (&EXEMPT_KEYS, " in [exempt]")
    } else if message.contains("`not-found-for`") {
        (&RESOLVE_KEYS, " in [resolve]")
    } else if message.contains("`unit`") {
        (&NAMES_KEYS, " in [names]")
    } else if message.contains("`at-once`") {
        (&effects::KEYS, " in [effects]")
    } else if message.contains("`textfile`") {
        (&metrics::KEYS, " in [metrics]")
    } else if message.contains("`per-source`") {
        (&RESET_KEYS, " in [reset]")
    } else if message.ends_with("expected `on-deny`") {
        (&DAEMON_KEYS, " in [daemon.NAME]")
    } else {
        (&KEYS, "")
    };
    match nearest(key, keys) {
        Some(known) => format!("unknown key \"{key}\"{place}: did you mean \"{known}\"?"),
        None => format!("unknown key \"{key}\"{place}: the keys are {}", keys.join(", ")),
    }
}

/// The known key that is most similar.
fn nearest<'a>(key: &str, keys: &[&'a str]) -> Option<&'a str> {
    let plain = key.to_ascii_lowercase().replace('_', "-");
    let (distance, known) = keys.iter().map(|known| (strsim::levenshtein(&plain, known), *known)).min()?;
    let begins_alike = plain.starts_with(known) || (plain.len() > 2 && known.starts_with(&plain));
    (begins_alike || distance <= known.len().div_ceil(3)).then_some(known)
}

/// Line and column of a byte, from 1.
fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = &text.as_bytes()[..offset.min(text.len())];
    let line_start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
    (before.iter().filter(|byte| **byte == b'\n').count() + 1, before.len() - line_start + 1)
}

#[cfg(test)]
#[path = "file_tests.rs"]
mod tests;
