//! A relay and its legal transitions.
//!
//! ```text
//!         claim           bytes             bytes grow no more
//!  IDLE ---------> STARTING ----> BROADCASTING <----> STALLED
//!   ^ ^                 \______________|________________/
//!   | | lease expired, or returned      | failed
//!   | +---------------------------------+--> RETRYING --claim--> STARTING
//!   |                                   +--> FAILED
//!   +------- STOPPING <--- stopped or moved while a worker has the lease
//!   |            | stopped
//!   +------- DRAINING <--- the stream ended by itself while a worker holds media back
//! ```
//!
//! With the outage policy HOLD, BROADCASTING becomes HOLDING while the publisher is away.
//!
//! The worker with the lease runs the relay. Reports of other workers change nothing.
//! No lease is withdrawn before it expires: its worker may still be sending, and two workers
//! must not send to one destination.

use std::time::Duration;

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    DestinationId, MediaIssue, ProjectId, RelayError, Stream, StreamDelay, StreamId, Time,
};

/// How long a returned relay waits, so that a worker that is shutting down does not claim it again.
const RETURN_DELAY: TimeDelta = TimeDelta::seconds(1);

/// How much broadcasting resets the count of failures in a row, and proves that the destination
/// accepts the key.
const STABLE_BROADCAST: TimeDelta = TimeDelta::minutes(1);

/// How much longer than its delay a relay may drain: media also waits for a slow destination, and
/// the worker has to hear of the end.
const DRAIN_GRACE: TimeDelta = TimeDelta::seconds(10);

/// The transmission of one stream to one destination.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Relay {
    /// The stream.
    pub stream_id: StreamId,
    /// The destination.
    pub destination_id: DestinationId,
    /// The project of both.
    pub project_id: ProjectId,
    /// Whether the owner wants it to run.
    pub wanted: bool,
    /// Its observed state.
    pub state: RelayState,
    /// Failures in a row.
    pub attempt: i64,
    /// The earliest time at which a worker may claim it. While it drains, the time until which it
    /// may.
    pub ready_time: Time,
    /// When its bytes last grew.
    pub last_progress_time: Option<Time>,
    /// Bytes sent in the current attempt.
    pub bytes_sent: i64,
    /// The recent bit rate, in bits per second.
    pub bitrate_bps: i64,
    /// The most recent error.
    pub error: Option<RelayError>,
    /// The lease of the worker that runs it.
    pub lease: Option<RelayLease>,
    /// When anything but its byte counts last changed.
    pub update_time: Time,
    /// How well media is delivered.
    #[serde(default)]
    pub delivery: RelayDelivery,
    /// The present issues of its media.
    #[serde(default)]
    pub issues: Vec<MediaIssue>,
    /// That no worker takes it, if that was found since it can be claimed. It is apart from the
    /// other issues because servers of an earlier version do not know its code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity_issue: Option<MediaIssue>,
    /// The lease of a worker that goes on until the next one sends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outgoing: Option<OutgoingLease>,
    /// Whether its destination has taken media for a minute without a break since the
    /// owner has started it, and so accepts the key.
    #[serde(default)]
    pub is_proven: bool,
}

/// How well media is delivered in the current attempt.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RelayDelivery {
    /// The media that waits to be sent, in milliseconds.
    pub lag_ms: i32,
    /// Packets that were dropped because the destination was too slow.
    pub dropped_packets: i64,
    /// TCP segments that were sent again.
    pub retransmitted_segments: i64,
    /// When packets were last dropped, also in an earlier attempt.
    pub last_drop_time: Option<Time>,
}

/// A worker's right to run a relay.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RelayLease {
    /// Its id, new with every claim.
    pub id: Uuid,
    /// The worker.
    pub worker_id: String,
    /// When it was claimed.
    pub claim_time: Time,
    /// When it expires unless it is renewed. [`Self::WITH_WORKER`] if it lasts as long as the
    /// worker reports all of its leases.
    pub expire_time: Time,
    /// When the first bytes were sent.
    pub broadcast_time: Option<Time>,
    /// Since when no bytes have been sent although the stream has media. [`Self::WITH_WORKER`] if
    /// only the server knows it that gets the reports of the worker.
    pub silent_since: Time,
}

