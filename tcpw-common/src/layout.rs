//! The layout's number, and a second layout for the tests of upgrades.
//!
//! In: the feature `other-layout`. Out: [`ABI_VERSION`], and the additional fields of the other layout.
//! Invariant: a build without the feature contains none of them.

/// Layout version of maps, tags and events; part of the pin directory's name.
///
/// The same in every version, so that each can read and end what another left in force: the
/// directory `v<ABI_VERSION>`; pins of links named `link_` and the program, the gate's `link_gate`;
/// the maps `ACTIVE` (one u32), `HEADERS` (a generation and flags in the first two words) and
/// `COUNTERS` (u64 per CPU); from 17 on, `DEADLINE` (CLOCK_BOOTTIME as u64, a slot as u32). No number of a flag or counter is ever given to another one.
pub const ABI_VERSION: u32 = if cfg!(feature = "other-layout") { OTHER_ABI_VERSION } else { 17 };

/// Number of the other layout.
pub const OTHER_ABI_VERSION: u32 = 9_000;

/// Words that only the other layout has.
#[cfg(feature = "other-layout")]
pub type Spare = [u32; 2];

/// Words that only the other layout has: none.
#[cfg(not(feature = "other-layout"))]
pub type Spare = [u32; 0];

/// Bytes of [`Spare`].
pub const SPARE: usize = size_of::<Spare>();

/// A [`Spare`] of any content.
pub const SPARE_WORDS: Spare = [0; SPARE / size_of::<u32>()];
