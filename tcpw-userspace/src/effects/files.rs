//! Files that commands write to, in directories where the commands' user may not create any, such as
//! /var/log/tcp.deny.log.
//!
//! In: paths that both the settings and a command name. Out: regular files that belong to the commands'
//! user. Runs as root.
//! Invariant: only missing files are created, and only files of root are given to that user: no link is
//! followed, no other user's file is touched.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, fchown},
    path::{Path, PathBuf},
};

use nix::unistd::User;

/// What was done with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Done {
    Nothing,
    Made,
    Given,
}

/// The files of the commands in force, and the user they belong to.
pub(crate) struct Files {
    user: String,
    account: Option<User>,
    wanted: Vec<PathBuf>,
    /// Failures that were reported.
    said: Vec<PathBuf>,
}

impl Files {
    /// None yet. Looks the user up.
    pub(crate) fn new(user: &str) -> Self {
        Self { user: user.into(), account: account(user), wanted: Vec::new(), said: Vec::new() }
    }

    /// Which files commands name.
    pub(crate) fn wanted(&self) -> &[PathBuf] {
        &self.wanted
    }

    /// Sets the files that commands name. Returns whether they changed.
    pub(crate) fn want(&mut self, mut files: Vec<PathBuf>) -> bool {
        files.sort();
        files.dedup();
        if self.account.is_none() && !files.is_empty() {
            self.account = account(&self.user);
        }
        self.said.clear();
        std::mem::replace(&mut self.wanted, files) != self.wanted
    }

    /// Creates missing files, and gives files of root to the user: at the start, and after a rotation. Returns
    /// whether there was one.
    pub(crate) fn keep(&mut self) -> bool {
        let Some(account) = self.account.as_ref().filter(|account| !account.uid.is_root()) else {
            return false;
        };
        let mut is_news = false;
        for path in &self.wanted {
            let shown = path.display();
            match prepare(path, account) {
                Ok(Done::Nothing) => continue,
                Ok(Done::Made) => log::info!("commands: made {shown} for user {}", self.user),
                Ok(Done::Given) => {
                    log::info!("commands: gave {shown}, which was root's, to user {}", self.user)
                }
                Err(error) => {
                    if !self.said.contains(path) {
                        self.said.push(path.clone());
                        log::warn!("commands: {shown} is not made for user {}: {error}", self.user);
                    }
                    continue;
                }
            }
            is_news = true;
        }
        is_news
    }
}

fn account(user: &str) -> Option<User> {
    User::from_name(user).ok().flatten()
}

fn prepare(path: &Path, user: &User) -> io::Result<Done> {
    match std::fs::symlink_metadata(path) {
        Ok(meta) if !meta.is_file() || meta.uid() != 0 => return Ok(Done::Nothing),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let file = open(OpenOptions::new().write(true).create_new(true).mode(0o640), path)?;
            give(&file, user)?;
            return Ok(Done::Made);
        }
        Err(error) => return Err(error),
    }
    // The path may name another file than a moment ago.
    let file = open(OpenOptions::new().read(true), path)?;
    let meta = file.metadata()?;
    // A file with a second link may be an important file under another name.
    if !meta.is_file() || meta.uid() != 0 || meta.nlink() != 1 {
        return Ok(Done::Nothing);
    }
    give(&file, user)?;
    Ok(Done::Given)
}

fn open(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC).open(path)
}

fn give(file: &File, user: &User) -> io::Result<()> {
    fchown(file, Some(user.uid.as_raw()), Some(user.gid.as_raw()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn only_roots_own_plain_files_are_given_away() {
        if !nix::unistd::geteuid().is_root() {
            return;
        }
        let place = std::env::temp_dir().join(format!("tcpw-files-{}", std::process::id()));
        fs::create_dir_all(&place).unwrap();
        let mut user = User::from_uid(0.into()).unwrap().unwrap();
        (user.uid, user.gid) = (64123.into(), 64123.into());
        let done = |name: &str| prepare(&place.join(name), &user).unwrap();
        let owner = |name: &str| fs::metadata(place.join(name)).unwrap().uid();
        assert_eq!((done("new"), owner("new"), done("new")), (Done::Made, 64123, Done::Nothing));
        fs::write(place.join("old"), "x").unwrap();
        assert_eq!((done("old"), owner("old")), (Done::Given, 64123));
        fs::write(place.join("linked"), "x").unwrap();
        fs::hard_link(place.join("linked"), place.join("link")).unwrap();
        assert_eq!((done("linked"), owner("linked")), (Done::Nothing, 0));
        std::os::unix::fs::symlink("linked", place.join("symbolic")).unwrap();
        assert_eq!((done("symbolic"), owner("symbolic")), (Done::Nothing, 0));
        fs::write(place.join("other"), "x").unwrap();
        std::os::unix::fs::chown(place.join("other"), Some(64124), None).unwrap();
        assert_eq!((done("other"), owner("other")), (Done::Nothing, 64124));
        assert!(prepare(&place.join("no/where"), &user).is_err());
        fs::remove_dir_all(place).unwrap();
    }
}
