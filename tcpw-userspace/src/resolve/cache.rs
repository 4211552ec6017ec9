//! Results of look-ups, each kept for a limited time.
//!
//! Invariant: never more answers than the limit; the oldest goes first.

use std::{
    collections::{HashMap, VecDeque},
    hash::Hash,
    time::Instant,
};

/// Values that hold until a point in time.
#[derive(Debug)]
pub struct ExpiringCache<K, V> {
    kept: HashMap<K, CachedValue<V>>,
    /// Oldest first; what was replaced since is skipped.
    order: VecDeque<(Instant, K)>,
    limit: usize,
    /// Values that were evicted before they expired.
    evicted: u64,
}

/// A value and its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CachedValue<V> {
    /// The value.
    pub value: V,
    /// When it was found.
    pub since: Instant,
    /// When it expires.
    pub until: Instant,
}

impl<K: Clone + Eq + Hash, V> ExpiringCache<K, V> {
    /// An empty one.
    pub fn new(limit: usize) -> Self {
        Self { kept: HashMap::new(), order: VecDeque::new(), limit: limit.max(1), evicted: 0 }
    }

    /// The value of a key, unless it has expired at `now`.
    pub fn at(&self, key: &K, now: Instant) -> Option<&CachedValue<V>> {
        self.kept.get(key).filter(|kept| now < kept.until)
    }

    /// Keeps a value from `since` until `until`.
    pub fn keep(&mut self, key: K, value: V, since: Instant, until: Instant) {
        self.order.push_back((since, key.clone()));
        self.kept.insert(key, CachedValue { value, since, until });
        while self.kept.len() > self.limit || self.order.len() > 2 * self.limit {
            let Some((oldest, key)) = self.order.pop_front() else { break };
            if self.kept.get(&key).is_some_and(|kept| kept.since == oldest)
                && let Some(gone) = self.kept.remove(&key)
                && since < gone.until
            {
                self.evicted += 1;
            }
        }
    }

    /// Forgets a key; its value, unless it has expired at `now`.
    pub fn remove(&mut self, key: &K, now: Instant) -> Option<V> {
        self.kept.remove(key).filter(|kept| now < kept.until).map(|kept| kept.value)
    }

    /// How many values there are, including expired ones.
    pub fn len(&self) -> usize {
        self.kept.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// How many values were evicted before they expired.
    pub fn evicted(&self) -> u64 {
        self.evicted
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn values_hold_until_their_time() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let mut cache = ExpiringCache::new(10);
        cache.keep("a", 1, start, start + second);
        assert_eq!(cache.at(&"a", start).map(|kept| kept.value), Some(1));
        assert_eq!(cache.at(&"a", start + second), None);
        cache.keep("a", 2, start + second, start + 3 * second);
        assert_eq!(cache.at(&"a", start + 2 * second).map(|kept| kept.value), Some(2));
    }

    #[test]
    fn the_oldest_goes_first_and_is_counted() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let mut cache = ExpiringCache::new(100);
        for number in 0..1000_u32 {
            let now = start + second * number;
            cache.keep(number, (), now, now + 50 * second);
            assert!(cache.len() <= 100);
        }
        assert_eq!(cache.evicted(), 0, "each was past its time");
        assert!(cache.at(&999, start + 999 * second).is_some() && cache.at(&899, start).is_none());
        for number in 0..200_u32 {
            cache.keep(number, (), start + 2000 * second, start + 9000 * second);
        }
        assert_eq!(cache.evicted(), 100);
    }

    #[test]
    fn one_value_renewed_for_ever_takes_no_more_room() {
        let start = Instant::now();
        let mut cache = ExpiringCache::new(4);
        for number in 0..1000 {
            let now = start + Duration::from_millis(number);
            cache.keep("a", number, now, now + Duration::from_secs(1));
            assert!(cache.order.len() <= 9);
        }
        assert_eq!((cache.len(), cache.evicted()), (1, 0));
    }
}
