//! What daemons keep on the disk: it outlives them, and the machine's reboots.
//!
//! In: what is to be kept. Out: the same at the next start. Invariant: each write happens as a whole.

use std::sync::Arc;

use crate::{
    core::{
        action::Store,
        input::{Kept, ReadTexts, Stored},
    },
    parse::text::{Texts, TextsHash},
};

/// The state directory.
#[derive(Debug, Default)]
pub(super) struct Disk {
    confirmed: Option<Arc<ReadTexts>>,
    pub(super) rolled_back: Option<TextsHash>,
}

impl Disk {
    /// The texts that were confirmed last.
    pub(super) fn confirmed(&self) -> Option<&Texts> {
        self.confirmed.as_ref().map(|copy| &copy.texts)
    }

    /// Keeps something.
    pub(super) fn store(&mut self, store: Store) -> Stored {
        match store {
            Store::Confirmed(texts) => {
                let hash = texts.hash;
                let copy = ReadTexts { texts: texts.texts.clone(), hash, number: 0, is_copy: true };
                (self.confirmed, self.rolled_back) = (Some(Arc::new(copy)), None);
                Stored::Confirmed(hash)
            }
            Store::RolledBack(hash) => {
                self.rolled_back = hash;
                Stored::RolledBack
            }
            Store::Nothing => {
                *self = Self::default();
                Stored::Nothing
            }
        }
    }

    /// What a daemon finds that starts.
    pub(super) fn kept(&self, fell_back: bool) -> Kept {
        Kept { confirmed: self.confirmed.clone(), rolled_back: self.rolled_back, problem: None, fell_back }
    }
}
