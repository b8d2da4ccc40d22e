//! Reports of workers, and how they change a relay.

use std::time::Duration;

use uuid::Uuid;

use super::{Relay, RelayDelivery, RelayError, RelayState, RelayTimeouts, Time};
use crate::backoff::Backoff;

const RETRY_BACKOFF: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));

/// The delays of a relay whose destination has taken media of this stream: it will again, and
/// viewers wait. Each retry costs two transactions.
const RESUME_BACKOFF: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(2));

/// The codes of a destination that does not answer. A worker that has attempted to reach it for
/// [`LONG_ATTEMPT`] goes on without a delay, so that no time passes after its return. A destination
/// that answers, even with a refusal, is never retried without a delay.
const SILENCE_CODES: [&str; 2] = ["CONNECT_TIMEOUT", "HOST_UNREACHABLE"];
const LONG_ATTEMPT: Duration = Duration::from_secs(5);

/// A worker's report about a relay.
#[derive(Debug, Clone)]
pub struct RelayReport {
    /// The lease under which it runs.
    pub lease_id: Uuid,
    /// Bytes sent in this attempt.
    pub bytes_sent: i64,
    /// The recent bit rate, in bits per second.
    pub bitrate_bps: i64,
    /// How well media is delivered, without the time of drops.
    pub delivery: RelayDelivery,
    /// Its state.
    pub state: ReportedState,
}

/// The state of a relay, as its worker sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReportedState {
    /// It is running, without progress yet.
    Starting,
    /// It is running and making progress.
    Broadcasting,
    /// It is running and making progress, but its input has no media.
    Holding,
    /// It is running without progress.
    Stalled,
    /// It is about to stop.
    Stopping,
    /// It was stopped, and the lease is returned.
    Stopped,
    /// Its worker has ended. Another one can claim it at once.
    Abandoned,
    /// It failed, and the lease is returned. It is retried unless the error is fatal.
    Retrying(RelayError),
    /// It failed permanently, and the lease is returned.
    Failed(RelayError),
}

/// The effect of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReportOutcome {
    /// None: the worker does not have the lease, or has to return it.
    Lost,
    /// The lease was renewed, and the byte counts were updated.
    Renewed,
    /// The relay changed.
    Changed,
}

impl RelayReport {
    /// Whether the worker goes on with the relay.
    pub fn keeps_lease(&self) -> bool {
        match self.state {
            ReportedState::Starting
            | ReportedState::Broadcasting
            | ReportedState::Holding
            | ReportedState::Stalled
            | ReportedState::Stopping => true,
            ReportedState::Stopped
            | ReportedState::Abandoned
            | ReportedState::Retrying(_)
            | ReportedState::Failed(_) => false,
        }
    }

    /// Returns a lease under which nothing is running.
    pub fn stopped(lease_id: Uuid) -> Self {
        Self {
            lease_id,
            bytes_sent: 0,
            bitrate_bps: 0,
            delivery: RelayDelivery::default(),
            state: ReportedState::Stopped,
        }
    }
}

impl Relay {
    /// Applies a report.
    ///
    /// With `source_idle`, its stream has no media to send, and the relay neither stalls nor
    /// counts a failure.
    pub fn report(
        &mut self,
        worker_id: &str,
        report: &RelayReport,
        source_idle: bool,
        times: RelayTimeouts,
        now: Time,
    ) -> ReportOutcome {
        if let Some(outcome) = self.report_outgoing(worker_id, report, now) {
            return outcome;
        }
        let lease = self.lease.as_ref();
        if !lease.is_some_and(|one| one.id == report.lease_id && one.worker_id == worker_id) {
            return ReportOutcome::Lost;
        }
        let is_ending = matches!(self.state, RelayState::Stopping | RelayState::Draining);
        match &report.state {
            // A worker that was asked to stop is not shutting down.
            ReportedState::Stopped if is_ending => self.release(RelayState::Idle, now),
            ReportedState::Stopped => self.return_lease(now),
            ReportedState::Abandoned => self.release(RelayState::Idle, now),
            ReportedState::Retrying(_) | ReportedState::Failed(_) if is_ending => {
                self.release(RelayState::Idle, now);
            }
            ReportedState::Failed(error) => self.fail(error, now),
            ReportedState::Retrying(error) if error.fatal => self.fail(error, now),
            ReportedState::Retrying(_) if source_idle => self.release(RelayState::Idle, now),
            ReportedState::Retrying(error) => self.retry(error, now),
            _ if self.must_stop(now) => return ReportOutcome::Lost,
            _ => return self.update(report, source_idle, times, now),
        }
        ReportOutcome::Changed
    }

