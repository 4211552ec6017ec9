//! Replaces a file at once and whole.
//!
//! Invariant: at every moment the path names the old file or the new one, with the same mode
//! and owner; whoever reads it meanwhile, or loses power, has one of them.

use std::{
    fs::{File, Metadata, OpenOptions, canonicalize, metadata, read, remove_file, rename},
    io::Write,
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown},
    path::Path,
};

use anyhow::{Context, Result, bail, ensure};

/// Replaces what `path` names, which was `old`, by `new`. Symlinks stay and are followed.
pub(super) fn replace(path: &Path, old: &[u8], new: &[u8]) -> Result<()> {
    if path.as_os_str() == "-" {
        bail!("standard input cannot be written: leave out --write");
    }
    let path = canonicalize(path).context("cannot be found")?;
    let before = metadata(&path).context("cannot be looked at")?;
    ensure!(before.is_file(), "not a regular file: it is not written");
    ensure!(
        before.nlink() == 1,
        "it has {} hard links, which a new file would part: it is not written; print it and copy that over",
        before.nlink()
    );
    let directory = path.parent().context("it has no directory")?;
    let name = path.file_name().context("it has no name")?.to_string_lossy();
    let beside = directory.join(format!(".{name}.tcpw-{}", std::process::id()));
    let open = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside);
    let file = open.with_context(|| format!("{} cannot be made beside it", beside.display()))?;
    let result = write(file, &before, new).and_then(|()| {
        let is_as_before = read(&path).is_ok_and(|text| text == old);
        ensure!(is_as_before, "it has changed meanwhile: it is not written; try again");
        rename(&beside, &path).with_context(|| format!("{} cannot take its place", beside.display()))
    });
    if result.is_err() {
        drop(remove_file(&beside));
        return result;
    }
    // The file is replaced; that the directory reaches the disk is all that is left.
    File::open(directory).and_then(|directory| directory.sync_all()).context("sync its directory")
}

/// Gives the new file its owner, mode and text, on the disk.
fn write(mut file: File, like: &Metadata, text: &[u8]) -> Result<()> {
    let is_owned = file.metadata().is_ok_and(|new| (new.uid(), new.gid()) == (like.uid(), like.gid()));
    if !is_owned {
        fchown(&file, Some(like.uid()), Some(like.gid())).context("its owner cannot be kept")?;
    }
    file.set_permissions(PermissionsExt::from_mode(like.mode() & 0o7777))
        .context("its mode cannot be kept")?;
    file.write_all(text).and_then(|()| file.sync_all()).context("the new text cannot be written")
}
