//! Expires streams and relays of which reports are missing.

use std::time::{Duration, Instant};

use uuid::Uuid;

use super::retries::{Attempt, Retries};
use crate::{
    auth::Revocations,
    domain::{StreamExpiry, StreamId, Time, now},
    error::{Error, Result},
    repositories::{Publishing, RelayKey, RelayLeases},
    telemetry::metrics::JobTimer,
};

/// Overdue streams or relays read at once.
const BATCH_SIZE: i64 = 1000;

/// During the quiet period the database is read too, to notice that it cannot be read.
const NO_ROWS: i64 = 0;

/// The longest interval between two runs of [`expire_relays`].
const MAX_RELAY_INTERVAL: Duration = Duration::from_secs(1);

/// Expires overdue streams at this interval; never returns. The quiet period is the
/// heartbeat timeout. It does not delay the expiry of stream keys.
pub async fn expire_streams(publishing: Publishing, revocations: Revocations, period: Duration) {
    let mut quiet_period = QuietPeriod::new(revocations, publishing.timeouts.heartbeat);
    let mut retries = Retries::default();
    let mut timer = JobTimer::new("reaper", period);
    loop {
        let run = timer.next_run().await;
        // One time for the whole run, read before the difference of the clocks.
        let now = now();
        if publishing.database.clock_skew().is_excessive() {
            quiet_period.restart();
            continue;
        }
        let expiry = match quiet_period.is_over() {
            true => StreamExpiry::All,
            false => StreamExpiry::Keys,
        };
        let expiries = expire_overdue_streams(&publishing, expiry, now, &mut retries).await;
        if let Err(error) = &expiries {
            tracing::warn!(error = error.with_causes(), "cannot expire overdue streams");
        }
        run.finish(quiet_period.end_run(&expiries));
    }
}

/// Ends streams past their deadline or the expiry of their key, and moves live streams without
/// heartbeats to reconnecting.
async fn expire_overdue_streams(
    publishing: &Publishing,
    expiry: StreamExpiry,
    now: Time,
    retries: &mut Retries<StreamId>,
) -> Result<Expiries> {
    let (mut above, mut expiries) = (StreamId::from(Uuid::nil()), Expiries::default());
    loop {
        let page = publishing.overdue(expiry, now, above, BATCH_SIZE).await?;
        let Some(last) = page.last() else {
            return Ok(expiries);
        };
        above = *last;
        for id in page {
            let attempt = retries.attempt(id, publishing.expire(id, expiry, now));
            match expiries.count(attempt.await?) {
                Ok(None) => {}
                Ok(Some(stream)) => tracing::info!(
                    stream_id = %id,
                    state = stream.state.as_str(),
                    end_reason = stream.end_reason.map(|reason| reason.as_str()),
                    "stream is overdue",
                ),
                Err(error) => {
                    let error = error.with_causes();
                    tracing::warn!(stream_id = %id, error, "cannot expire an overdue stream");
                }
            }
        }
    }
}

/// Expires overdue relays periodically; never returns. The quiet period is the lease.
pub async fn expire_relays(leases: RelayLeases, revocations: Revocations) {
    let lease = leases.times.lease;
    let mut quiet_period = QuietPeriod::new(revocations, lease);
    let mut retries = Retries::default();
    let mut timer = JobTimer::new("relay_watch", MAX_RELAY_INTERVAL.min(lease / 4));
    loop {
        let run = timer.next_run().await;
        let now = now();
        if leases.database.clock_skew().is_excessive() {
            quiet_period.restart();
            continue;
        }
        let limit = match quiet_period.is_over() {
            true => BATCH_SIZE,
            false => NO_ROWS,
        };
        let expiries = expire_overdue_relays(&leases, limit, now, &mut retries).await;
        if let Err(error) = &expiries {
            tracing::warn!(error = error.with_causes(), "cannot expire overdue relays");
        }
        run.finish(quiet_period.end_run(&expiries));
    }
}

/// Ends the leases of silent relay workers, and marks stalled relays; `limit` are read at once.
async fn expire_overdue_relays(
    leases: &RelayLeases,
    limit: i64,
    now: Time,
    retries: &mut Retries<RelayKey>,
) -> Result<Expiries> {
    let nil = (Uuid::nil().into(), Uuid::nil().into());
    let (mut above, mut expiries) = (nil, Expiries::default());
    loop {
        let page = leases.overdue(now, above, limit).await?;
        let Some(last) = page.last() else {
            return Ok(expiries);
        };
        above = (last.stream_id, last.destination_id);
        for key in page {
            let (stream_id, destination_id) = (key.stream_id, key.destination_id);
            let attempt = retries.attempt(key, leases.expire(key, now));
            match expiries.count(attempt.await?) {
                Ok(None) => {}
                Ok(Some(relay)) => tracing::info!(
                    %stream_id,
                    %destination_id,
                    state = relay.state.as_str(),
                    "relay is overdue",
                ),
                Err(error) => {
                    let error = error.with_causes();
                    tracing::warn!(%stream_id, %destination_id, error, "cannot expire an overdue relay");
                }
            }
        }
    }
}

/// The expiries of one run.
#[derive(Debug, Default)]
struct Expiries {
    /// How many wrote a change, or had nothing to change any more.
    succeeded: usize,
    failed: usize,
    /// How many were not tried, because they failed in earlier runs.
    postponed: usize,
}

impl Expiries {
    /// Counts one. Returns what was expired, if it was.
    fn count<T>(&mut self, attempt: Attempt<Option<T>>) -> Result<Option<T>> {
        match attempt {
            Attempt::Done(expired) => {
                self.succeeded += 1;
                Ok(expired)
            }
            // A worker, a media server or another replica changed it first.
            Attempt::Failed(Error::NotFound { .. } | Error::ConcurrentChange) => {
                self.succeeded += 1;
                Ok(None)
            }
            Attempt::Postponed => {
                self.postponed += 1;
                Ok(None)
            }
            Attempt::Failed(error) => {
                self.failed += 1;
                Err(error)
            }
        }
    }
}

/// The quiet period before missing reports count as silence.
///
/// After a start, after the database was unavailable, and after the clock was wrong, reports
/// are missing that could not arrive. A job that expires silent streams or relays then waits
/// for one report timeout, so that media servers and relay workers can report first.
struct QuietPeriod {
    /// While they are out of date, calls are refused, so no report arrives.
    revocations: Revocations,
    duration: Duration,
    started_at: Option<Instant>,
}

impl QuietPeriod {
    /// A quiet period of this duration: the report timeout.
    fn new(revocations: Revocations, duration: Duration) -> Self {
        Self {
            revocations,
            duration,
            started_at: None,
        }
    }

    /// Ends a run. Starts again after a run that could not read, or in which no write succeeded:
    /// then no report was written either. Returns whether everything overdue was expired.
    fn end_run(&mut self, expiries: &Result<Expiries>) -> bool {
        match expiries {
            Ok(expiries) if expiries.failed > 0 && expiries.succeeded == 0 => {
                self.restart();
                false
            }
            Ok(expiries) => expiries.failed == 0 && expiries.postponed == 0,
            Err(_) => {
                self.restart();
                false
            }
        }
    }

    /// Whether the quiet period is over. The first call starts it.
    fn is_over(&mut self) -> bool {
        if !self.revocations.are_current() {
            self.started_at = None;
            return false;
        }
        let started_at = self.started_at.get_or_insert_with(Instant::now);
        started_at.elapsed() >= self.duration
    }

    /// Starts again, because no report could arrive or be dated.
    fn restart(&mut self) {
        self.started_at = None;
    }
}
