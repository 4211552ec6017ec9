//! The tag of a listening socket, or of a UDP service socket, in its socket storage.

use crate::key::NamesId;

/// Tag of a listening socket, or of a UDP socket that was bound.
///
/// Layout: 8 + 8 + 4 + 4 bytes, no padding.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Tag {
    /// Names of the listener.
    pub names: NamesId,
    /// Cookie of its network namespace, 0 if unknown.
    pub netns: u64,
    /// Process id (thread group) of the listening process.
    pub pid: u32,
    /// [`PROVISIONAL`], [`KERNEL_PORT`], [`BOUND_BEFORE`], [`UNPRIVILEGED`], [`OF_ONE_DEVICE`],
    /// [`REDIRECT_LISTENER`], or 0.
    pub flags: u32,
}
const _: () = assert!(size_of::<Tag>() == 24);

/// A provisional tag: the names come from the process name at bind time.
pub const PROVISIONAL: u32 = 1;

/// A UDP socket whose port the kernel chose: never judged.
pub const KERNEL_PORT: u32 = 2;

/// A UDP socket that was bound before the programs ran: the peers it answers are not known yet.
pub const BOUND_BEFORE: u32 = 4;

/// The process whose name the provisional tag is from was not root's: any process can call itself sshd.
pub const UNPRIVILEGED: u32 = 8;

/// Only in events: the listener receives from one device only (SO_BINDTODEVICE).
pub const OF_ONE_DEVICE: u32 = 16;

/// tcpw's own socket, which redirected connections are given to: never judged.
pub const REDIRECT_LISTENER: u32 = 32;

/// Every UDP socket that was bound before the programs ran carries a tag.
pub const ALL_MARKED: u32 = 0;

/// Some cannot carry one: their tags stand under their cookies.
pub const SOME_UNMARKED: u32 = 1;

/// Likewise, and the table had no room for some.
pub const SOME_MISSED: u32 = 2;

#[cfg(feature = "user")]
// SAFETY: `#[repr(C)]`, no padding, every bit pattern valid.
unsafe impl aya::Pod for Tag {}
