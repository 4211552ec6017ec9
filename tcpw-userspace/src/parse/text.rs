//! The texts the parser reads, as [`source`](crate::source) found them.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

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
