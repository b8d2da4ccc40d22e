use std::sync::Arc;

use parking_lot::RwLock;

use crate::domain::{Time, now};

/// A ring of keys of one kind. A clone shares it.
///
/// It has the configured keys, which the settings name, and database keys, which rotations
/// create and store wrapped with a root key. The newest active database key is used for
/// new values, or else the first configured key.
#[derive(Debug)]
pub(super) struct KeyRing<K> {
    configured: Arc<[Arc<K>]>,
    /// The preferred key first.
    keys: Arc<RwLock<Arc<[RingKey<K>]>>>,
}

/// A key of a ring with the time in which it is valid.
#[derive(Debug)]
pub(super) struct RingKey<K> {
    pub key: Arc<K>,
    /// From when it is used for new values; `None` if always.
    pub active_time: Option<Time>,
    /// Until when it is accepted; `None` if always.
    pub retire_time: Option<Time>,
}

impl<K> KeyRing<K> {
    /// A ring without database keys.
    pub fn new(configured: Vec<K>) -> Self {
        let ring = Self {
            configured: configured.into_iter().map(Arc::new).collect(),
            keys: Arc::default(),
        };
        ring.set_database_keys(Vec::new(), |_| None);
        ring
    }

    /// The configured keys.
    pub fn configured(&self) -> &[Arc<K>] {
        &self.configured
    }

    /// All keys, the preferred one first.
    pub fn keys(&self) -> Arc<[RingKey<K>]> {
        Arc::clone(&self.keys.read())
    }

    /// The first key that fits.
    pub fn find(&self, is_wanted: impl Fn(&RingKey<K>) -> bool) -> Option<Arc<K>> {
        let keys = self.keys();
        let found = keys.iter().find(|entry| is_wanted(entry))?;
        Some(Arc::clone(&found.key))
    }

    /// The key for new values; `None` if all have retired.
    pub fn active(&self) -> Option<Arc<K>> {
        let now = now();
        let is_active = |entry: &RingKey<K>| entry.active_time.is_none_or(|time| time <= now);
        self.find(|entry| entry.is_accepted(now) && is_active(entry))
    }

    /// Replaces the database keys, newest first, and sets when configured keys retire.
    pub fn set_database_keys(
        &self,
        mut keys: Vec<RingKey<K>>,
        retire_time_of: impl Fn(&K) -> Option<Time>,
    ) {
        keys.extend(self.configured.iter().map(|key| RingKey {
            key: Arc::clone(key),
            active_time: None,
            retire_time: retire_time_of(key),
        }));
        *self.keys.write() = keys.into();
    }
}

impl<K> RingKey<K> {
    pub fn is_accepted(&self, now: Time) -> bool {
        self.retire_time.is_none_or(|time| time > now)
    }
}

impl<K> Clone for KeyRing<K> {
    fn clone(&self) -> Self {
        Self {
            configured: Arc::clone(&self.configured),
            keys: Arc::clone(&self.keys),
        }
    }
}
