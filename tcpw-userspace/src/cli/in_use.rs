//! Which tables are in use: flags over the settings of `tcpw run` over the usual paths.

use std::path::{Path, PathBuf};

use super::{Failure, must_exist};
use crate::{
    check::facts::System,
    config::{Config, RunArgs, TableArgs},
};

/// A table without rules.
pub(super) const EMPTY: &str = "/dev/null";

/// hosts.allow and hosts.deny.
///
/// # Errors
///
/// A table that a flag names is not there, or something is wrong in the settings.
pub(super) fn tables_in_use(flags: &TableArgs, settings: Option<&Path>) -> Result<[PathBuf; 2], Failure> {
    let TableArgs { hosts_allow, hosts_deny } = flags;
    must_exist("--hosts-allow", hosts_allow.as_deref())?;
    must_exist("--hosts-deny", hosts_deny.as_deref())?;
    // A table that is named alone is a policy of its own: the other one is empty.
    if let (None, Some(_), _) | (None, _, Some(_)) = (settings, hosts_allow, hosts_deny) {
        let named = |table: &Option<PathBuf>| table.clone().unwrap_or_else(|| EMPTY.into());
        return Ok([named(hosts_allow), named(hosts_deny)]);
    }
    let config = load(settings)?;
    let pick = |flag: &Option<PathBuf>, setting: PathBuf| flag.clone().unwrap_or(setting);
    Ok([pick(hosts_allow, config.hosts_allow), pick(hosts_deny, config.hosts_deny)])
}

/// The settings for commands and for names of listeners; the defaults if the settings cannot be read.
pub(super) fn settings_in_use(settings: Option<&Path>) -> System {
    let Ok(config) = load(settings) else { return System::default() };
    let names = config.more_names.all().map(str::to_owned).collect();
    System { effects: Some(config.effects), names }
}

fn load(settings: Option<&Path>) -> Result<Config, Failure> {
    // No cgroup is looked for: nothing is attached.
    let no_flags = RunArgs { cgroup: Some("/".into()), ..RunArgs::default() };
    Config::load(settings, &no_flags).map_err(Failure::usage)
}
