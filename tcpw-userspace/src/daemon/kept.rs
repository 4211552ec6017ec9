//! What is kept for the next start: a copy of the texts that were confirmed last, and which texts were not.
//!
//! In: texts, and the state directory. Out: the same at the next start, after a reboot too.
//! Invariant: each is there as a whole or as it was before: it is written aside and renamed. A copy whose hash is
//! not that of its texts is not used. Others can read none of it.

use std::{
    collections::BTreeMap,
    ffi::CString,
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::{
        ffi::OsStrExt as _,
        fs::{DirBuilderExt as _, OpenOptionsExt as _},
    },
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::{
    core::input::{Kept, ReadTexts},
    host::{make_own_dir, open_own_dir},
    parse::text::{FileText, Texts, TextsHash},
};

/// The copy.
const CONFIRMED: &str = "confirmed";

/// Where a copy is made, and where the last one goes.
const ASIDE: &str = "confirmed.new";

/// The hash of texts that were not confirmed.
const ROLLED_BACK: &str = "rolled-back";

/// Which file of the copy is which.
const INDEX: &str = "index.json";

/// The form of these files.
const FORM: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Index {
    form: u32,
    hash: String,
    allow: KeptFile,
    deny: KeptFile,
    files: Vec<KeptFile>,
}

/// A file as it was found.
#[derive(Serialize, Deserialize)]
struct KeptFile {
    path: PathBuf,
    found: Found,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Found {
    /// The copy of its text has this name.
    Copy(String),
    Missing,
    Unreadable(String),
}

#[derive(Serialize, Deserialize)]
struct RolledBack {
    form: u32,
    hash: String,
}

/// What an earlier process kept. What cannot be read is a problem, and is not used.
pub(super) fn read(state_dir: &Path) -> Kept {
    let mut kept = Kept::default();
    match open_own_dir(state_dir) {
        Err(error) if error.is_missing() => return kept,
        Err(error) => {
            kept.problem = Some(error.to_string());
            return kept;
        }
        Ok(_directory) => {}
    }
    match read_confirmed(&state_dir.join(CONFIRMED)) {
        Ok(confirmed) => kept.confirmed = confirmed.map(Arc::new),
        Err(error) => kept.problem = Some(format!("{error:#}")),
    }
    match read_rolled_back(&state_dir.join(ROLLED_BACK)) {
        Ok(hash) => kept.rolled_back = hash,
        Err(error) => kept.problem = Some(format!("{error:#}")),
    }
    kept
}

/// Keeps a copy of texts that are confirmed, in place of all else.
pub(super) fn store_confirmed(state_dir: &Path, texts: &ReadTexts) -> Result<()> {
    make_own_dir(state_dir)?;
    let (confirmed, aside) = (state_dir.join(CONFIRMED), state_dir.join(ASIDE));
    remove_directory(&aside)?;
    fs::DirBuilder::new().mode(0o700).create(&aside).with_context(|| format!("make {}", aside.display()))?;
    let keep = |path: &Path, text: &FileText, name: &str| -> Result<KeptFile> {
        let found = match text {
            FileText::Bytes(bytes) => {
                write(&aside.join(name), bytes)?;
                Found::Copy(name.to_owned())
            }
            FileText::Missing => Found::Missing,
            FileText::Unreadable(reason) => Found::Unreadable(reason.clone()),
        };
        Ok(KeptFile { path: path.to_path_buf(), found })
    };
    let Texts { allow, deny, files } = &texts.texts;
    let index = Index {
        form: FORM,
        hash: texts.hash.to_string(),
        allow: keep(&allow.0, &allow.1, "hosts.allow")?,
        deny: keep(&deny.0, &deny.1, "hosts.deny")?,
        files: (1..)
            .zip(files)
            .map(|(number, (path, text))| keep(path, text, &format!("patterns-{number}")))
            .collect::<Result<_>>()?,
    };
    write(&aside.join(INDEX), &serde_json::to_vec_pretty(&index)?)?;
    sync(&aside)?;
    exchange(&aside, &confirmed).with_context(|| format!("put {} in place", confirmed.display()))?;
    sync(state_dir)?;
    remove_directory(&aside)?;
    store_rolled_back(state_dir, None)
}

/// Keeps which texts are not to come into force by themselves; or that there are none.
pub(super) fn store_rolled_back(state_dir: &Path, hash: Option<TextsHash>) -> Result<()> {
    let path = state_dir.join(ROLLED_BACK);
    let Some(hash) = hash else {
        remove_file(&path)?;
        return if state_dir.exists() { sync(state_dir) } else { Ok(()) };
    };
    make_own_dir(state_dir)?;
    let aside = path.with_extension("new");
    remove_file(&aside)?;
    write(&aside, &serde_json::to_vec_pretty(&RolledBack { form: FORM, hash: hash.to_string() })?)?;
    fs::rename(&aside, &path).with_context(|| format!("put {} in place", path.display()))?;
    sync(state_dir)
}

/// Keeps nothing any more.
pub(super) fn forget(state_dir: &Path) -> Result<()> {
    store_rolled_back(state_dir, None)?;
    // A copy that is removed in part is not used, and the files are.
    remove_file(&state_dir.join(CONFIRMED).join(INDEX))?;
    remove_directory(&state_dir.join(CONFIRMED))
}

fn read_confirmed(directory: &Path) -> Result<Option<ReadTexts>> {
    let Some(index) = read_file(&directory.join(INDEX))? else { return Ok(None) };
    let what = || format!("the copy of the confirmed policy in {}", directory.display());
    let index: Index = serde_json::from_slice(&index).with_context(what)?;
    ensure!(index.form == FORM, "{} is another version's", what());
    let text = |file: KeptFile| -> Result<(PathBuf, FileText)> {
        let text = match file.found {
            Found::Copy(name) => {
                let path = directory.join(name);
                let bytes = read_file(&path)?.with_context(|| format!("{} is gone", path.display()))?;
                FileText::Bytes(bytes.into())
            }
            Found::Missing => FileText::Missing,
            Found::Unreadable(reason) => FileText::Unreadable(reason),
        };
        Ok((file.path, text))
    };
    let shared = |(path, text): (PathBuf, FileText)| (Arc::new(path), text);
    let texts = Texts {
        allow: shared(text(index.allow)?),
        deny: shared(text(index.deny)?),
        files: index.files.into_iter().map(text).collect::<Result<BTreeMap<_, _>>>()?,
    };
    let hash = texts.hash();
    ensure!(index.hash.parse() == Ok(hash), "{} was changed", what());
    Ok(Some(ReadTexts { texts, hash, number: 0, is_copy: true }))
}

fn read_rolled_back(path: &Path) -> Result<Option<TextsHash>> {
    let Some(text) = read_file(path)? else { return Ok(None) };
    let kept: RolledBack =
        serde_json::from_slice(&text).with_context(|| format!("read {}", path.display()))?;
    ensure!(kept.form == FORM, "{} is another version's", path.display());
    Ok(Some(kept.hash.parse().with_context(|| format!("read {}", path.display()))?))
}

/// `None` if it does not exist.
fn read_file(path: &Path) -> Result<Option<Vec<u8>>> {
    let opened = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW).open(path);
    let mut file = match opened {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.with_context(|| format!("open {}", path.display()))?,
    };
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).with_context(|| format!("read {}", path.display()))?;
    Ok(Some(bytes))
}