/// The right of a worker to go on with a relay that moves to another one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutgoingLease {
    /// The id of the lease under which it has run the relay.
    pub id: Uuid,
    /// The worker.
    pub worker_id: String,
    /// When it ends at the latest.
    pub expire_time: Time,
}

/// How long a relay continues without reports or progress.
#[derive(Debug, Clone, Copy)]
pub struct RelayTimeouts {
    /// How long a lease lasts without a report.
    pub lease: Duration,
    /// How long a relay without progress counts as broadcasting.
    pub stall: Duration,
}

impl Relay {
    /// A relay that waits for a worker.
    pub fn new(stream: &Stream, destination_id: DestinationId, now: Time) -> Self {
        Self {
            stream_id: stream.id,
            destination_id,
            project_id: stream.project_id,
            wanted: true,
            state: RelayState::Idle,
            attempt: 0,
            ready_time: now,
            last_progress_time: None,
            bytes_sent: 0,
            bitrate_bps: 0,
            error: None,
            lease: None,
            update_time: now,
            delivery: RelayDelivery::default(),
            issues: Vec::new(),
            capacity_issue: None,
            outgoing: None,
            is_proven: false,
        }
    }

    /// Starts it for its owner. Returns whether it changed.
    pub fn start(&mut self, now: Time) -> bool {
        let has_failed = matches!(self.state, RelayState::Retrying | RelayState::Failed);
        if self.wanted && !has_failed {
            return false;
        }
        self.wanted = true;
        self.attempt = 0;
        self.error = None;
        self.is_proven = false;
        self.capacity_issue = None;
        self.reset(now);
        true
    }

    /// Stops it for its owner, also while it drains. Returns whether it changed.
    pub fn stop(&mut self, now: Time) -> bool {
        if !self.wanted && self.state != RelayState::Draining {
            return false;
        }
        self.wanted = false;
        self.issues.clear();
        self.capacity_issue = None;
        self.reset(now);
        true
    }

    /// Stops it because its stream has ended. Returns whether it changed.
    pub fn end(&mut self, now: Time) -> bool {
        let failed = self.state == RelayState::Failed;
        let changed = self.stop(now);
        if failed && changed {
            self.state = RelayState::Failed;
        }
        changed
    }

    /// Ends it because its stream has ended by itself: a worker first sends what it holds back for
    /// the delay of the destination. Returns whether it changed.
    pub fn drain(&mut self, delay: StreamDelay, now: Time) -> bool {
        let has_media = self.lease.is_some() && self.state != RelayState::Stopping;
        if !self.wanted || !has_media || delay.is_zero() {
            return self.end(now);
        }
        self.wanted = false;
        self.issues.clear();
        self.outgoing = None;
        self.enter(RelayState::Draining, now);
        self.ready_time = now + delay.as_duration() + DRAIN_GRACE;
        true
    }

    /// Whether its worker must release the lease now.
    pub(super) fn must_stop(&self, now: Time) -> bool {
        match self.state {
            RelayState::Stopping => true,
            RelayState::Draining => self.ready_time <= now,
            _ => false,
        }
    }

    /// Restarts it because the media has moved. Returns whether it changed.
    pub fn relocate(&mut self, now: Time) -> bool {
        let stays = matches!(
            self.state,
            RelayState::Idle | RelayState::Failed | RelayState::Stopping
        );
        if !self.wanted || stays {
            return false;
        }
        self.reset(now);
        true
    }

    /// Continues although the media has moved, under the lease of a worker that can follow it;
    /// without a lease it is restarted. Returns whether it changed.
    pub fn follow(&mut self, now: Time) -> bool {
        self.lease.is_none() && self.relocate(now)
    }

    /// Restarts it because the destination's address or key changed. Returns whether it changed.
    pub fn redirect(&mut self, now: Time) -> bool {
        let stops = self.state == RelayState::Stopping;
        if self.lease.is_none() || stops {
            return false;
        }
        self.reset(now);
        true
    }

    /// Whether a worker may claim it, as far as the relay itself is concerned.
    pub fn is_claimable(&self, now: Time) -> bool {
        self.is_unclaimed() && self.ready_time <= now
    }

    /// Whether it waits for a worker, or for its next attempt.
    pub(super) fn is_unclaimed(&self) -> bool {
        self.wanted && self.lease.is_none() && self.state != RelayState::Failed
    }

