use std::time::{Duration, Instant, SystemTime};

use prost_types::{Duration as ProtoDuration, Timestamp};

/// How long before the end of a lease its relay is stopped: more than a relay may take to
/// end, but at most a third of the lease.
const STOP_MARGIN: Duration = Duration::from_secs(5);

/// How long a relay whose lease ended during an outage waits to be assigned again.
const LOST_LEASE_HOLD: Duration = Duration::from_secs(5);

/// Until when a relay may run.
///
/// The lease prevents two workers from sending to one destination. While the control plane
/// answers, but does not renew the lease, the relay is therefore stopped before the lease
/// ends.
///
/// While the control plane is unreachable, it cannot assign the relay to another worker, and
/// stopping the relay would only interrupt a broadcast. The relay then continues for the
/// grace period, which begins at the last renewal. After the outage there are two cases:
///
/// - The whole control plane was down: the next report renews the lease.
/// - The control plane was up and has ended the lease: it assigns the relay again. If this is
///   the only worker of the media server, it gets the relay back and continues it under the
///   new lease. For that the relay is held for 5 seconds after the loss is reported.
///
/// Two workers send to one destination only if the network between this worker and a running
/// control plane is cut *and* another worker claims relays of the same media server: until
/// the network is back or the grace period is over. With a grace period of 0 a relay always
/// stops before its lease ends.
#[derive(Debug, Clone, Copy)]
pub(super) struct LeaseClock {
    /// When the lease was last granted or renewed.
    renewed_at: Instant,
    /// When it ends.
    expires_at: Instant,
    /// When the control plane reported its loss.
    lost_at: Option<Instant>,
}

impl LeaseClock {
    /// A lease that is granted `now` for this time. A control plane of an earlier version
    /// sends only the end, which holds if its clock and that of this machine agree.
    pub(super) fn new(
        duration: Option<ProtoDuration>,
        expire_time: Option<Timestamp>,
        now: Instant,
    ) -> Self {
        let until = |time: SystemTime| time.duration_since(SystemTime::now()).ok();
        let left = match duration {
            Some(duration) => duration.try_into().ok(),
            None => expire_time.and_then(|time| until(time.try_into().ok()?)),
        };
        Self::lasting(left.unwrap_or_default(), now)
    }

    fn lasting(duration: Duration, now: Instant) -> Self {
        Self {
            renewed_at: now,
            expires_at: now + duration,
            lost_at: None,
        }
    }

    /// The control plane reports that the lease is lost. Returns whether the relay is held:
    /// if the lease had expired; a lease that was taken away is not held.
    pub(super) fn lose(&mut self, now: Instant) -> bool {
        let is_held = self.lost_at.is_some() || now >= self.expires_at;
        if is_held {
            self.lost_at.get_or_insert(now);
        }
        is_held
    }

    /// Whether the relay is held for a new lease.
    pub(super) fn is_lost(&self) -> bool {
        self.lost_at.is_some()
    }

    /// The duration for which the lease was granted or renewed.
    pub(super) fn duration(&self) -> Duration {
        self.expires_at - self.renewed_at
    }

    /// Until when the relay may run. `grace` is `None` while the control plane is reachable.
    pub(super) fn run_until(&self, grace: Option<Duration>) -> Instant {
        let by_lease = self.expires_at - STOP_MARGIN.min(self.duration() / 3);
        match (self.lost_at, grace) {
            (Some(lost_at), _) => lost_at + LOST_LEASE_HOLD,
            (None, Some(grace)) => by_lease.max(self.renewed_at + grace),
            (None, None) => by_lease,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(15);
    const GRACE: Duration = Duration::from_secs(600);

    #[test]
    fn a_relay_stops_before_its_lease_ends_unless_the_control_plane_is_unreachable() {
        let now = Instant::now();
        let clock = LeaseClock::lasting(LEASE, now);
        let stop_at = now + LEASE - STOP_MARGIN;
        assert_eq!(clock.run_until(None), stop_at);
        assert_eq!(clock.run_until(Some(Duration::ZERO)), stop_at);
        assert_eq!(clock.run_until(Some(GRACE)), now + GRACE);
    }

    #[test]
    fn a_lease_lasts_as_long_as_granted_whatever_the_clock_of_the_control_plane_says() {
        let now = Instant::now();
        for expire_time in [None, Some(0), Some(i64::from(u32::MAX))] {
            let expire_time = expire_time.map(|seconds| Timestamp { seconds, nanos: 0 });
            let lease = ProtoDuration::try_from(LEASE).unwrap();
            let clock = LeaseClock::new(Some(lease), expire_time, now);
            assert_eq!(clock.duration(), LEASE, "{expire_time:?}");
        }
    }

    #[test]
    fn a_short_lease_is_used_for_two_thirds() {
        let now = Instant::now();
        let clock = LeaseClock::lasting(Duration::from_secs(3), now);
        assert_eq!(clock.run_until(None), now + Duration::from_secs(2));
    }

    #[test]
    fn only_an_expired_lease_is_held_for_a_short_time() {
        let now = Instant::now();
        let mut clock = LeaseClock::lasting(LEASE, now);
        assert!(!clock.lose(now + Duration::from_secs(14)));
        assert!(!clock.is_lost());

        let reported = now + LEASE;
        assert!(clock.lose(reported));
        assert!(clock.lose(reported + Duration::from_secs(2)));
        assert_eq!(clock.run_until(Some(GRACE)), reported + LOST_LEASE_HOLD);
    }
}
