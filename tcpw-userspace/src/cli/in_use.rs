//! Which tables are in use: flags over the settings of `tcpw run` over the usual paths.

use std::path::{Path, PathBuf};

use super::{Failure, TableArgs, must_exist};
use crate::{
    config::{Config, RunArgs},
    effects::Settings as Effects,
};

/// hosts.allow and hosts.deny.
///
/// # Errors
///
/// A table that a flag names is not there, or something is wrong in the settings.
pub(super) fn tables_in_use(flags: &TableArgs, settings: Option<&Path>) -> Result<[PathBuf; 2], Failure> {
    let TableArgs { hosts_allow, hosts_deny } = flags;
    must_exist("--hosts-allow", hosts_allow.as_deref())?;
    must_exist("--hosts-deny", hosts_deny.as_deref())?;
    if let (None, Some(allow), Some(deny)) = (settings, hosts_allow, hosts_deny) {
        return Ok([allow.clone(), deny.clone()]);
    }
    let config = load(settings)?;
    let pick = |flag: &Option<PathBuf>, setting: PathBuf| flag.clone().unwrap_or(setting);
    Ok([pick(hosts_allow, config.hosts_allow), pick(hosts_deny, config.hosts_deny)])
}

/// How commands are run, if the settings can be read.
pub(super) fn effects_in_use(settings: Option<&Path>) -> Option<Effects> {
    load(settings).ok().map(|config| config.effects)
}

fn load(settings: Option<&Path>) -> Result<Config, Failure> {
    // No cgroup is looked for: nothing is attached.
    let no_flags = RunArgs { cgroup: Some("/".into()), ..RunArgs::default() };
    Config::load(settings, &no_flags).map_err(Failure::usage)
}
