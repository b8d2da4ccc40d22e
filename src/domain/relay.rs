//! A relay and its legal transitions.
//!
//! ```text
//!         claim           bytes             bytes grow no more
//!  IDLE ---------> STARTING ----> BROADCASTING <----> STALLED
//!   ^ ^                 \______________|________________/
//!   | | lease ended, or given back      | failed
//!   | +---------------------------------+--> RETRYING --claim--> STARTING
//!   |                                   +--> FAILED
//!   +------- STOPPING <--- stopped, or to go on elsewhere, while a worker has it
//! ```
//!
//! Whoever has the lease runs the relay. What others report changes nothing.
//! No lease is taken away before it ends: its worker may still send, and two
//! must not send to one destination.

use std::time::Duration;

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{DestinationId, ProjectId, RelayError, RelayState, Stream, StreamId, Time};

/// How long a relay that its worker gave back waits, so that one that closes down
/// does not get it again.
const GIVEN_BACK: TimeDelta = TimeDelta::seconds(1);

/// After how much broadcasting failures are no longer failures in a row.
const GOOD_TRY: TimeDelta = TimeDelta::minutes(1);

/// One stream on its way to one destination.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Relay {
    /// The stream.
    pub stream_id: StreamId,
    /// The destination.
    pub destination_id: DestinationId,
    /// The project of both.
    pub project_id: ProjectId,
    /// Whether it is to run.
    pub wanted: bool,
    /// What is observed.
    pub state: RelayState,
    /// Failures in a row.
    pub attempt: i64,
    /// From when on a worker may take it.
    pub ready_time: Time,
    /// When its bytes last grew.
    pub last_progress_time: Option<Time>,
    /// Bytes that the present try has sent.
    pub bytes_sent: i64,
    /// Bits per second, of late.
    pub bitrate_bps: i64,
    /// What went wrong last.
    pub error: Option<RelayError>,
    /// The worker that has it.
    pub lease: Option<Lease>,
    /// When it last changed, but for its bytes.
    pub update_time: Time,
}

/// A worker's right to run a relay.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Lease {
    /// Its id, new with every claim.
    pub id: Uuid,
    /// Who has it.
    pub worker_id: String,
    /// When it was given.
    pub claim_time: Time,
    /// When it ends unless it is renewed.
    pub expire_time: Time,
    /// When its first bytes were sent.
    pub broadcast_time: Option<Time>,
    /// Since when no more bytes were sent while there was something to send.
    pub silent_since: Time,
}

/// How long a relay may be without what keeps it.
#[derive(Debug, Clone, Copy)]
pub struct RelayTimes {
    /// A lease without a report.
    pub lease: Duration,
    /// Broadcasting without more bytes.
    pub stall: Duration,
}