    fn fail(&mut self, error: &RelayError, now: Time) {
        self.release(RelayState::Failed, now);
        self.attempt = self.attempt.saturating_add(1);
        self.error = Some(error.clone());
    }

    fn retry(&mut self, error: &RelayError, now: Time) {
        let claimed = self.lease.as_ref().map(|lease| lease.claim_time);
        let is_long = claimed.is_some_and(|claimed| claimed + LONG_ATTEMPT <= now);
        let goes_on = is_long && SILENCE_CODES.contains(&&*error.code);
        self.release(RelayState::Retrying, now);
        self.attempt = self.attempt.saturating_add(1);
        self.error = Some(error.clone());
        let delay = match self.last_progress_time {
            None => retry_delay(RETRY_BACKOFF, self.attempt),
            Some(_) if goes_on => Duration::ZERO,
            Some(_) => retry_delay(RESUME_BACKOFF, self.attempt),
        };
        self.ready_time = now + delay;
    }

    /// Applies a report of a relay that is running.
    fn update(
        &mut self,
        report: &RelayReport,
        source_idle: bool,
        times: RelayTimeouts,
        now: Time,
    ) -> ReportOutcome {
        let has_progress = report.bytes_sent > self.bytes_sent;
        let Some(lease) = &mut self.lease else {
            return ReportOutcome::Lost;
        };
        lease.expire_time = now + times.lease;
        if report.bytes_sent < self.bytes_sent {
            // A newer report arrived before this one.
            return ReportOutcome::Renewed;
        }
        if has_progress {
            lease.broadcast_time.get_or_insert(now);
            lease.silent_since = now;
            self.bytes_sent = report.bytes_sent;
            self.last_progress_time = Some(now);
        }

        let silent = lease.is_silent(times, now);
        let state = match &report.state {
            _ if self.state == RelayState::Draining => self.state,
            ReportedState::Stopping => RelayState::Stopping,
            _ if source_idle && !has_progress && !self.stalls_in_hold(silent) => self.state,
            ReportedState::Stalled => RelayState::Stalled,
            _ if silent => RelayState::Stalled,
            ReportedState::Broadcasting if has_progress => RelayState::Broadcasting,
            ReportedState::Holding if has_progress => RelayState::Holding,
            ReportedState::Broadcasting | ReportedState::Holding => self.state,
            _ => RelayState::Starting,
        };
        let changed = state != self.state;
        if changed {
            self.enter(state, now);
        }
        if matches!(state, RelayState::Broadcasting | RelayState::Holding) {
            self.outgoing = None;
        }
        self.bitrate_bps = report.bitrate_bps;
        self.delivery.update(&report.delivery, now);
        match changed {
            true => ReportOutcome::Changed,
            false => ReportOutcome::Renewed,
        }
    }

    /// Whether a relay that should send without a publisher does not.
    fn stalls_in_hold(&self, silent: bool) -> bool {
        silent && self.state == RelayState::Holding
    }
}

