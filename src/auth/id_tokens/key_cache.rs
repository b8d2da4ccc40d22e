//! The keys of one issuer, fetched as seldom as its cache headers allow.
//!
//! A token whose key is not known may be the first one under a new key, or
//! forged. It has the keys fetched again, but not more often than once in
//! [`REFETCH_INTERVAL`], so that forgers cannot make this server hammer the
//! issuer. While the issuer cannot be reached, its last keys go on working.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Instant,
};

use chrono::TimeDelta;
use tokio::sync::{Mutex, OwnedMutexGuard};
use tracing::Instrument;

use super::{discovery::fetch_keys, key_set::KeySet, web::Web};
use crate::{
    domain::Time,
    error::{Error, Result},
};

/// How long after it had the keys fetched again an unknown key does not.
const REFETCH_INTERVAL: TimeDelta = TimeDelta::seconds(10);

/// How long after a failure the issuer is not asked, with keys to go on with
/// and without.
const RETRY_WITH_KEYS: TimeDelta = TimeDelta::seconds(10);
const RETRY_WITHOUT_KEYS: TimeDelta = TimeDelta::seconds(1);

/// How long keys work after they are not fresh any more, if no others can be had.
const USABLE_STALE: TimeDelta = TimeDelta::hours(24);

/// Keeps the keys of an issuer.
#[derive(Debug)]
pub(super) struct KeyCache {
    issuer: String,
    web: Web,
    known: RwLock<Option<Known>>,
    asking: Arc<Mutex<Asking>>,
}

/// What was fetched last.
#[derive(Debug, Clone)]
struct Known {
    keys: Arc<KeySet>,
    fresh_until: Time,
}

/// When the issuer may be asked again. Who holds it asks, all others wait.
#[derive(Debug, Default)]
struct Asking {
    /// Not for an unknown key before then.
    refetch_time: Time,
    /// Why the last time failed, and that it is not to be repeated before then.
    failure: Option<(String, Time)>,
}

impl KeyCache {
    /// Knows no keys yet.
    pub fn new(issuer: String, web: Web) -> Self {
        Self {
            issuer,
            web,
            known: RwLock::default(),
            asking: Arc::default(),
        }
    }

    /// The issuer's keys, for a token that names this key. It may not be among
    /// them; `IssuerUnavailable` if only the issuer could tell.
    pub async fn for_key(self: &Arc<Self>, kid: Option<&str>, now: Time) -> Result<Arc<KeySet>> {
        if let Some(known) = self.fresh(now)
            && known.keys.has(kid)
        {
            return Ok(known.keys);
        }

        // A task of its own: other calls wait for the same keys, so the one that
        // happens to fetch them must not take them along when its client leaves.
        let cache = Arc::clone(self);
        let kid = kid.map(str::to_owned);
        let task = async move {
            let asking = Arc::clone(&cache.asking).lock_owned().await;
            cache.look_up(asking, kid.as_deref(), now).await
        };
        let looked_up = tokio::spawn(task.in_current_span()).await;
        looked_up.map_err(Error::internal)?
    }

    async fn look_up(
        &self,
        mut asking: OwnedMutexGuard<Asking>,
        kid: Option<&str>,
        now: Time,
    ) -> Result<Arc<KeySet>> {
        // Another call may have asked while this one waited.
        let fresh = self.fresh(now);
        let is_needed = match &fresh {
            Some(known) if known.keys.has(kid) => false,
            Some(_) => now >= asking.refetch_time,
            None => true,
        };
        let is_allowed = asking
            .failure
            .as_ref()
            .is_none_or(|(_, until)| now >= *until);
        if is_needed && is_allowed {
            if fresh.is_some() {
                asking.refetch_time = now + REFETCH_INTERVAL;
            }
            asking.failure = self.ask(now).await.err();
        }

        match (self.usable(now), &asking.failure) {
            (Some(keys), None) => Ok(keys),
            (Some(keys), Some(_)) if keys.has(kid) => Ok(keys),
            (_, Some((cause, _))) => Err(Error::IssuerUnavailable(anyhow::anyhow!(cause.clone()))),
            (None, None) => Err(Error::internal(anyhow::anyhow!("keys were not kept"))),
        }
    }

    /// Fetches the keys, or tells why that failed and until when not to repeat it.
    async fn ask(&self, now: Time) -> Result<(), (String, Time)> {
        let started = Instant::now();
        match fetch_keys(&self.web, &self.issuer).await {
            Ok((keys, fresh)) => {
                let known = Known {
                    keys: Arc::new(keys),
                    fresh_until: now + fresh,
                };
                *self.known.write().unwrap_or_else(PoisonError::into_inner) = Some(known);
                Ok(())
            }
            Err(cause) => {
                let cause = format!("{cause:#}");
                tracing::warn!(
                    issuer = self.issuer,
                    error = cause,
                    "cannot fetch an issuer's keys"
                );
                let pause = match self.usable(now) {
                    Some(_) => RETRY_WITH_KEYS,
                    None => RETRY_WITHOUT_KEYS,
                };
                // Those who waited meanwhile share the failure.
                Err((cause, now + started.elapsed() + pause))
            }
        }
    }

    fn fresh(&self, now: Time) -> Option<Known> {
        self.known().filter(|known| now < known.fresh_until)
    }

    fn usable(&self, now: Time) -> Option<Arc<KeySet>> {
        let known = self.known()?;
        (now < known.fresh_until + USABLE_STALE).then_some(known.keys)
    }

    fn known(&self) -> Option<Known> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.clone()
    }
}
