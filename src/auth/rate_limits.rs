//! Rate limits of calls.
//!
//! A call with a valid token counts for the user, over all sessions, or for the API key.
//! Any other call counts for its peer address, or that address's network
//! ([`PeerAddress::network`]). So a dashboard's server can call for thousands of users
//! from one address, while a caller with forged tokens has only its address. Operator
//! keys are not limited: a media server reports all its streams with one.
//!
//! The algorithm is GCRA, per replica and in memory: a refusal costs no query.
//! [`BoundedStateStore`] bounds the memory.

use std::{hash::Hash, num::NonZeroU32, sync::Arc, time::Duration};

use governor::{
    Quota, RateLimiter,
    clock::{Clock, MonotonicClock},
};
use uuid::Uuid;

use super::{Caller, Subject, rate_limit_store::BoundedStateStore};
use crate::{
    domain::PeerAddress,
    error::{Error, Result},
};

/// The shortest retry delay that a caller is told.
const MIN_RETRY_DELAY: Duration = Duration::from_millis(1);

/// A rate limit.
#[derive(Debug, Clone, Copy)]
pub struct Rate {
    /// Calls per second on average; 0 means no limit.
    pub per_second: u32,
    /// Calls at once; 0 means 1.
    pub burst: u32,
}

/// The rate limits of callers and of addresses. A clone shares the counts.
#[derive(Debug, Clone)]
pub struct RateLimits {
    callers: Option<Arc<Limiter<Uuid>>>,
    addresses: Option<Arc<Limiter<Option<PeerAddress>>>>,
}

type Limiter<K> = RateLimiter<K, BoundedStateStore<K>, MonotonicClock>;

impl RateLimits {
    /// The limits for each caller and for each address.
    pub fn new(callers: Rate, addresses: Rate) -> Self {
        Self {
            callers: callers.limiter(),
            addresses: addresses.limiter(),
        }
    }

    /// Counts a call with a valid token; `RateLimited` above the limit.
    pub fn count_caller(&self, caller: &Caller) -> Result<()> {
        let id = match caller.subject {
            Subject::User { user, .. } => user.uuid(),
            Subject::Program { key, .. } => key.uuid(),
            Subject::Operator { .. } => return Ok(()),
        };
        count(self.callers.as_deref(), &id)
    }

    /// Counts a call without a valid token; `RateLimited` above the limit. Peers without
    /// a known address share one limit.
    pub fn count_address(&self, peer: Option<PeerAddress>) -> Result<()> {
        count(self.addresses.as_deref(), &peer.map(PeerAddress::network))
    }
}

impl Rate {
    fn limiter<K: Eq + Hash + Clone>(self) -> Option<Arc<Limiter<K>>> {
        let per_second = NonZeroU32::new(self.per_second)?;
        let burst = NonZeroU32::new(self.burst).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::per_second(per_second).allow_burst(burst);
        let limiter = RateLimiter::new(quota, BoundedStateStore::default(), MonotonicClock);
        Some(Arc::new(limiter))
    }
}

fn count<K: Eq + Hash + Clone>(limiter: Option<&Limiter<K>>, key: &K) -> Result<()> {
    let Some(limiter) = limiter else {
        return Ok(());
    };
    limiter.check_key(key).map_err(|until| {
        let wait = until.wait_time_from(limiter.clock().now());
        Error::RateLimited(wait.max(MIN_RETRY_DELAY))
    })
}

#[cfg(test)]
mod tests {
    use std::{
        net::{IpAddr, Ipv6Addr},
        time::Duration,
    };

    use super::{Rate, RateLimits};
    use crate::{
        auth::{Caller, Subject},
        domain::{ApiKeyId, PeerAddress, UserId},
        error::{Error, Result},
    };

    fn limits(per_second: u32) -> RateLimits {
        let rate = Rate {
            per_second,
            burst: 1,
        };
        RateLimits::new(rate, rate)
    }

    fn program_of(user: UserId) -> Caller {
        let subject = Subject::Program {
            user,
            key: ApiKeyId::generate(),
            restricted: false,
            organization: None,
        };
        Caller {
            subject,
            ..Caller::signed_in(user)
        }
    }

    fn peer(bits: u128) -> Option<PeerAddress> {
        Some(IpAddr::from(Ipv6Addr::from_bits(bits)).into())
    }

    fn is_refused(counted: Result<()>) -> bool {
        let Err(error) = counted else {
            return false;
        };
        let Error::RateLimited(wait) = error else {
            panic!("{error:?}");
        };
        assert!(!wait.is_zero() && wait <= Duration::from_secs(1));
        true
    }

    #[test]
    fn sessions_of_a_user_share_a_limit_and_api_keys_have_their_own() {
        let (limits, user) = (limits(1), UserId::generate());
        let is_refused = |caller| is_refused(limits.count_caller(&caller));

        assert!(!is_refused(Caller::signed_in(user)));
        assert!(is_refused(Caller::signed_in(user)));
        assert!(!is_refused(Caller::signed_in(UserId::generate())));

        let program = program_of(user);
        assert!(!is_refused(program.clone()));
        assert!(is_refused(program));
        assert!(!is_refused(program_of(user)));
    }

    #[test]
    fn the_addresses_of_a_network_share_a_limit() {
        let limits = limits(1);

        assert!(!is_refused(limits.count_address(peer(0x20 << 64 | 1))));
        assert!(is_refused(limits.count_address(peer(0x20 << 64 | 2))));
        assert!(!is_refused(limits.count_address(peer(0x21 << 64 | 1))));
    }

    #[test]
    fn peers_without_a_known_address_share_a_limit() {
        let limits = limits(1);

        assert!(!is_refused(limits.count_address(None)));
        assert!(is_refused(limits.count_address(None)));
    }

    #[test]
    fn without_a_rate_there_is_no_limit() {
        let (limits, caller) = (limits(0), Caller::signed_in(UserId::generate()));

        for _ in 0..10_000 {
            assert!(!is_refused(limits.count_caller(&caller)));
            assert!(!is_refused(limits.count_address(peer(1))));
        }
    }
}
