//! The memory of a rate limit: bounded, however many different callers there are.
//!
//! At most [`CAPACITY`] callers are remembered. Beyond that, those are forgotten
//! who have not called for longest, and begin anew with a full burst if they
//! call again: the limit then lets too much through rather than too little. It
//! takes 32 thousand other callers or more to make it forget one, and one that
//! goes on calling, even if all it gets is refusals, is not forgotten.
//!
//! Callers are kept in two generations. When the young one is full it becomes
//! the old one, and the old one is dropped; who calls is moved to the young one.
//! So a call costs two look-ups at most, and there is nothing to clean up.

use std::{
    array,
    collections::HashMap,
    fmt,
    hash::{BuildHasher, Hash, RandomState},
    mem,
    sync::{Mutex, PoisonError},
};

use governor::{nanos::Nanos, state::StateStore};

/// How many callers are remembered at most.
pub const CAPACITY: usize = 65_536;

/// So that threads seldom wait for each other.
const SHARDS: usize = 16;

/// How many callers are in one generation of one shard.
const GENERATION: usize = CAPACITY / SHARDS / 2;

/// What is remembered of each caller, as far as there is room.
pub struct RecentStates<K> {
    shards: [Mutex<Shard<K>>; SHARDS],
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

    fn keep(&mut self, key: K, state: Nanos) {
        if self.young.len() == GENERATION {
            mem::swap(&mut self.young, &mut self.old);
            self.young.clear();
        }
        self.young.insert(key, state);
    }
}

impl<K: Eq + Hash + Clone> StateStore for RecentStates<K> {
    type Key = K;

    fn measure_and_replace<T, F, E>(&self, key: &K, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let shard = self.hasher.hash_one(key) as usize % SHARDS;
        let mut shard = self.shards[shard]
            .lock()
            .unwrap_or_else(PoisonError::into_inner);

        let before = shard.find(key);
        let decision = decide(before);
        let after = match &decision {
            Ok((_, after)) => Some(*after),
            // Who is refused stays in memory.
            Err(_) => before,
        };
        if let Some(after) = after {
            shard.keep(key.clone(), after);
        }
        decision.map(|(allowed, _)| allowed)
    }
}

impl<K> Default for RecentStates<K> {
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

/// Not the states: they name who called.
impl<K> fmt::Debug for RecentStates<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecentStates").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        time::{Duration, Instant},
    };

    use governor::{Quota, RateLimiter, clock::MonotonicClock};
    use uuid::Uuid;

    use super::{CAPACITY, RecentStates};

    const CALLERS: u128 = 1_000_000;

    type Limiter = RateLimiter<Uuid, RecentStates<Uuid>, MonotonicClock>;

    /// One call a day for each caller.
    fn once_a_day() -> Limiter {
        let quota = Quota::with_period(Duration::from_secs(24 * 3600)).unwrap();
        RateLimiter::new(quota, RecentStates::default(), MonotonicClock)
    }

    fn remembered(limiter: Limiter) -> usize {
        let shards = limiter.into_state_store().shards.into_iter();
        let shards = shards.map(|shard| shard.into_inner().unwrap());
        shards
            .map(|shard| shard.young.len() + shard.old.len())
            .sum()
    }

    /// The memory of this process that is in use, in bytes.
    fn resident() -> usize {
        let pages = fs::read_to_string("/proc/self/statm").unwrap();
        pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
    }

    #[test]
    fn each_caller_has_a_count_of_his_own() {
        let limiter = once_a_day();

        for caller in [1, 2].map(Uuid::from_u128) {
            assert!(limiter.check_key(&caller).is_ok());
            assert!(limiter.check_key(&caller).is_err());
        }
    }

    #[test]
    fn a_million_callers_take_no_more_memory_than_there_is_room_for() {
        let limiter = once_a_day();
        let (before, begun) = (resident(), Instant::now());

        for caller in 0..CALLERS {
            assert!(limiter.check_key(&Uuid::from_u128(caller)).is_ok());
        }

        let per_call = begun.elapsed() / CALLERS as u32;
        let grown = resident().saturating_sub(before);
        let remembered = remembered(limiter);
        println!("{per_call:?} a call, {remembered} remembered in {grown} bytes");
        assert!((CAPACITY / 2..=CAPACITY).contains(&remembered));
        assert!(grown < 64 << 20, "{grown} bytes");
    }

    #[test]
    fn who_goes_on_calling_is_remembered_whoever_else_calls() {
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
        assert!(
            limiter.check_key(&quiet).is_ok(),
            "forgotten, and let through"
        );
    }
}
