//! Expires streams and relays of which reports are missing.

use std::time::{Duration, Instant};

use crate::{
    auth::Revocations,
    domain::{StreamExpiry, StreamId, Time, now},
    error::{Error, Result},
    repositories::{Publishing, RelayKey, RelayLeases},
    telemetry::metrics::JobTimer,
};

/// Overdue streams or relays read at once.
const BATCH_SIZE: i64 = 1000;

/// The longest interval between two runs of [`expire_relays`].
const MAX_RELAY_INTERVAL: Duration = Duration::from_secs(1);

/// Expires overdue streams at this interval; never returns. The quiet period is the
/// heartbeat timeout. It does not delay the expiry of stream keys.
pub async fn expire_streams(publishing: Publishing, revocations: Revocations, period: Duration) {
    let mut quiet_period = QuietPeriod::new(revocations, publishing.timeouts.heartbeat);
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
        let is_success = match publishing.overdue(expiry, now, BATCH_SIZE).await {
            Ok(overdue) => {
                expire_all_streams(&publishing, expiry, overdue, now, &mut quiet_period).await
            }
            Err(error) => {
                quiet_period.restart();
                tracing::warn!(error = error.with_causes(), "cannot read overdue streams");
                false
            }
        };
        run.finish(is_success);
    }
}

/// Ends streams past their deadline or the expiry of their key, and moves live streams without
/// heartbeats to reconnecting. Returns whether all succeeded.
async fn expire_all_streams(
    publishing: &Publishing,
    expiry: StreamExpiry,
    overdue: Vec<StreamId>,
    now: Time,
    quiet_period: &mut QuietPeriod,
) -> bool {
    let (all, mut failures) = (overdue.len(), 0);
    for id in overdue {
        match publishing.expire(id, expiry, now).await {
            Ok(Some(stream)) => tracing::info!(
                stream_id = %id,
                state = stream.state.as_str(),
                end_reason = stream.end_reason.map(|reason| reason.as_str()),
                "stream is overdue",
            ),
            // Another replica or the media server changed it first.
            Ok(None) | Err(Error::NotFound { .. } | Error::ConcurrentChange) => {}
            Err(error) => {
                let error = error.with_causes();
                tracing::warn!(stream_id = %id, error, "cannot expire an overdue stream");
                failures += 1;
            }
        }
    }
    if failures > 0 && failures == all {
        // If no write succeeds, no report was written either.
        quiet_period.restart();
    }
    failures == 0
}

/// Expires overdue relays periodically; never returns. The quiet period is the lease.
pub async fn expire_relays(leases: RelayLeases, revocations: Revocations) {
    let lease = leases.times.lease;
    let mut quiet_period = QuietPeriod::new(revocations, lease);
    let mut timer = JobTimer::new("relay_watch", MAX_RELAY_INTERVAL.min(lease / 4));
    loop {
        let run = timer.next_run().await;
        let now = now();
        if leases.database.clock_skew().is_excessive() {
            quiet_period.restart();
            continue;
        }
        let overdue = leases.overdue(now, BATCH_SIZE).await;
        let is_success = match quiet_period.admit(overdue) {
            Ok(overdue) => expire_all_relays(&leases, overdue, now).await,
            Err(error) => {
                tracing::warn!(error = error.with_causes(), "cannot read overdue relays");
                false
            }
        };
        run.finish(is_success);
    }
}

/// Ends the leases of silent relay workers, and marks stalled relays. Returns whether all
/// succeeded.
async fn expire_all_relays(leases: &RelayLeases, overdue: Vec<RelayKey>, now: Time) -> bool {
    let mut is_success = true;
    for key in overdue {
        let (stream_id, destination_id) = (key.stream_id, key.destination_id);
        match leases.expire(key, now).await {
            Ok(Some(relay)) => tracing::info!(
                %stream_id,
                %destination_id,
                state = relay.state.as_str(),
                "relay is overdue",
            ),
            // Its worker or another replica changed it first.
            Ok(None) | Err(Error::ConcurrentChange) => {}
            Err(error) => {
                let error = error.with_causes();
                tracing::warn!(%stream_id, %destination_id, error, "cannot expire an overdue relay");
                is_success = false;
            }
        }
    }
    is_success
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

    /// The overdue relays, none during the quiet period. It starts again if they cannot be read.
    fn admit<T>(&mut self, overdue: Result<Vec<T>>) -> Result<Vec<T>> {
        match overdue {
            Ok(overdue) if self.is_over() => Ok(overdue),
            Ok(_) => Ok(Vec::new()),
            Err(error) => {
                self.restart();
                Err(error)
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
