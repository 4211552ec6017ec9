//! The kernel's types, which some programs are loaded with.
//!
//! Invariant: they are in memory only while programs are loaded at the start: they take 14 MB. A program that needs them
//! later has them read again.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result};
use aya::Btf;

/// The kernel's types, if they are in memory.
pub(super) struct KernelTypes(Mutex<Option<Arc<Btf>>>);

impl KernelTypes {
    /// Reads them.
    pub(super) fn read() -> Result<Self> {
        let types = Self(Mutex::default());
        types.get()?;
        Ok(types)
    }

    /// They are read unless they are in memory.
    pub(super) fn get(&self) -> Result<Arc<Btf>> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(types) = &*kept {
            return Ok(Arc::clone(types));
        }
        let types = Arc::new(Btf::from_sys_fs().context("read the kernel's BTF")?);
        Ok(Arc::clone(kept.insert(types)))
    }

    /// Frees them.
    pub(super) fn forget(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}
