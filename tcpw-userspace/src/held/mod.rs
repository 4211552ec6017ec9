//! Held attempts: a SYN or datagram that the gate dropped until it is decided, sent again once it is.
//!
//! In: the packet as the gate saw it, and where it has to go. Out: the same packet, once more,
//! in the listener's network namespace.
//! Invariant: a packet is sent again at most once for its listener's name and once for its client's
//! verdict, whatever the gate makes of it then; what cannot be sent again is left to the client's
//! own retransmit.

mod acknowledgement;
mod connection;
mod inject;
mod packet;

pub use acknowledgement::Acknowledgement;
pub use connection::{Ends, cookies, destroy, inodes};
pub use inject::Injector;
pub use packet::Packet;
