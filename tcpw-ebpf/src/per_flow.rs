//! Maps whose key is about one flow.
//!
//! Invariant: such a key has the flow's network namespace. [`PerFlow`] is sealed and only keys with a
//! [`FlowKey`](tcpw_common::key::FlowKey) in them have it, so a map of flows with another key does not
//! compile.

use aya_ebpf::{
    bindings::BPF_F_NO_PREALLOC,
    maps::{HashMap, LruHashMap},
};
use tcpw_common::key::PerFlow;

use crate::steady::steady;

/// A map that drops its oldest entry where it is full.
#[repr(transparent)]
pub(crate) struct FlowLru<K: PerFlow, V>(LruHashMap<K, V>);

impl<K: PerFlow, V: Copy> FlowLru<K, V> {
    pub(crate) const fn new(entries: u32) -> Self {
        Self(LruHashMap::with_max_entries(entries, 0))
    }

    /// A copy of the value. Another CPU may write it meanwhile: two values of this key may then be mixed.
    #[inline(always)]
    pub(crate) fn get(&self, key: &K) -> Option<V> {
        steady(|| self.0.get_ptr(key))
    }

    #[inline(always)]
    pub(crate) fn has(&self, key: &K) -> bool {
        // SAFETY: only tested for presence.
        unsafe { self.0.get(key) }.is_some()
    }

    /// False if there was no room.
    #[inline(always)]
    pub(crate) fn set(&self, key: &K, value: &V) -> bool {
        self.0.insert(key, value, 0).is_ok()
    }

    #[inline(always)]
    pub(crate) fn remove(&self, key: &K) {
        let _ = self.0.remove(key);
    }
}

/// A map that takes no entry where it is full.
#[repr(transparent)]
pub(crate) struct FlowMap<K: PerFlow, V>(HashMap<K, V>);

impl<K: PerFlow, V> FlowMap<K, V> {
    pub(crate) const fn new(entries: u32) -> Self {
        Self(HashMap::with_max_entries(entries, BPF_F_NO_PREALLOC))
    }

    #[inline(always)]
    pub(crate) fn get_ptr_mut(&self, key: &K) -> Option<*mut V> {
        self.0.get_ptr_mut(key)
    }

    #[inline(always)]
    pub(crate) fn remove(&self, key: &K) {
        let _ = self.0.remove(key);
    }
}
