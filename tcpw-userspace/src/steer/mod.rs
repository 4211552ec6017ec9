//! Refused clients that get something: the sockets they are led to, and the banners they are shown.
//!
//! In: network namespaces; directories of banners. Out: connections with the addresses their
//! clients chose; texts.

mod banner;
mod taker;

pub use banner::{MAX_BANNER, read as read_banner};
pub use taker::{Arrival, Bound, Family, Taker, abort};
