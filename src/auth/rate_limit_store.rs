//! The bounded state store of a rate limit.
//!
//! It holds at most [`MAX_KEYS`] keys. Beyond that it drops the least recently used
//! ones, which start again with a full burst: the limit then allows too much rather than
//! too little. A key is dropped only after at least 32 thousand other keys were used. A
//! key that keeps calling stays, even if all its calls are refused.
//!
//! Keys are in two generations. When the young generation is full it becomes the old
//! one, and the old one is dropped. Each use moves a key to the young generation. So a
//! call costs at most two lookups, and no cleanup is needed.

use std::{
    array,
    collections::HashMap,
    fmt,
    hash::{BuildHasher, Hash, RandomState},
    mem,
};

use governor::{nanos::Nanos, state::StateStore};
use parking_lot::Mutex;

/// The largest number of keys.
pub const MAX_KEYS: usize = 65_536;

/// Independently locked shards, so that threads seldom wait for each other.
const SHARD_COUNT: usize = 16;

/// The size of one generation of one shard.
const GENERATION_SIZE: usize = MAX_KEYS / SHARD_COUNT / 2;

/// The rate limit state of each recently used key.
pub struct BoundedStateStore<K> {
    shards: [Mutex<Shard<K>>; SHARD_COUNT],
    hasher: RandomState,
}

struct Shard<K> {
    young: HashMap<K, Nanos>,
    old: HashMap<K, Nanos>,
}

impl<K: Eq + Hash> Shard<K> {
    fn find(&self, key: &K) -> Option<Nanos> {
        let found = self.young.get(key).or_else(|| self.old.get(key));
        found.copied()
    }

    fn insert(&mut self, key: K, state: Nanos) {
        if self.young.len() == GENERATION_SIZE {
            mem::swap(&mut self.young, &mut self.old);
            self.young.clear();
        }
        self.young.insert(key, state);
    }
}

impl<K: Eq + Hash + Clone> StateStore for BoundedStateStore<K> {
    type Key = K;

    fn measure_and_replace<T, F, E>(&self, key: &K, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let shard = self.hasher.hash_one(key) as usize % SHARD_COUNT;
        let mut shard = self.shards[shard].lock();

        let before = shard.find(key);
        let decision = decide(before);
        // A refused key stays in memory.
        let after = decision.as_ref().map_or(before, |(_, after)| Some(*after));
        if let Some(after) = after {
            shard.insert(key.clone(), after);
        }
        decision.map(|(allowed, _)| allowed)
    }
}

impl<K> Default for BoundedStateStore<K> {
    fn default() -> Self {
        let shard = |_| {
            Mutex::new(Shard {
                young: HashMap::new(),
                old: HashMap::new(),
            })
        };
        Self {
            shards: array::from_fn(shard),
            hasher: RandomState::new(),
        }
    }
}

/// Without the states, which name callers.
impl<K> fmt::Debug for BoundedStateStore<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BoundedStateStore").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use governor::{Quota, RateLimiter, clock::MonotonicClock};
    use uuid::Uuid;

    use super::{BoundedStateStore, MAX_KEYS, Mutex};

    const CALLERS: u128 = 1_000_000;

    type Limiter = RateLimiter<Uuid, BoundedStateStore<Uuid>, MonotonicClock>;

    /// One call a day for each caller.
    fn once_a_day() -> Limiter {
        let quota = Quota::with_period(Duration::from_secs(24 * 3600)).unwrap();
        RateLimiter::new(quota, BoundedStateStore::default(), MonotonicClock)
    }

    /// The number of keys that are remembered, and that memory is allocated for.
    fn remembered(limiter: Limiter) -> (usize, usize) {
        let shards = limiter.into_state_store().shards.map(Mutex::into_inner);
        let generations = shards.iter().flat_map(|shard| [&shard.young, &shard.old]);
        generations.fold((0, 0), |(length, capacity), generation| {
            (length + generation.len(), capacity + generation.capacity())
        })
    }

    #[test]
    fn each_key_has_its_own_count() {
        let limiter = once_a_day();

        for caller in [1, 2].map(Uuid::from_u128) {
            assert!(limiter.check_key(&caller).is_ok());
            assert!(limiter.check_key(&caller).is_err());
        }
    }

    #[test]
    fn a_million_keys_take_bounded_memory() {
        let limiter = once_a_day();

        for caller in 0..CALLERS {
            assert!(limiter.check_key(&Uuid::from_u128(caller)).is_ok());
        }

        let (remembered, capacity) = remembered(limiter);
        assert!((MAX_KEYS / 2..=MAX_KEYS).contains(&remembered));
        assert!(capacity <= 2 * MAX_KEYS, "memory for {capacity} keys");
    }

    #[test]
    fn a_key_that_keeps_calling_is_not_dropped() {
        let limiter = once_a_day();
        let (busy, quiet) = (Uuid::from_u128(CALLERS), Uuid::from_u128(CALLERS + 1));
        assert!(limiter.check_key(&busy).is_ok());
        assert!(limiter.check_key(&quiet).is_ok());

        for caller in 0..CALLERS {
            assert!(limiter.check_key(&Uuid::from_u128(caller)).is_ok());
            if caller % 1000 == 0 {
                assert!(limiter.check_key(&busy).is_err());
            }
        }

        assert!(limiter.check_key(&busy).is_err());
        assert!(limiter.check_key(&quiet).is_ok(), "dropped, and allowed");
    }
}
