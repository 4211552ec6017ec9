//! The kernel's types, which some programs are loaded with.
//!
//! Invariant: they are in memory only while programs are loaded at the start: they take 14 MB. A program that needs them
//! later has them read again.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use aya::Btf;

/// The kernel's types.
pub(super) enum KernelTypes {
    /// In memory.
    Kept(Arc<Btf>),
    /// Read again each time.
    NotKept,
}

impl KernelTypes {
    /// Reads them.
    pub(super) fn read() -> Result<Self> {
        Ok(Self::Kept(read()?))
    }

    /// They are read unless they are in memory.
    pub(super) fn get(&self) -> Result<Arc<Btf>> {
        match self {
            Self::Kept(types) => Ok(Arc::clone(types)),
            Self::NotKept => read(),
        }
    }

    /// Frees them.
    pub(super) fn forget(&mut self) {
        *self = Self::NotKept;
    }
}

fn read() -> Result<Arc<Btf>> {
    Ok(Arc::new(Btf::from_sys_fs().context("read the kernel's BTF")?))
}
