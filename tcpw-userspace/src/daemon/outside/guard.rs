//! A defect in work on a thread must not stop the duty that waits for it.
//!
//! In: work. Out: its result; nothing, and a message, if it panicked.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Does the work; `what` names it in the message.
pub(super) fn guarded<T>(what: &str, work: impl FnOnce() -> T) -> Option<T> {
    // What the work shares with others is behind locks that ignore poison, or is not used again.
    let result = catch_unwind(AssertUnwindSafe(work));
    if result.is_err() {
        log::error!("{what} ended early: please report this");
    }
    result.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_that_panics_has_no_result_and_ends_nothing_else() {
        assert_eq!(guarded("a sum", || 1 + 1), Some(2));
        assert_eq!(guarded::<()>("a test", || panic!("on purpose")), None);
    }
}
