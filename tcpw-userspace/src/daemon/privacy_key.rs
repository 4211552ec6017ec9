//! The key of hashes of clients.
//!
//! In: the settings. Out: a key of 128 bits: that of the file they name, else a random one, which is nowhere once the
//! daemon has ended. Invariant: a key that another user may read is not used.

use std::{
    fs::OpenOptions,
    io::Read as _,
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::Path,
};

use anyhow::{Context as _, Result, ensure};

use crate::{config::PrivacySettings, host::fill_at_random, names::Key, record::Privacy};

/// What sinks show, by the settings.
pub(super) fn privacy(settings: &PrivacySettings) -> Result<Privacy> {
    let mut key = Key::default();
    match &settings.key_file {
        Some(path) => key = read(path).with_context(|| format!("[privacy] key-file {}", path.display()))?,
        None => fill_at_random(&mut key).context("make a key for [privacy]")?,
    }
    Ok(Privacy::new(settings.addresses, key))
}

fn read(path: &Path) -> Result<Key> {
    // A FIFO without a writer is an error then, not a wait.
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let mut file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let found = file.metadata()?;
    let own = nix::unistd::geteuid().as_raw();
    ensure!(found.is_file() && found.uid() == own, "it is no file of root: make one");
    ensure!(found.mode() & 0o077 == 0, "others may read or write it: chmod 600 it");
    let mut key = Key::default();
    file.read_exact(&mut key).with_context(|| format!("it has fewer than {} bytes", key.len()))?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;

    #[test]
    fn key_is_that_of_a_file_that_no_other_user_reads() {
        let path = std::env::temp_dir().join(format!("tcpw-privacy-key-{}", std::process::id()));
        let error = |path: &Path| format!("{:#}", read(path).unwrap_err());
        assert!(error(&path).starts_with("No such file"));
        fs::write(&path, "0123456789abcdef and more").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert_eq!(error(&path), "others may read or write it: chmod 600 it");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(read(&path).unwrap(), *b"0123456789abcdef");
        fs::write(&path, "short").unwrap();
        assert!(error(&path).starts_with("it has fewer than 16 bytes"));
        fs::remove_file(&path).unwrap();
    }
}