/// The delay before the next attempt, after `failures` in a row.
fn retry_delay(backoff: Backoff, failures: i64) -> Duration {
    backoff.delay(u32::try_from(failures).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{RETRY_BACKOFF, RelayReport, ReportedState, retry_delay};
    use crate::domain::{
        DestinationId, IngestProtocol, ProjectId, Publisher, Relay, RelayDelivery, RelayError,
        RelayState, RelayTimeouts, Stream, StreamDelay, StreamTimeouts, Time, now,
    };

    #[test]
    fn retry_delays_double_up_to_a_minute() {
        let delays =
            [1, 2, 3, 6, 7, 8, 60, u32::MAX].map(|failures| RETRY_BACKOFF.ceiling(failures));
        assert_eq!(
            delays.map(|delay| delay.as_secs()),
            [1, 2, 4, 32, 60, 60, 60, 60]
        );
    }

    #[test]
    fn a_retry_delay_is_at_least_half_of_its_longest() {
        for _ in 0..100 {
            let delay = retry_delay(RETRY_BACKOFF, 2);
            assert!((Duration::from_secs(1)..=Duration::from_secs(2)).contains(&delay));
        }
        assert!(retry_delay(RETRY_BACKOFF, i64::MAX) <= Duration::from_secs(60));
    }

    const TIMES: RelayTimeouts = RelayTimeouts {
        lease: Duration::from_secs(15),
        stall: Duration::from_secs(10),
    };

    /// A relay that the worker `w` has claimed.
    fn claimed(now: Time) -> Relay {
        let publisher = Publisher {
            node_id: "n".to_owned(),
            boot_id: "b".to_owned(),
            connection_id: "c".to_owned(),
            peer_address: String::new(),
            protocol: IngestProtocol::Rtmp,
        };
        let timeouts = StreamTimeouts {
            connect: Duration::from_secs(30),
            heartbeat: Duration::from_secs(30),
        };
        let stream = Stream::begin(ProjectId::generate(), publisher, timeouts, now);
        let mut relay = Relay::new(&stream, DestinationId::generate(), now);
        relay.claim("w", TIMES, now);
        relay
    }

    fn report(relay: &mut Relay, state: ReportedState, bytes_sent: i64, now: Time) {
        let report = RelayReport {
            lease_id: relay.lease.as_ref().unwrap().id,
            bytes_sent,
            bitrate_bps: 0,
            delivery: RelayDelivery::default(),
            state,
        };
        relay.report("w", &report, false, TIMES, now);
    }

    #[test]
    fn a_relay_that_was_given_back_on_request_can_be_claimed_at_once() {
        let now = now();
        let mut relay = claimed(now);
        relay.redirect(now);
        report(&mut relay, ReportedState::Stopped, 0, now);
        assert!(relay.is_claimable(now));

        let mut relay = claimed(now);
        report(&mut relay, ReportedState::Stopped, 0, now);
        assert!(!relay.is_claimable(now), "its worker may be shutting down");
    }

    #[test]
    fn a_draining_relay_keeps_its_lease_with_every_report_until_its_time_is_over() {
        let begin = now();
        let mut relay = claimed(begin);
        report(&mut relay, ReportedState::Broadcasting, 1, begin);
        relay.drain(StreamDelay::from_millis(30_000), begin);
        let running = [
            ReportedState::Starting,
            ReportedState::Broadcasting,
            ReportedState::Stalled,
            ReportedState::Stopping,
        ];
        for (seconds, state) in (1..).zip(running) {
            let now = begin + Duration::from_secs(seconds * 9);
            report(&mut relay, state, i64::try_from(seconds).unwrap(), now);
            assert_eq!(relay.state, RelayState::Draining);
            let lease = relay.lease.as_ref().unwrap();
            assert_eq!(lease.expire_time, now + TIMES.lease);
        }
        assert_eq!(relay.bytes_sent, 4);

        let over = begin + Duration::from_secs(40);
        let mut late = relay.clone();
        report(&mut late, ReportedState::Broadcasting, 9, over);
        assert_eq!(late.bytes_sent, 4, "the lease has to be released");
        let error = RelayError {
            code: "DESTINATION_LOST".to_owned(),
            fatal: false,
            message: String::new(),
        };
        for end in [ReportedState::Stopped, ReportedState::Retrying(error)] {
            let mut relay = relay.clone();
            report(&mut relay, end, 4, begin + Duration::from_secs(39));
            assert_eq!((relay.state, relay.attempt), (RelayState::Idle, 0));
            assert!(relay.lease.is_none() && !relay.wanted);
        }
    }

    #[test]
    fn only_a_long_attempt_at_a_destination_that_is_expected_back_is_repeated_without_a_delay() {
        for (code, seconds, has_sent, is_at_once) in [
            ("CONNECT_TIMEOUT", 10, true, true),
            ("HOST_UNREACHABLE", 5, true, true),
            ("CONNECT_TIMEOUT", 4, true, false),
            ("CONNECT_TIMEOUT", 10, false, false),
            ("CONNECTION_REFUSED", 10, true, false),
            ("DESTINATION_REFUSED", 10, true, false),
        ] {
            let begin = now();
            let mut relay = claimed(begin);
            if has_sent {
                report(&mut relay, ReportedState::Broadcasting, 1, begin);
            }
            let error = RelayError {
                code: code.to_owned(),
                fatal: false,
                message: String::new(),
            };
            let end = begin + Duration::from_secs(seconds);
            report(&mut relay, ReportedState::Retrying(error), 1, end);
            assert_eq!(relay.is_claimable(end), is_at_once, "{code} {seconds}");
            assert_eq!(relay.attempt, 1);
        }
    }

    #[test]
    fn a_relay_that_has_sent_media_of_the_stream_is_retried_within_2_seconds() {
        let now = now();
        let failure = || RelayError {
            code: "CONNECTION_REFUSED".to_owned(),
            fatal: false,
            message: String::new(),
        };
        let (mut resumed, mut never) = (claimed(now), claimed(now));
        report(&mut resumed, ReportedState::Broadcasting, 1, now);
        for relay in [&mut resumed, &mut never] {
            relay.attempt = 40;
            report(relay, ReportedState::Retrying(failure()), 1, now);
        }
        assert!(resumed.ready_time <= now + Duration::from_secs(2));
        assert!(never.ready_time >= now + Duration::from_secs(30));
    }
}
