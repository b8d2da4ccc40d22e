use std::{
    collections::{HashMap, hash_map::Entry},
    hash::{BuildHasher, RandomState},
    sync::atomic::{AtomicUsize, Ordering},
};

use parking_lot::Mutex;
use prometheus::IntGauge;

use super::holder::{Holder, Key, Keys};

/// The part of each budget that is reserved for media servers and relay workers.
const RESERVED_FRACTION: usize = 8;

/// The number of locks of a budget, so that calls on several cores seldom share one.
const SHARDS: usize = 32;

/// The largest amounts that may be held at a time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shares {
    /// By all together. Only media servers and relay workers may use the last eighth.
    pub total: usize,
    /// By each connection.
    pub connection: usize,
    /// By each address.
    pub address: usize,
    /// By each user and each API key.
    pub caller: usize,
    /// The fraction of each share that [`Budget::take`] leaves to [`Budget::add`]; 0 means
    /// nothing.
    pub headroom_fraction: usize,
}

/// An amount of which every holder has a share.
#[derive(Debug)]
pub(super) struct Budget {
    shares: Shares,
    used: AtomicUsize,
    by_key: [Mutex<HashMap<Key, usize>>; SHARDS],
    hashes: RandomState,
    /// The metric of the used amount.
    gauge: &'static IntGauge,
}

/// What was exceeded: `total`, or the kind of a [`Key`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Exceeded(pub &'static str);

impl Exceeded {
    /// The budget of all together.
    pub const TOTAL: Self = Self("total");
}

impl Shares {
    /// What all callers may use together, except media servers and relay workers.
    pub fn unreserved(total: usize) -> usize {
        total - total / RESERVED_FRACTION
    }
}

impl Budget {
    /// A budget that reports its use and its total.
    pub fn new(shares: Shares, gauge: &'static IntGauge, limit: &'static IntGauge) -> Self {
        limit.set(to_i64(shares.total));
        Self {
            shares,
            used: AtomicUsize::new(0),
            by_key: Default::default(),
            hashes: RandomState::new(),
            gauge,
        }
    }

    /// Whether there is anything left for callers like this one.
    pub fn has_room(&self, is_machine: bool) -> bool {
        self.used.load(Ordering::Relaxed) < self.total_for(is_machine)
    }

    /// Takes an amount, or nothing if the total, or a share without its headroom, would be
    /// exceeded.
    pub fn take(&self, holder: &Holder, amount: usize) -> Result<Keys, Exceeded> {
        let keys = holder.keys();
        let fraction = self.shares.headroom_fraction;
        let usable = |share: usize| share - share.checked_div(fraction).unwrap_or_default();
        self.add_within(usable, &keys, holder.is_machine(), amount)?;
        Ok(keys)
    }

    /// Takes more for these keys, or nothing.
    pub fn add(&self, keys: &Keys, is_machine: bool, amount: usize) -> Result<(), Exceeded> {
        self.add_within(|share| share, keys, is_machine, amount)
    }

    fn add_within(
        &self,
        usable: impl Fn(usize) -> usize,
        keys: &Keys,
        is_machine: bool,
        amount: usize,
    ) -> Result<(), Exceeded> {
        for (at, key) in keys.iter().enumerate() {
            let Some(key) = key else { continue };
            if !self.add_to_key(*key, amount, usable(self.share_of(*key))) {
                self.release_keys(&keys[..at], amount);
                return Err(Exceeded(key.kind()));
            }
        }
        let limit = self.total_for(is_machine);
        let used = self.used.fetch_add(amount, Ordering::Relaxed);
        if used.saturating_add(amount) > limit {
            self.used.fetch_sub(amount, Ordering::Relaxed);
            self.release_keys(keys, amount);
            return Err(Exceeded::TOTAL);
        }
        self.gauge.add(to_i64(amount));
        Ok(())
    }

    /// Gives an amount back.
    pub fn release(&self, keys: &Keys, amount: usize) {
        self.release_keys(keys, amount);
        self.used.fetch_sub(amount, Ordering::Relaxed);
        self.gauge.sub(to_i64(amount));
    }

    fn total_for(&self, is_machine: bool) -> usize {
        match is_machine {
            true => self.shares.total,
            false => Shares::unreserved(self.shares.total),
        }
    }

