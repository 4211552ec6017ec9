//! Sends a held packet again once its attempt is decided.
//!
//! In: a SYN or datagram as the gate copied it before it dropped it, and where it has to go. Out: the same
//! packet, received once more in the listener's network namespace; connections ended by sock_diag(7).
//! Invariant: a packet is sent again at most once when its listener is named and once when its client is
//! decided, whatever the gate does with it then. A packet that cannot be sent again is left to the client's
//! own retransmit.

mod acknowledgement;
mod connection;
mod inject;
mod packet;

pub use acknowledgement::Acknowledgement;
pub use connection::{Ends, cookies, destroy, inodes};
pub use inject::Injector;
pub use packet::Packet;
