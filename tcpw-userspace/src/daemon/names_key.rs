//! The key of the ids of names-sets.
//!
//! In: the run directory. Out: a key of 128 bits, the same for every daemon until the host is started again: a
//! pinned policy and the tags of sockets are adopted with their ids. Invariant: no other user can read it.

use std::{
    fs::{self, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::Path,
};

use anyhow::{Context as _, Result};

use crate::{
    host::fill_at_random,
    names::{self, Key},
};

/// Takes the key of a run directory, and makes one if there is none. The caller holds the directory's lock.
pub(super) fn take(run_dir: &Path) -> Result<()> {
    let path = run_dir.join("names.key");
    let key = match read(&path) {
        Some(key) => key,
        None => make(&path).with_context(|| format!("write {}", path.display()))?,
    };
    names::set_key(key);
    Ok(())
}

/// `None` if there is no such file, or others may have read or written it.
fn read(path: &Path) -> Option<Key> {
    let mut file = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW).open(path).ok()?;
    let found = file.metadata().ok()?;
    let own = nix::unistd::geteuid().as_raw();
    let mut key = Key::default();
    let is_safe = found.is_file() && found.uid() == own && found.mode() & 0o077 == 0;
    (is_safe && file.read_exact(&mut key).is_ok()).then_some(key)
}

fn make(path: &Path) -> io::Result<Key> {
    let mut key = Key::default();
    fill_at_random(&mut key)?;
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(&key)?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn key_stays_and_one_that_others_may_read_does_not() {
        let path = std::env::temp_dir().join(format!("tcpw-names-key-{}", std::process::id()));
        let first = make(&path).unwrap();
        assert_eq!(read(&path), Some(first));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert_eq!(read(&path), None);
        assert_ne!(make(&path).unwrap(), first);
        fs::write(&path, "short").unwrap();
        assert_eq!(read(&path), None);
        fs::remove_file(&path).unwrap();
        assert_eq!(read(&path), None);
    }
}
