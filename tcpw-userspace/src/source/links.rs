//! The directory entries that decide which file a path names.
//!
//! In: a path. Out: every (directory, name) that is looked up on the way, through all
//! symbolic links, and the file at its end. A change of the path's meaning is a change of
//! one of these entries (or a mount), a change of the text is a change of the file.

use std::{
    collections::VecDeque,
    ffi::OsString,
    path::{Component, Path, PathBuf},
};

/// Most symbolic links of one path. Source: linux fs/namei.c, MAXSYMLINKS.
const MAX_LINKS: u32 = 40;

/// How a path is resolved.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Resolved {
    /// Directories (free of links) and the name looked up in each. The last one's name
    /// does not exist if `file` is `None`.
    pub(super) entries: Vec<(PathBuf, OsString)>,
    /// The file at the end of the path.
    pub(super) file: Option<PathBuf>,
}

/// Follows `path` from the root, or from the working directory, to its end.
///
/// `look` is called with each directory before a name is looked up in it, so that a watch
/// can be there first.
pub(super) fn resolve(path: &Path, mut look: impl FnMut(&Path)) -> Resolved {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    let mut todo = parts(&absolute);
    let mut at = PathBuf::from("/");
    let mut entries = Vec::new();
    let mut links = 0;
    while let Some(part) = todo.pop_front() {
        let PathPart::Name(name) = part else {
            // `at` has no links in it: its parent is what the kernel takes for "..".
            at.pop();
            continue;
        };
        look(&at);
        let next = at.join(&name);
        entries.push((at.clone(), name));
        match std::fs::symlink_metadata(&next) {
            Err(_) => return Resolved { entries, file: None },
            Ok(metadata) if metadata.is_symlink() => {
                links += 1;
                let Ok(target) = std::fs::read_link(&next) else {
                    return Resolved { entries, file: None };
                };
                if links > MAX_LINKS {
                    return Resolved { entries, file: None };
                }
                if target.is_absolute() {
                    at = PathBuf::from("/");
                }
                for part in parts(&target).into_iter().rev() {
                    todo.push_front(part);
                }
            }
            Ok(_) => at = next,
        }
    }
    Resolved { entries, file: Some(at) }
}

enum PathPart {
    Name(OsString),
    Up,
}

fn parts(path: &Path) -> VecDeque<PathPart> {
    path.components()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(PathPart::Name(name.to_owned())),
            Component::ParentDir => Some(PathPart::Up),
            Component::Prefix(_) | Component::RootDir | Component::CurDir => None,
        })
        .collect()
}
