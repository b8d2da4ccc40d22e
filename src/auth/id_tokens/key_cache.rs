//! A cache of one issuer's keys. Its HTTP cache headers say how long they are fresh.
//!
//! A token with an unknown key id may be the first one of a new key, or forged. It
//! causes a fetch, at most once in [`MIN_REFETCH_INTERVAL`], so that forged tokens do
//! not flood the issuer. While the issuer is unreachable, its last keys stay in use.

use std::{sync::Arc, time::Instant};

use anyhow::{Context, ensure};
use chrono::TimeDelta;
use parking_lot::RwLock;
use serde::Deserialize;
use tokio::sync::Mutex;
use tracing::Instrument;
use url::Url;

use super::{http_client, key_set::KeySet, provider::is_local};
use crate::{
    domain::Time,
    error::{Error, Result, with_causes},
};

/// The shortest time between two fetches because of an unknown key id.
const MIN_REFETCH_INTERVAL: TimeDelta = TimeDelta::seconds(10);

/// The delay after a failed fetch, with usable keys and without.
const RETRY_DELAY_WITH_KEYS: TimeDelta = TimeDelta::seconds(10);
const RETRY_DELAY_WITHOUT_KEYS: TimeDelta = TimeDelta::seconds(1);

/// How long stale keys stay in use while no others can be fetched.
const MAX_STALENESS: TimeDelta = TimeDelta::hours(24);

/// Caches the keys of one issuer.
#[derive(Debug)]
pub(super) struct KeyCache {
    issuer: String,
    cached: RwLock<Option<CachedKeys>>,
    /// Held while fetching.
    fetch_state: Mutex<FetchState>,
}

/// The keys of the last fetch.
#[derive(Debug, Clone)]
struct CachedKeys {
    keys: Arc<KeySet>,
    fresh_until: Time,
}

/// When the issuer may be asked again.
#[derive(Debug, Default)]
struct FetchState {
    /// The next time at which an unknown key id may cause a fetch.
    refetch_time: Time,
    /// The cause of the last failure, and the time of the next try.
    failure: Option<(String, Time)>,
}

impl KeyCache {
    /// An empty cache.
    pub fn new(issuer: String) -> Self {
        Self {
            issuer,
            cached: RwLock::default(),
            fetch_state: Mutex::default(),
        }
    }

    /// The issuer's keys, for a token with this key id, which may not be among them.
    /// `IssuerUnavailable` if the keys cannot be fetched and no usable ones have the id.
    pub async fn for_key(self: &Arc<Self>, kid: Option<&str>, now: Time) -> Result<Arc<KeySet>> {
        if let Some(fresh) = self.fresh(now)
            && fresh.keys.has(kid)
        {
            return Ok(fresh.keys);
        }

        // A separate task: other calls wait for the same keys, so the fetch must go on
        // when the client of this call disconnects.
        let cache = Arc::clone(self);
        let kid = kid.map(str::to_owned);
        let task = async move { cache.keys_after_fetch(kid.as_deref(), now).await };
        let keys = tokio::spawn(task.in_current_span()).await;
        keys.map_err(Error::internal)?
    }

    /// Fetches the keys if that is needed and allowed; the keys to use then.
    async fn keys_after_fetch(&self, kid: Option<&str>, now: Time) -> Result<Arc<KeySet>> {
        let mut state = self.fetch_state.lock().await;
        // Another call may have fetched them while this one waited.
        let fresh = self.fresh(now);
        let is_needed = match &fresh {
            Some(cached) if cached.keys.has(kid) => false,
            Some(_) => now >= state.refetch_time,
            None => true,
        };
        let failure = state.failure.as_ref();
        let is_allowed = failure.is_none_or(|(_, until)| now >= *until);
        if is_needed && is_allowed {
            if fresh.is_some() {
                state.refetch_time = now + MIN_REFETCH_INTERVAL;
            }
            state.failure = self.fetch(now).await.err();
        }

        match (self.usable(now), &state.failure) {
            (Some(keys), None) => Ok(keys),
            (Some(keys), Some(_)) if keys.has(kid) => Ok(keys),
            (_, Some((cause, _))) => Err(Error::IssuerUnavailable(anyhow::anyhow!(cause.clone()))),
            (None, None) => {
                let cause = anyhow::anyhow!("no keys after a successful fetch");
                Err(Error::internal(cause))
            }
        }
    }

    /// Fetches the keys. The error is the cause and the time of the next try.
    async fn fetch(&self, now: Time) -> Result<(), (String, Time)> {
        let started = Instant::now();
        match fetch_keys(&self.issuer).await {
            Ok((keys, freshness)) => {
                *self.cached.write() = Some(CachedKeys {
                    keys: Arc::new(keys),
                    fresh_until: now + freshness,
                });
                Ok(())
            }
            Err(cause) => {
                let cause = with_causes(&*cause);
                let issuer = &self.issuer;
                tracing::warn!(issuer, error = cause, "cannot fetch an issuer's keys");
                let delay = match self.usable(now) {
                    Some(_) => RETRY_DELAY_WITH_KEYS,
                    None => RETRY_DELAY_WITHOUT_KEYS,
                };
                // Calls that waited meanwhile share the failure.
                Err((cause, now + started.elapsed() + delay))
            }
        }
    }

    fn fresh(&self, now: Time) -> Option<CachedKeys> {
        let cached = self.cached.read().clone();
        cached.filter(|cached| now < cached.fresh_until)
    }

    fn usable(&self, now: Time) -> Option<Arc<KeySet>> {
        let cached = self.cached.read().clone()?;
        (now < cached.fresh_until + MAX_STALENESS).then_some(cached.keys)
    }
}

/// The used part of a discovery document (OpenID Connect Discovery section 3).
#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
}

/// Fetches the keys of an issuer, with their freshness lifetime.
async fn fetch_keys(issuer: &str) -> anyhow::Result<(KeySet, TimeDelta)> {
    let base = issuer.trim_end_matches('/');
    let url = Url::parse(&format!("{base}/.well-known/openid-configuration"))?;
    let document = http_client::get(&url).await?;
    let discovery: Discovery = serde_json::from_slice(&document.body)
        .with_context(|| format!("{url} is not a discovery document"))?;
    // Section 4.3: otherwise the document of any issuer would be accepted.
    ensure!(discovery.issuer == issuer, "{url} is of another issuer");

    let jwks_uri = Url::parse(&discovery.jwks_uri)
        .ok()
        .filter(|uri| uri.scheme() == "https" || is_local(uri) && is_local(&url));
    let jwks_uri = jwks_uri.with_context(|| format!("{url} has a jwks_uri without https"))?;
    let document = http_client::get(&jwks_uri).await?;
    let keys = KeySet::parse(&document.body).with_context(|| format!("cannot use {jwks_uri}"))?;
    Ok((keys, document.freshness))
}
