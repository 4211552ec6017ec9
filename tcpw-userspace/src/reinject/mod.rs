//! Re-injects a held packet once its attempt is decided.
//!
//! In: a SYN or datagram as the gate copied it before dropping it, and its destination. Out: the same packet,
//! received again in the listener's network namespace; challenges to clients; connections ended by sock_diag(7).
//! Invariant: a packet is re-injected at most once when its listener is tagged and once when its attempt is
//! decided, whatever the gate does with it then. If a packet cannot be re-injected, the client retransmits.

mod acknowledgement;
mod challenge;
mod connection;
mod inject;
mod packet;

pub use acknowledgement::Acknowledgement;
pub use challenge::ChallengePacket;
pub use connection::{Ends, cookies, destroy, inodes};
pub use inject::Injector;
pub use packet::Packet;
