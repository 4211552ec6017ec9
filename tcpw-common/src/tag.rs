//! What a listening socket carries: its socket storage.

use crate::key::NamesId;

/// Tag of a listening socket.
///
/// Layout: 8 + 8 + 4 + 4 bytes, no padding.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Tag {
    /// Names under which the listener is known.
    pub names: NamesId,
    /// Cookie of its network namespace, 0 if unknown.
    pub netns: u64,
    /// Process id (thread group) of the listening process.
    pub pid: u32,
    /// [`PROVISIONAL`], [`UNPRIVILEGED`], [`OF_ONE_DEVICE`], or 0.
    pub flags: u32,
}
const _: () = assert!(size_of::<Tag>() == 24);

/// The names come from the process name at bind time; user space has not looked yet.
pub const PROVISIONAL: u32 = 1;

/// The process that gave it its provisional names was not root's: anybody can call himself sshd.
pub const UNPRIVILEGED: u32 = 2;

/// In events alone: the listener hears one device only.
pub const OF_ONE_DEVICE: u32 = 4;

#[cfg(feature = "user")]
// SAFETY: `#[repr(C)]`, no padding, every bit pattern valid.
unsafe impl aya::Pod for Tag {}
