//! Empties a ring of the kernel, whatever the loop is doing.
//!
//! In: a ring. Out: batches of its records, a bounded number of them ahead.

use tokio::sync::mpsc;

use crate::kernel::Ring;

/// Batches that are read ahead.
const BATCHES: usize = 256;

/// Reads a ring from now on.
pub(super) fn read_ahead<T: Send + 'static>(mut ring: Ring<T>) -> mpsc::Receiver<Vec<T>> {
    let (sender, receiver) = mpsc::channel(BATCHES);
    tokio::spawn(async move {
        loop {
            let mut records = Vec::new();
            if let Err(error) = ring.read(&mut records).await {
                log::error!("a ring cannot be read: {error}");
                return;
            }
            if sender.send(records).await.is_err() {
                return;
            }
        }
    });
    receiver
}