    /// All of its present issues. One of a missing worker that a server of an earlier version has
    /// left is none.
    pub fn present_issues(&self) -> impl Iterator<Item = &MediaIssue> {
        let unclaimed = self.is_unclaimed();
        let capacity = self.capacity_issue.iter().filter(move |_| unclaimed);
        capacity.chain(&self.issues)
    }

    /// Gives a worker the lease.
    pub fn claim(&mut self, worker_id: &str, times: RelayTimeouts, now: Time) {
        self.lease = Some(RelayLease {
            id: Uuid::now_v7(),
            worker_id: worker_id.to_owned(),
            claim_time: now,
            expire_time: now + times.lease,
            broadcast_time: None,
            silent_since: now,
        });
        self.bytes_sent = 0;
        self.capacity_issue = None;
        self.delivery.begin_attempt();
        self.enter(RelayState::Starting, now);
    }

    /// Makes it idle, or asks the worker with the lease to return it.
    pub(super) fn reset(&mut self, now: Time) {
        self.outgoing = None;
        match self.lease.is_some() {
            true => self.enter(RelayState::Stopping, now),
            false => self.enter(RelayState::Idle, now),
        }
    }

    /// Takes the lease back from a worker that reports no failure.
    pub(super) fn return_lease(&mut self, now: Time) {
        self.release(RelayState::Idle, now);
        self.ready_time = now + RETURN_DELAY;
    }

    /// Ends the lease.
    pub(super) fn release(&mut self, state: RelayState, now: Time) {
        if self.was_stable() {
            self.attempt = 0;
            self.is_proven = true;
        }
        self.lease = None;
        self.enter(state, now);
    }

    pub(super) fn enter(&mut self, state: RelayState, now: Time) {
        self.state = state;
        self.ready_time = now;
        if !matches!(state, RelayState::Broadcasting | RelayState::Holding) {
            self.bitrate_bps = 0;
        }
        self.update_time = now;
    }

    fn was_stable(&self) -> bool {
        let first = self.lease.as_ref().and_then(|lease| lease.broadcast_time);
        match (first, self.last_progress_time) {
            (Some(first), Some(last)) => last - first >= STABLE_BROADCAST,
            _ => false,
        }
    }
}

impl RelayDelivery {
    fn begin_attempt(&mut self) {
        *self = Self {
            last_drop_time: self.last_drop_time,
            ..Self::default()
        };
    }

    /// Applies what a worker reports.
    pub(super) fn update(&mut self, reported: &Self, now: Time) {
        let has_dropped = reported.dropped_packets > self.dropped_packets;
        *self = Self {
            last_drop_time: if has_dropped {
                Some(now)
            } else {
                self.last_drop_time
            },
            ..reported.clone()
        };
    }
}

impl RelayLease {
    /// The stored times of a lease that the reports of its worker renew without writing them: the
    /// end of the year 9999, so that servers that do not know the rule neither end nor stall it.
    pub const WITH_WORKER: Time = match Time::from_timestamp_secs(253_402_300_799) {
        Some(time) => time,
        None => Time::MAX_UTC,
    };

    /// Whether reports of its worker renew it without writing it.
    pub fn lasts_with_worker(&self) -> bool {
        self.expire_time == Self::WITH_WORKER
    }

    pub(super) fn is_silent(&self, times: RelayTimeouts, now: Time) -> bool {
        self.silent_since + times.stall <= now
    }
}