impl Relay {
    /// A relay that is to run.
    pub fn begin(stream: &Stream, destination_id: DestinationId, now: Time) -> Self {
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
        }
    }

    /// Its owner wants it; tells whether that changed anything.
    pub fn start(&mut self, now: Time) -> bool {
        let waits = matches!(self.state, RelayState::Retrying | RelayState::Failed);
        if self.wanted && !waits {
            return false;
        }
        self.wanted = true;
        self.attempt = 0;
        self.error = None;
        self.vacate(now);
        true
    }

    /// Its owner does not want it any more; tells whether that changed anything.
    pub fn stop(&mut self, now: Time) -> bool {
        if !self.wanted {
            return false;
        }
        self.wanted = false;
        self.vacate(now);
        true
    }

    /// Its stream has ended; tells whether that changed anything.
    pub fn end(&mut self, now: Time) -> bool {
        let failed = self.state == RelayState::Failed;
        let changed = self.stop(now);
        if failed && changed {
            self.state = RelayState::Failed;
        }
        changed
    }

    /// The media is elsewhere now; tells whether that changed anything.
    pub fn relocate(&mut self, now: Time) -> bool {
        let stays = matches!(
            self.state,
            RelayState::Idle | RelayState::Failed | RelayState::Stopping
        );
        if !self.wanted || stays {
            return false;
        }
        self.vacate(now);
        true
    }

    /// The destination has another address or key; tells whether that changed anything.
    pub fn redirect(&mut self, now: Time) -> bool {
        let stops = self.state == RelayState::Stopping;
        if self.lease.is_none() || stops {
            return false;
        }
        self.vacate(now);
        true
    }

    /// Whether a worker may take it, as far as its stream and its destination allow.
    pub fn is_claimable(&self, now: Time) -> bool {
        self.wanted
            && self.lease.is_none()
            && self.state != RelayState::Failed
            && self.ready_time <= now
    }

    /// A worker takes it.
    pub fn claim(&mut self, worker_id: &str, times: RelayTimes, now: Time) {
        self.lease = Some(Lease {
            id: Uuid::now_v7(),
            worker_id: worker_id.to_owned(),
            claim_time: now,
            expire_time: now + times.lease,
            broadcast_time: None,
            silent_since: now,
        });
        self.bytes_sent = 0;
        self.enter(RelayState::Starting, now);
    }

    /// Applies what time has done; tells whether that changed anything. A relay
    /// that is `held`, because its stream has nothing to send, does not stall.
    pub fn expire(&mut self, held: bool, times: RelayTimes, now: Time) -> bool {
        let Some(lease) = &self.lease else {
            return false;
        };
        let expired = lease.expire_time <= now;
        let silent = lease.is_silent(times, now);
        let stalls = self.wanted && self.state == RelayState::Broadcasting && silent && !held;
        match (expired, stalls) {
            (true, _) => self.release(RelayState::Idle, now),
            (false, true) => self.enter(RelayState::Stalled, now),
            (false, false) => return false,
        }
        true
    }

    /// Whoever has it is to give it back.
    fn vacate(&mut self, now: Time) {
        match self.lease.is_some() {
            true => self.enter(RelayState::Stopping, now),
            false => self.enter(RelayState::Idle, now),
        }
    }

    /// The worker gives it back, and nothing is wrong with it.
    pub(super) fn give_back(&mut self, now: Time) {
        self.release(RelayState::Idle, now);
        self.ready_time = now + GIVEN_BACK;
    }

    /// The worker has it no more.
    pub(super) fn release(&mut self, state: RelayState, now: Time) {
        if self.broadcast_well() {
            self.attempt = 0;
        }
        self.lease = None;
        self.enter(state, now);
    }

    pub(super) fn enter(&mut self, state: RelayState, now: Time) {
        self.state = state;
        self.ready_time = now;
        if !matches!(state, RelayState::Broadcasting) {
            self.bitrate_bps = 0;
        }
        self.update_time = now;
    }

    fn broadcast_well(&self) -> bool {
        let begun = self.lease.as_ref().and_then(|lease| lease.broadcast_time);
        match (begun, self.last_progress_time) {
            (Some(begun), Some(last)) => last - begun >= GOOD_TRY,
            _ => false,
        }
    }
}

impl Lease {
    pub(super) fn is_silent(&self, times: RelayTimes, now: Time) -> bool {
        self.silent_since + times.stall <= now
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::now;

    const TIMES: RelayTimes = RelayTimes {
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
        };
        relay.claim("w1", TIMES, now);
        relay
    }

    #[test]
    fn a_claim_is_a_new_try_of_the_same_count() {
        let relay = claimed(now());
        assert_eq!((relay.state, relay.attempt), (RelayState::Starting, 3));
        assert_eq!((relay.bytes_sent, relay.bitrate_bps), (0, 0));
        assert!(!relay.is_claimable(now() + TIMES.lease));
    }

    #[test]
    fn a_lease_runs_out_whether_held_or_not_and_counts_no_failure() {
        for held in [false, true] {
            let now = now();
            let mut relay = claimed(now);
            assert!(!relay.expire(held, TIMES, now + Duration::from_secs(14)));
            assert!(relay.expire(held, TIMES, now + TIMES.lease));
            assert_eq!((relay.state, relay.attempt), (RelayState::Idle, 3));
            assert!(relay.is_claimable(now + TIMES.lease));
        }
    }

    #[test]
    fn only_a_relay_that_broadcasts_and_is_not_held_stalls_by_itself() {
        let now = now();
        for (state, held, stalls) in [
            (RelayState::Broadcasting, false, true),
            (RelayState::Broadcasting, true, false),
            (RelayState::Starting, false, false),
        ] {
            let mut relay = claimed(now);
            relay.state = state;
            assert_eq!(relay.expire(held, TIMES, now + TIMES.stall), stalls);
        }
    }
}
