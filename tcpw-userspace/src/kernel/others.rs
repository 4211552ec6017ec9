//! BPF programs of others at the hook of the gate.
//!
//! In: the guarded cgroup. Out: programs attached to it, above it and below it that are not tcpw's. Nothing is changed.

use std::{
    collections::HashMap,
    fs::{self, File},
    os::fd::AsFd as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use aya::programs::loaded_programs;

use super::{
    programs::{Hook, Section},
    sys,
};

/// Cgroups that are looked at.
const MOST_CGROUPS: usize = 20_000;

/// A program at a cgroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CgroupProgram {
    /// The cgroup.
    pub cgroup: PathBuf,
    /// Its name; empty if it has none.
    pub name: String,
    /// Its id.
    pub id: u32,
}

/// The programs of others that judge packets of sockets below the guarded cgroup.
///
/// # Errors
/// The kernel tells nobody but root.
pub fn other_programs(cgroup: &Path) -> Result<Vec<CgroupProgram>> {
    let names: HashMap<u32, String> = loaded_programs()
        .filter_map(|program| program.ok())
        .map(|program| (program.id(), program.name_as_str().unwrap_or_default().to_owned()))
        .collect();
    let own = |name: &str| {
        Hook::ALL.iter().any(|hook| hook.section() == Section::CgroupIngress && hook.program() == name)
    };
    let mut found = Vec::new();
    for directory in above(cgroup).into_iter().chain(below(cgroup)) {
        // It may have been removed meanwhile.
        let Ok(open) = File::open(&directory) else { continue };
        let ids = sys::ingress_programs(open.as_fd())
            .with_context(|| format!("list the programs of cgroup {}", directory.display()))?;
        for id in ids {
            let name = names.get(&id).cloned().unwrap_or_default();
            if !own(&name) {
                found.push(CgroupProgram { cgroup: directory.clone(), name, id });
            }
        }
    }
    Ok(found)
}

/// The cgroups above: those of other file systems are none.
fn above(cgroup: &Path) -> Vec<PathBuf> {
    let is_cgroup = |path: &&Path| path.join("cgroup.controllers").exists();
    cgroup.ancestors().skip(1).take_while(is_cgroup).map(Path::to_path_buf).collect()
}

/// The cgroup and those below it.
fn below(cgroup: &Path) -> Vec<PathBuf> {
    let mut all = vec![cgroup.to_path_buf()];
    let mut next = 0;
    while next < all.len() && all.len() < MOST_CGROUPS {
        let entries = fs::read_dir(&all[next]).into_iter().flatten().flatten();
        let directories = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        let paths: Vec<PathBuf> = directories.map(|entry| entry.path()).collect();
        all.extend(paths);
        next += 1;
    }
    all
}
