//! Refused clients that get a banner or a `twist`: the listeners they are redirected to, and the texts.
//!
//! In: network namespaces; directories of banners. Out: connections with the addresses their
//! clients chose; texts.

mod banner;
mod listener;

pub use banner::{MAX_BANNER, read as read_banner};
pub use listener::{Arrival, Bound, Family, RedirectListener, abort};
