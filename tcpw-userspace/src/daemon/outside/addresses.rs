//! Addresses of this network namespace that come and go.
//!
//! In: notices of the kernel. Out: an input for the core when one is new or gone.

use std::io;

use tokio::io::{Interest, unix::AsyncFd};

use super::Results;
use crate::{core::Input, host::AddressNotices};

/// Follows them until the loop has ended. Without it the next scan finds them.
pub(super) fn follow(results: Results) {
    let notices = AddressNotices::open().and_then(|notices| {
        // SAFETY: the notices own their socket, never change it, and live inside the AsyncFd.
        unsafe { AsyncFd::register_with_interest(notices, Interest::READABLE) }.map_err(io::Error::from)
    });
    let notices = notices.inspect_err(not_followed);
    let Ok(mut notices) = notices else { return };
    tokio::spawn(async move {
        loop {
            let Ok(mut ready) = notices.readable_mut().await else { return };
            let is_changed = ready.get_inner_mut().read();
            // It was read until nothing was left.
            ready.clear_ready();
            match is_changed {
                Ok(false) => {}
                Ok(true) if results.send(Input::AddressesChanged.into()).is_err() => return,
                Ok(true) => {}
                Err(error) => return not_followed(&error),
            }
        }
    });
}

fn not_followed(error: &io::Error) {
    log::warn!("a new address of an interface is known only with the next scan: {error}");
}
