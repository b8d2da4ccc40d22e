use std::time::{Duration, Instant, SystemTime};

use prost_types::Timestamp;

/// How long before the end of a lease a relay is stopped: as long as ffmpeg may take to
/// end. Of a short lease at most a third.
const MARGIN: Duration = Duration::from_secs(5);

/// How long a relay whose lease ended while the control plane was away waits to be
/// given to this worker again.
const HOLD: Duration = Duration::from_secs(5);

/// Until when a relay may run, by its lease.
///
/// The lease guards against two workers that send to one destination, and so a relay is
/// stopped before its lease ends, if the control plane answers, but not with a renewal.
/// While the control plane is *away* - it cannot be reached, or does not answer - nobody
/// can be given the relay, and stopping it would only interrupt a broadcast: it goes on
/// for the grace, counted from the last report that came through. A control plane that was
/// down as a whole renews the lease with the next report. One that was up, and has ended
/// the lease, gives the relay out again: to this worker, if it is the only one of its
/// media server, which then goes on under the new lease. For that the relay is held for
/// a few seconds after it is told that the lease is lost.
///
/// Two do send to one destination if the network between this worker and a control plane
/// that is up is cut, *and* another worker takes relays of the same media server: until
/// the network is back, or the grace is over. With a grace of 0 a relay always stops
/// before its lease ends.
#[derive(Debug, Clone, Copy)]
pub(super) struct Standing {
    /// When the lease was last given or renewed.
    heard: Instant,
    /// When it ends.
    end: Instant,
    /// When it was told that the worker has it no more.
    lost: Option<Instant>,
}

impl Standing {
    /// Of a lease that ends then, as is heard now.
    pub(super) fn new(end: Option<Timestamp>, now: Instant) -> Self {
        let end = end.and_then(|end| SystemTime::try_from(end).ok());
        let left = end.and_then(|end| end.duration_since(SystemTime::now()).ok());
        Self::lasting(left.unwrap_or_default(), now)
    }

    fn lasting(left: Duration, now: Instant) -> Self {
        Self {
            heard: now,
            end: now + left,
            lost: None,
        }
    }

    /// The control plane says that the worker has the lease no more. Whether the relay is
    /// held: if the lease may have ended by itself, and was not taken away.
    pub(super) fn lose(&mut self, now: Instant) -> bool {
        let is_held = self.lost.is_some() || now >= self.end;
        if is_held {
            self.lost.get_or_insert(now);
        }
        is_held
    }

    /// Whether the relay is held for a new lease.
    pub(super) fn is_lost(&self) -> bool {
        self.lost.is_some()
    }

    /// For how long the lease was given or renewed.
    pub(super) fn length(&self) -> Duration {
        self.end - self.heard
    }

    /// Until when the relay may run. `grace` is none where the control plane is not away.
    pub(super) fn until(&self, grace: Option<Duration>) -> Instant {
        let by_lease = self.end - MARGIN.min(self.length() / 3);
        match (self.lost, grace) {
            (Some(lost), _) => lost + HOLD,
            (None, Some(grace)) => by_lease.max(self.heard + grace),
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
    fn a_relay_stops_before_its_lease_ends_unless_the_control_plane_is_away() {
        let now = Instant::now();
        let standing = Standing::lasting(LEASE, now);
        assert_eq!(standing.until(None), now + LEASE - MARGIN);
        assert_eq!(standing.until(Some(Duration::ZERO)), now + LEASE - MARGIN);
        assert_eq!(standing.until(Some(GRACE)), now + GRACE);
    }

    #[test]
    fn a_short_lease_is_used_for_two_thirds() {
        let now = Instant::now();
        let standing = Standing::lasting(Duration::from_secs(3), now);
        assert_eq!(standing.until(None), now + Duration::from_secs(2));
    }

    #[test]
    fn only_a_lease_that_ended_by_itself_is_held_and_not_for_long() {
        let now = Instant::now();
        let mut standing = Standing::lasting(LEASE, now);
        assert!(!standing.lose(now + Duration::from_secs(14)));
        assert!(!standing.is_lost());

        let told = now + LEASE;
        assert!(standing.lose(told));
        assert!(standing.lose(told + Duration::from_secs(2)));
        assert_eq!(standing.until(Some(GRACE)), told + HOLD);
    }
}
