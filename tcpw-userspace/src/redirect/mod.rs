//! The connections of refused clients that get a banner or the program of a `twist`.
//!
//! In: network namespaces; directories of banners. Out: connections that sk_lookup redirected to tcpw, with
//! the addresses their clients used; the texts of banners.

mod banner;
mod listener;

pub use banner::{MAX_BANNER, read as read_banner};
pub use listener::{BoundSocket, Family, RedirectListener, RedirectedConnection, abort};
