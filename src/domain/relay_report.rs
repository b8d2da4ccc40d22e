//! What a worker says of a relay, and what that makes of it.

use std::time::Duration;

use uuid::Uuid;

use super::{Relay, RelayError, RelayState, RelayTimes, Time};

const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// What a worker observes of a relay.
#[derive(Debug, Clone)]
pub struct RelayReport {
    /// The lease under which it runs.
    pub lease_id: Uuid,
    /// Bytes that this try has sent.
    pub bytes_sent: i64,
    /// Bits per second, of late.
    pub bitrate_bps: i64,
    /// What it does.
    pub seen: RelaySeen,
    /// A chance from 0 to 1: how much longer than needed a retry waits.
    pub chance: f64,
}

/// What a relay does, as its worker sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RelaySeen {
    /// It runs.
    Starting,
    /// It runs, and its bytes grow.
    Broadcasting,
    /// It runs, but its bytes do not grow.
    Stalled,
    /// It runs, and is about to stop.
    Stopping,
    /// It was stopped: the lease is given back.
    Stopped,
    /// It failed, and is to be tried again unless the error is fatal: the lease
    /// is given back.
    Retrying(RelayError),
    /// It failed for good: the lease is given back.
    Failed(RelayError),
}

/// What a report has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reported {
    /// The worker has the lease no more, or is to give it back.
    Lost,
    /// Nothing but the lease and the bytes have changed.
    Renewed,
    /// The relay has changed.
    Changed,
}

impl RelayReport {
    /// That nothing runs under a lease.
    pub fn stopped(lease_id: Uuid) -> Self {
        Self {
            lease_id,
            bytes_sent: 0,
            bitrate_bps: 0,
            seen: RelaySeen::Stopped,
            chance: 0.0,
        }
    }
}

impl Relay {
    /// Takes a report. A relay that is `held`, because its stream has nothing to
    /// send, neither stalls nor counts a failure.
    pub fn report(
        &mut self,
        worker_id: &str,
        report: &RelayReport,
        held: bool,
        times: RelayTimes,
        now: Time,
    ) -> Reported {
        let lease = self.lease.as_ref();
        if !lease.is_some_and(|one| one.id == report.lease_id && one.worker_id == worker_id) {
            return Reported::Lost;
        }
        let stops = self.state == RelayState::Stopping;
        match &report.seen {
            RelaySeen::Stopped => self.give_back(now),
            RelaySeen::Retrying(_) | RelaySeen::Failed(_) if stops => self.give_back(now),
            RelaySeen::Failed(error) => self.fail(error, now),
            RelaySeen::Retrying(error) if error.fatal => self.fail(error, now),
            RelaySeen::Retrying(_) if held => self.release(RelayState::Idle, now),
            RelaySeen::Retrying(error) => self.retry(error, report.chance, now),
            _ if stops => return Reported::Lost,
            seen => return self.go_on(seen, report, held, times, now),
        }
        Reported::Changed
    }

    fn fail(&mut self, error: &RelayError, now: Time) {
        self.release(RelayState::Failed, now);
        self.attempt = self.attempt.saturating_add(1);
        self.error = Some(error.clone());
    }

    fn retry(&mut self, error: &RelayError, chance: f64, now: Time) {
        self.release(RelayState::Retrying, now);
        self.attempt = self.attempt.saturating_add(1);
        self.error = Some(error.clone());
        self.ready_time = now + wait(self.attempt, chance);
    }

    fn go_on(
        &mut self,
        seen: &RelaySeen,
        report: &RelayReport,
        held: bool,
        times: RelayTimes,
        now: Time,
    ) -> Reported {
        let grown = report.bytes_sent > self.bytes_sent;
        let Some(lease) = &mut self.lease else {
            return Reported::Lost;
        };
        lease.expire_time = now + times.lease;
        if report.bytes_sent < self.bytes_sent {
            // It is late: a newer one has come before.
            return Reported::Renewed;
        }
        if grown {
            lease.broadcast_time.get_or_insert(now);
            lease.silent_since = now;
            self.bytes_sent = report.bytes_sent;
            self.last_progress_time = Some(now);
        }

        let silent = lease.is_silent(times, now);
        let state = match seen {
            RelaySeen::Stopping => RelayState::Stopping,
            _ if held && !grown => self.state,
            RelaySeen::Stalled => RelayState::Stalled,
            _ if silent => RelayState::Stalled,
            RelaySeen::Broadcasting if grown => RelayState::Broadcasting,
            RelaySeen::Broadcasting => self.state,
            _ => RelayState::Starting,
        };
        let changed = state != self.state;
        if changed {
            self.enter(state, now);
        }
        self.bitrate_bps = report.bitrate_bps;
        match changed {
            true => Reported::Changed,
            false => Reported::Renewed,
        }
    }
}

/// How long to wait after so many failures: 1 s, then twice as long each time, up
/// to a minute; of that at least half, by a chance from 0 to 1.
fn wait(attempt: i64, chance: f64) -> Duration {
    let doublings = u32::try_from(attempt.clamp(1, 16) - 1).unwrap_or_default();
    let wait = FIRST_WAIT.saturating_mul(1 << doublings).min(LONGEST_WAIT);
    wait.mul_f64(0.5 + chance.clamp(0.0, 1.0) / 2.0)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::wait;

    #[test]
    fn the_waits_double_up_to_a_minute() {
        let waits = [1, 2, 3, 6, 7, 8, 60, i64::MAX].map(|attempt| wait(attempt, 1.0).as_secs());
        assert_eq!(waits, [1, 2, 4, 32, 60, 60, 60, 60]);
    }

    #[test]
    fn chance_takes_up_to_half() {
        assert_eq!(wait(1, 0.0), Duration::from_millis(500));
        assert_eq!(wait(2, 0.5), Duration::from_millis(1500));
    }
}