    fn share_of(&self, key: Key) -> usize {
        match key {
            Key::Connection(_) => self.shares.connection,
            Key::Address(_) => self.shares.address,
            Key::Caller(_) => self.shares.caller,
        }
    }

    fn add_to_key(&self, key: Key, amount: usize, share: usize) -> bool {
        let mut shard = self.shard(&key).lock();
        let held = shard.get(&key).copied().unwrap_or_default() + amount;
        if held > share {
            return false;
        }
        shard.insert(key, held);
        true
    }

    fn release_keys(&self, keys: &[Option<Key>], amount: usize) {
        for key in keys.iter().flatten() {
            let mut shard = self.shard(key).lock();
            if let Entry::Occupied(mut held) = shard.entry(*key) {
                *held.get_mut() -= amount;
                if *held.get() == 0 {
                    held.remove();
                }
            }
        }
    }

    fn shard(&self, key: &Key) -> &Mutex<HashMap<Key, usize>> {
        let hash = self.hashes.hash_one(key);
        &self.by_key[(hash % SHARDS as u64) as usize]
    }
}

fn to_i64(amount: usize) -> i64 {
    i64::try_from(amount).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use prometheus::IntGauge;
    use uuid::Uuid;

    use super::{Budget, Exceeded, Holder, Key, Shares};
    use crate::domain::PeerAddress;

    static GAUGE: LazyLock<IntGauge> =
        LazyLock::new(|| IntGauge::new("budget", "A budget of tests.").unwrap());

    fn budget() -> Budget {
        let shares = Shares {
            total: 80,
            connection: 20,
            address: 30,
            caller: 40,
            headroom_fraction: 0,
        };
        Budget::new(shares, &GAUGE, &GAUGE)
    }

    fn keys(connection: usize, address: u8, caller: u128) -> [Option<Key>; 3] {
        [
            Some(Key::Connection(connection)),
            Some(Key::Address(
                std::net::IpAddr::from([127, 0, 0, address]).into(),
            )),
            Some(Key::Caller(Uuid::from_u128(caller))),
        ]
    }

    #[test]
    fn each_holder_has_a_share_and_a_refused_amount_changes_nothing() {
        let budget = budget();
        let add = |keys, amount| budget.add(&keys, false, amount);

        add(keys(1, 1, 1), 20).unwrap();
        assert_eq!(add(keys(1, 1, 1), 1), Err(Exceeded("connection")));
        assert_eq!(add(keys(2, 1, 1), 11), Err(Exceeded("address")));
        add(keys(2, 1, 1), 10).unwrap();
        assert_eq!(add(keys(3, 2, 1), 11), Err(Exceeded("caller")));
        add(keys(3, 2, 1), 10).unwrap();

        budget.release(&keys(1, 1, 1), 20);
        budget.release(&keys(2, 1, 1), 10);
        budget.release(&keys(3, 2, 1), 10);
        assert!(budget.by_key.iter().all(|shard| shard.lock().is_empty()));
        add(keys(1, 1, 1), 20).unwrap();
    }

    #[test]
    fn the_last_eighth_is_for_machines() {
        let budget = budget();
        for number in 0..7 {
            let keys = keys(number, number as u8, number as u128);
            budget.add(&keys, false, 10).unwrap();
        }

        assert_eq!(budget.add(&keys(9, 9, 9), false, 1), Err(Exceeded::TOTAL));
        budget.add(&[None; 3], true, 10).unwrap();
        assert_eq!(budget.add(&[None; 3], true, 1), Err(Exceeded::TOTAL));
    }

    #[test]
    fn a_new_holder_leaves_the_headroom_of_each_share_to_earlier_ones() {
        let shares = Shares {
            total: 80,
            connection: 20,
            address: 20,
            caller: 20,
            headroom_fraction: 10,
        };
        let budget = Budget::new(shares, &GAUGE, &GAUGE);
        let mut request = http::Extensions::new();
        request.insert(PeerAddress::from(std::net::IpAddr::from([127, 0, 0, 1])));
        let holder = Holder::of(&request);

        assert_eq!(budget.take(&holder, 19), Err(Exceeded("address")));
        let keys = budget.take(&holder, 18).unwrap();
        assert_eq!(budget.take(&holder, 1), Err(Exceeded("address")));
        budget.add(&keys, false, 2).unwrap();
        assert_eq!(budget.add(&keys, false, 1), Err(Exceeded("address")));
    }
}
