//! Failures that a test asks the kernel's programs to act out. Each is a bit; 0 in every real load, where the verifier
//! removes the code.

/// A handshake of a policy with users cannot be remembered.
pub const HANDSHAKE_NOT_STORED: u32 = 1;

/// It was remembered, and is forgotten before its connection is made.
pub const HANDSHAKE_FORGOTTEN: u32 = 1 << 1;

/// The connection's socket cannot be marked.
pub const SOCKET_NOT_MARKED: u32 = 1 << 2;

/// No more connections can wait.
pub const WAITING_FULL: u32 = 1 << 3;

/// A UDP socket that asks for a port gets no storage.
pub const BIND_NOT_STORED: u32 = 1 << 4;