text_enum! {
    /// The observed state of a relay.
    pub enum RelayState {
        /// No worker has it.
        Idle = "idle",
        /// A worker has it and has not sent anything yet.
        Starting = "starting",
        /// It makes progress.
        Broadcasting = "broadcasting",
        /// The publisher is away, and it makes progress with the last picture.
        Holding = "holding",
        /// A worker has it, but it makes no progress.
        Stalled = "stalled",
        /// It failed and will be retried.
        Retrying = "retrying",
        /// It failed permanently.
        Failed = "failed",
        /// A worker has it and has to stop it.
        Stopping = "stopping",
        /// Its stream has ended, and a worker sends what the delay held back.
        Draining = "draining",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::now;

    const TIMES: RelayTimeouts = RelayTimeouts {
        lease: Duration::from_secs(15),
        stall: Duration::from_secs(10),
    };

    fn claimed(now: Time) -> Relay {
        let mut relay = Relay {
            stream_id: StreamId::generate(),
            destination_id: DestinationId::generate(),
            project_id: ProjectId::generate(),
            wanted: true,
            state: RelayState::Idle,
            attempt: 3,
            ready_time: now,
            last_progress_time: None,
            bytes_sent: 9,
            bitrate_bps: 9,
            error: None,
            lease: None,
            update_time: now,
            delivery: RelayDelivery::default(),
            issues: Vec::new(),
            capacity_issue: None,
            outgoing: None,
            is_proven: false,
        };
        relay.claim("w1", TIMES, now);
        relay
    }

    #[test]
    fn a_claim_keeps_the_count_of_failures() {
        let relay = claimed(now());
        assert_eq!((relay.state, relay.attempt), (RelayState::Starting, 3));
        assert_eq!((relay.bytes_sent, relay.bitrate_bps), (0, 0));
        assert!(!relay.is_claimable(now() + TIMES.lease));
    }

    const DELAY: StreamDelay = StreamDelay::from_millis(30_000);

    #[test]
    fn only_a_wanted_relay_with_a_lease_and_a_delay_drains() {
        let drained = |delay, prepare: fn(&mut Relay, Time)| {
            let now = now();
            let mut relay = claimed(now);
            prepare(&mut relay, now);
            relay.drain(delay, now);
            assert!(!relay.wanted);
            relay.state
        };
        assert_eq!(drained(DELAY, |_, _| {}), RelayState::Draining);
        let no_delay = StreamDelay::default();
        assert_eq!(drained(no_delay, |_, _| {}), RelayState::Stopping);
        let redirected = drained(DELAY, |relay, now| assert!(relay.redirect(now)));
        assert_eq!(redirected, RelayState::Stopping);
        let stopped = drained(DELAY, |relay, now| assert!(relay.stop(now)));
        assert_eq!(stopped, RelayState::Stopping);
        let idle = drained(DELAY, |relay, now| relay.release(RelayState::Idle, now));
        assert_eq!(idle, RelayState::Idle);
        let failed = drained(DELAY, |relay, now| relay.release(RelayState::Failed, now));
        assert_eq!(failed, RelayState::Failed);
    }

    #[test]
    fn a_relay_drains_for_its_delay_and_ten_seconds_unless_it_is_stopped() {
        let now = now();
        let mut relay = claimed(now);
        assert!(relay.drain(DELAY, now));
        assert!(!relay.must_stop(now + Duration::from_secs(39)));
        assert!(relay.must_stop(now + Duration::from_secs(40)));
        for stop in [Relay::stop as fn(&mut Relay, Time) -> bool, Relay::redirect] {
            let mut relay = relay.clone();
            assert!(stop(&mut relay, now) && relay.must_stop(now));
            assert_eq!(relay.state, RelayState::Stopping);
        }
        assert!(!relay.clone().relocate(now) && !relay.clone().follow(now));
        assert!(relay.expire(false, TIMES, now + TIMES.lease));
        assert_eq!(
            (relay.state, relay.lease.is_none()),
            (RelayState::Idle, true)
        );
    }

    #[test]
    fn an_expired_lease_counts_no_failure_with_or_without_media() {
        for source_idle in [false, true] {
            let now = now();
            let mut relay = claimed(now);
            assert!(!relay.expire(source_idle, TIMES, now + Duration::from_secs(14)));
            assert!(relay.expire(source_idle, TIMES, now + TIMES.lease));
            assert_eq!((relay.state, relay.attempt), (RelayState::Idle, 3));
            assert!(relay.is_claimable(now + TIMES.lease));
        }
    }

    #[test]
    fn only_a_broadcasting_relay_with_media_stalls_by_itself() {
        let now = now();
        for (state, source_idle, stalls) in [
            (RelayState::Broadcasting, false, true),
            (RelayState::Broadcasting, true, false),
            (RelayState::Starting, false, false),
        ] {
            let mut relay = claimed(now);
            relay.state = state;
            assert_eq!(relay.expire(source_idle, TIMES, now + TIMES.stall), stalls);
        }
    }
}
