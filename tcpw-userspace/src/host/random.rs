//! Random bytes of the kernel.
//!
//! In: room for them. Out: bytes that nobody can guess.

use std::{
    fs::File,
    io::{self, Read as _},
};

/// Fills `bytes`.
///
/// # Errors
/// /dev/urandom cannot be read.
pub(crate) fn fill_at_random(bytes: &mut [u8]) -> io::Result<()> {
    File::open("/dev/urandom")?.read_exact(bytes)
}