/// A new file, on the disk when this returns.
fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().with_context(|| format!("write {}", path.display()))
}

/// What is in a directory, on the disk when this returns.
fn sync(directory: &Path) -> Result<()> {
    let synced = File::open(directory).and_then(|directory| directory.sync_all());
    synced.with_context(|| format!("write {}", directory.display()))
}

/// Puts a new directory in the place of another one, which may be missing.
fn exchange(new: &Path, place: &Path) -> io::Result<()> {
    if !fs::exists(place)? {
        return fs::rename(new, place);
    }
    let [new, place] = [new, place].map(|path| CString::new(path.as_os_str().as_bytes()));
    let (new, place) = (new?, place?);
    // SAFETY: both are strings that end with a zero, and live over the call.
    let result = unsafe {
        libc::renameat2(libc::AT_FDCWD, new.as_ptr(), libc::AT_FDCWD, place.as_ptr(), libc::RENAME_EXCHANGE)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn remove_file(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if !matches!(error.kind(), io::ErrorKind::NotFound) => {
            Err(error).with_context(|| format!("remove {}", path.display()))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

fn remove_directory(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", path.display()))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(deny: &str) -> ReadTexts {
        let bytes = |text: &str| FileText::Bytes(text.as_bytes().into());
        let texts = Texts {
            allow: (Arc::new("/etc/hosts.allow".into()), FileText::Missing),
            deny: (Arc::new("/etc/hosts.deny".into()), bytes(deny)),
            files: [
                ("/etc/patterns".into(), bytes("10.\n")),
                ("/etc/none".into(), FileText::Unreadable("Permission denied".into())),
            ]
            .into(),
        };
        ReadTexts { hash: texts.hash(), texts, number: 0, is_copy: false }
    }

    /// A directory that no other user can write to, on the way to which is none either.
    fn directory(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("tcpw-kept-{name}-{}", std::process::id()));
        drop(fs::remove_dir_all(&path));
        path
    }

    fn confirmed(state_dir: &Path) -> Option<Texts> {
        read_confirmed(&state_dir.join(CONFIRMED)).unwrap().map(|read| read.texts)
    }

    #[test]
    fn copy_is_as_it_was_stored_and_the_last_one_counts() {
        let state_dir = directory("copy");
        assert!(read(&state_dir).confirmed.is_none() && read(&state_dir).problem.is_none());
        for deny in ["ALL: 192.0.2.1\n", "ALL: ALL\n"] {
            let stored = texts(deny);
            store_rolled_back(&state_dir, Some(stored.hash)).unwrap();
            assert_eq!(read_rolled_back(&state_dir.join(ROLLED_BACK)).unwrap(), Some(stored.hash));
            store_confirmed(&state_dir, &stored).unwrap();
            assert_eq!(confirmed(&state_dir), Some(stored.texts));
            assert_eq!(read_rolled_back(&state_dir.join(ROLLED_BACK)).unwrap(), None);
        }
        assert!(!state_dir.join(ASIDE).exists());
        forget(&state_dir).unwrap();
        assert_eq!(confirmed(&state_dir), None);
        fs::remove_dir_all(&state_dir).unwrap();
    }

    #[test]
    fn copy_that_was_changed_is_not_used() {
        let state_dir = directory("changed");
        store_confirmed(&state_dir, &texts("ALL: ALL\n")).unwrap();
        let directory = state_dir.join(CONFIRMED);
        fs::write(directory.join("hosts.deny"), "").unwrap();
        let error = read_confirmed(&directory).unwrap_err().to_string();
        assert!(error.ends_with("was changed"), "{error}");
        fs::remove_file(directory.join("hosts.deny")).unwrap();
        let error = read_confirmed(&directory).unwrap_err().to_string();
        assert!(error.ends_with("hosts.deny is gone"), "{error}");
        fs::remove_dir_all(&state_dir).unwrap();
    }
}
