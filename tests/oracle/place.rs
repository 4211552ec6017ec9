//! Where cases happen: a /tmp, an nsswitch.conf and a network of the oracle's own.

use std::{
    collections::BTreeMap,
    env, fs, io,
    path::{Component, Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};
use tcpw_tests::differential::{Case, Text};

/// Above the tables; the working directory.
const TABLES: &str = "/tmp/tables";
/// Accounts of files alone, no netgroups, no DNS.
const NSSWITCH: &str = "passwd: files\ngroup: files\nhosts: files\nnetgroup: files\nprotocols: files\n";

/// The files of the last case.
#[derive(Default)]
pub(crate) struct Place {
    allow: Option<Text>,
    deny: Option<Text>,
    files: BTreeMap<String, Text>,
}

impl Place {
    /// hosts.allow, as the tables' messages call it.
    pub(crate) const ALLOW: &str = "hosts.allow";
    /// hosts.deny, likewise.
    pub(crate) const DENY: &str = "hosts.deny";

    /// Enters it: for this process and its children only.
    ///
    /// # Errors
    /// Not root.
    pub(crate) fn enter() -> Result<Self> {
        unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET)
            .context("make namespaces, which needs root: use sudo")?;
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
            .context("make the mounts private")?;
        mount(Some("tmpfs"), "/tmp", Some("tmpfs"), MsFlags::MS_NOSUID, Some("mode=1777"))
            .context("mount a private /tmp")?;
        fs::create_dir(TABLES).context("make a directory in the private /tmp")?;
        env::set_current_dir(TABLES).context("enter the private /tmp")?;
        if Path::new("/etc/nsswitch.conf").exists() {
            fs::write("/tmp/nsswitch.conf", NSSWITCH).context("write /tmp/nsswitch.conf")?;
            let conf = "/etc/nsswitch.conf";
            mount(Some("/tmp/nsswitch.conf"), conf, None::<&str>, MsFlags::MS_BIND, None::<&str>)
                .context("replace /etc/nsswitch.conf")?;
        }
        Ok(Self::default())
    }

    /// Puts the files of a case there, and no others.
    ///
    /// # Errors
    /// A path is not below [`Case::FILES`], or both a file and a directory.
    pub(crate) fn arrange(&mut self, case: &Case) -> Result<()> {
        if self.allow != case.allow {
            put(Self::ALLOW, case.allow.as_ref())?;
            self.allow.clone_from(&case.allow);
        }
        if self.deny != case.deny {
            put(Self::DENY, case.deny.as_ref())?;
            self.deny.clone_from(&case.deny);
        }
        if self.files != case.files {
            if !self.files.is_empty() {
                fs::remove_dir_all(Case::FILES).with_context(|| format!("remove {}", Case::FILES))?;
            }
            self.files.clear();
            for (path, text) in &case.files {
                let path = below(path)?;
                let directory = path.parent().context("a file has a directory")?;
                fs::create_dir_all(directory)
                    .and_then(|()| fs::write(&path, text.as_bytes()))
                    .with_context(|| format!("write {}", path.display()))?;
            }
            self.files.clone_from(&case.files);
        }
        Ok(())
    }
}

fn put(name: &str, text: Option<&Text>) -> Result<()> {
    let done = match text {
        Some(text) => fs::write(name, text.as_bytes()),
        None => match fs::remove_file(name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            done => done,
        },
    };
    done.with_context(|| format!("write {name}"))
}

fn below(path: &str) -> Result<PathBuf> {
    let path = PathBuf::from(path);
    let climbs = path.components().any(|part| part == Component::ParentDir);
    ensure!(
        path.starts_with(Case::FILES) && !climbs,
        "{} is not below {}: put a case's files there",
        path.display(),
        Case::FILES
    );
    Ok(path)
}
