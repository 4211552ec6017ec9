//! Names from tcpw.toml: by port, by systemd unit, by user, by cgroup.
//!
//! In: tcpw.toml. Out: names in addition to those of the listener's process. A listener of the kernel has no
//! process, so those of its port are its only names.
//! Invariant: the administrator's word proves a name, where others cannot bring about what it depends on.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use super::{Claim, Doubt, Proof, names::unit_file, proof::ProcessFacts};

/// More names for listeners.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MoreNames {
    /// By local port.
    pub ports: BTreeMap<u16, Vec<String>>,
    /// By the name of the systemd unit, such as `web.service`.
    pub units: BTreeMap<String, Vec<String>>,
    /// By the user that runs the process and made the socket.
    pub users: BTreeMap<u32, Vec<String>>,
    /// By cgroup, as a path in the cgroup2 hierarchy: that of the process, or one above it.
    pub cgroups: BTreeMap<PathBuf, Vec<String>>,
}

impl MoreNames {
    /// Every name that they give.
    pub fn all(&self) -> impl Iterator<Item = &str> {
        let Self { ports, units, users, cgroups } = self;
        let lists = ports.values().chain(units.values()).chain(users.values()).chain(cgroups.values());
        lists.flatten().map(String::as_str)
    }

    /// Adds the names for a port and the process that listens there. A name that is there stays, proven if one of
    /// both is.
    pub(super) fn add(&self, port: u16, facts: Option<ProcessFacts<'_>>, claims: &mut Vec<Claim>) {
        let setting = Ok(Proof::Setting);
        let of_port = self.ports.get(&port).map(|names| (names, setting.clone()));
        let of_process = facts.into_iter().flat_map(|facts| self.of_process(facts));
        for (names, proof) in of_port.into_iter().chain(of_process) {
            for name in names {
                match claims.iter_mut().find(|claim| *claim.name == *name.as_bytes()) {
                    Some(known) if known.proof.is_err() => known.proof = proof.clone(),
                    Some(_) => {}
                    None => claims.push(Claim { name: name.as_bytes().into(), proof: proof.clone() }),
                }
            }
        }
    }

    fn of_process(&self, facts: ProcessFacts<'_>) -> Vec<(&Vec<String>, Result<Proof, Doubt>)> {
        let process = facts.process;
        let mut all = Vec::new();
        let unit = unit_file(&process.cgroup).map(String::from_utf8_lossy);
        if let Some(names) = unit.and_then(|unit| self.units.get(&*unit)) {
            let is_of_root = process.unit.as_ref().is_some_and(|unit| unit.is_of_root);
            all.push((names, if is_of_root { Ok(Proof::Setting) } else { Err(Doubt::Cgroup) }));
        }
        let [user, ..] = process.uids;
        all.extend(
            self.users.get(&user).filter(|_| facts.is_of_user(user)).map(|names| (names, Ok(Proof::Setting))),
        );
        let cgroup = Path::new(OsStr::from_bytes(&process.cgroup));
        let of_cgroup = self.cgroups.iter().filter(|(path, _)| cgroup.starts_with(path));
        all.extend(of_cgroup.map(|(_, names)| (names, Ok(Proof::Setting))));
        all
    }
}
