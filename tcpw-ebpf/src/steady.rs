//! Copies of map values that are surely of their key.
//!
//! In: a look-up of one key. Out: a copy of its value.
//! Invariant: an element that was evicted or removed may hold another key and its value at once, while a program still
//! reads it; such a copy is never returned.
//! Source: linux kernel/bpf/hashtab.c, `prealloc_lru_pop`; kernel/bpf/memalloc.c.

/// Look-ups until the value is taken as absent: each fails only if the value is replaced between two look-ups.
const TRIES: usize = 8;

/// What a look-up found.
pub(crate) enum Found<V> {
    /// A copy of the value.
    Value(V),
    /// The key is not there.
    Nothing,
    /// The key is there, and its value changes all the time.
    Unsteady,
}

/// A copy of the value that `find` points to, if `find` still points to it once it is copied.
#[inline(always)]
pub(crate) fn look_up<V: Copy>(find: impl Fn() -> Option<*const V>) -> Found<V> {
    for _ in 0..TRIES {
        let Some(element) = find() else {
            return Found::Nothing;
        };
        // SAFETY: the pointer is into the map, and aligned.
        let value = unsafe { element.read() };
        // The kernel takes an element out of its bucket before it reuses it.
        if find() == Some(element) {
            return Found::Value(value);
        }
    }
    Found::Unsteady
}

/// As [`look_up`], with nothing in place of what is unsteady.
#[inline(always)]
pub(crate) fn steady<V: Copy>(find: impl Fn() -> Option<*const V>) -> Option<V> {
    match look_up(find) {
        Found::Value(value) => Some(value),
        Found::Nothing | Found::Unsteady => None,
    }
}
