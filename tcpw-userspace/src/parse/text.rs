//! The texts the parser reads, as [`source`](crate::source) found them.

use std::{
    collections::BTreeMap,
    fmt,
    hash::Hasher as _,
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
};

use siphasher::sip128::{Hasher128 as _, SipHasher13};

/// A file as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileText {
    /// Its bytes. A directory reads as empty.
    Bytes(Arc<[u8]>),
    /// It does not exist (ENOENT, also a dangling symlink).
    Missing,
    /// It cannot be opened or read: strerror(3)'s text.
    Unreadable(String),
}

/// All the texts of one policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Texts {
    /// Path and text of hosts.allow.
    pub allow: (Arc<PathBuf>, FileText),
    /// Path and text of hosts.deny.
    pub deny: (Arc<PathBuf>, FileText),
    /// Pattern files by the path the tables spell.
    pub files: BTreeMap<PathBuf, FileText>,
}

/// Tells texts from others: two with one hash are the same.
///
/// The key of the hash is no secret: two tables with one hash harm only root, who alone may write them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextsHash(u128);

impl fmt::Display for TextsHash {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:032x}", self.0)
    }
}

impl FromStr for TextsHash {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        u128::from_str_radix(text, 16).map(Self)
    }
}

impl Texts {
    /// Of all paths and texts.
    pub fn hash(&self) -> TextsHash {
        let mut hasher = SipHasher13::new();
        let tables = [(self.allow.0.as_path(), &self.allow.1), (self.deny.0.as_path(), &self.deny.1)];
        let files = self.files.iter().map(|(path, text)| (path.as_path(), text));
        for (path, text) in tables.into_iter().chain(files) {
            add(&mut hasher, path, text);
        }
        TextsHash(hasher.finish128().as_u128())
    }
}

fn add(hasher: &mut SipHasher13, path: &Path, text: &FileText) {
    let (kind, bytes) = match text {
        FileText::Bytes(bytes) => (0, &**bytes),
        FileText::Missing => (1, &[][..]),
        FileText::Unreadable(reason) => (2, reason.as_bytes()),
    };
    for part in [path.as_os_str().as_encoded_bytes(), bytes] {
        hasher.write_usize(part.len());
        hasher.write(part);
    }
    hasher.write_u8(kind);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hash_differs_with_any_path_and_text_and_is_read_as_it_is_written() {
        let bytes = |text: &str| FileText::Bytes(text.as_bytes().into());
        let texts = |allow: &str, deny: FileText, file: &str| Texts {
            allow: (Arc::new("/etc/hosts.allow".into()), bytes(allow)),
            deny: (Arc::new("/etc/hosts.deny".into()), deny),
            files: [(file.into(), bytes("10."))].into(),
        };
        let all = [
            texts("a", bytes("b"), "/f"),
            texts("ab", bytes(""), "/f"),
            texts("a", FileText::Missing, "/f"),
            texts("a", FileText::Unreadable("b".into()), "/f"),
            texts("a", bytes("b"), "/g"),
        ];
        for (index, one) in all.iter().enumerate() {
            assert_eq!(one.hash().to_string().parse(), Ok(one.hash()));
            assert_eq!(all.iter().position(|other| other.hash() == one.hash()), Some(index));
        }
    }
}
