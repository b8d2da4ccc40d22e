//! Expires streams and relays of which reports are missing.

use std::time::{Duration, Instant};

use uuid::Uuid;

use super::{
    batches::may_concern_one_row,
    retries::{Attempt, Retries},
};
use crate::{
    auth::Revocations,
    database::Database,
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
        if !quiet_period.leads(&publishing.database, "reaper") {
            run.finish(true);
            continue;
        }
        let touch = async |id| publishing.touch(id).await;
        if !quiet_period.is_writable(touch).await {
            run.finish(false);
            continue;
        }
        let expiry = match quiet_period.is_over() {
            true => StreamExpiry::All,
            false => StreamExpiry::Keys,
        };
        let mut expiries = Expiries::default();
        let expired =
            expire_overdue_streams(&publishing, expiry, now, &mut retries, &mut expiries).await;
        if let Err(error) = &expired {
            tracing::warn!(error = error.with_causes(), "cannot expire overdue streams");
        }
        run.finish(quiet_period.end_run(expiries, expired.is_ok()));
    }
}

/// Ends streams past their deadline or the expiry of their key, and moves live streams without
/// heartbeats to reconnecting.
async fn expire_overdue_streams(
    publishing: &Publishing,
    expiry: StreamExpiry,
    now: Time,
    retries: &mut Retries<StreamId>,
    expiries: &mut Expiries<StreamId>,
) -> Result<()> {
    let mut above = StreamId::from(Uuid::nil());
    loop {
        let page = publishing.overdue(expiry, now, above, BATCH_SIZE).await?;
        let Some(last) = page.last() else {
            return Ok(());
        };
        above = *last;
        for id in page {
            let attempt = retries.attempt(id, publishing.expire(id, expiry, now));
            match expiries.count(id, attempt.await)? {
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
        if !quiet_period.leads(&leases.database, "relay_watch") {
            run.finish(true);
            continue;
        }
        let touch = async |key| leases.touch(key).await;
        if !quiet_period.is_writable(touch).await {
            run.finish(false);
            continue;
        }
        let limit = match quiet_period.is_over() {
            true => BATCH_SIZE,
            false => NO_ROWS,
        };
        let mut expiries = Expiries::default();
        let expired = expire_overdue_relays(&leases, limit, now, &mut retries, &mut expiries).await;
        if let Err(error) = &expired {
            tracing::warn!(error = error.with_causes(), "cannot expire overdue relays");
        }
        run.finish(quiet_period.end_run(expiries, expired.is_ok()));
    }
}

/// Ends the leases of silent relay workers, and marks stalled relays; `limit` are read at once.
async fn expire_overdue_relays(
    leases: &RelayLeases,
    limit: i64,
    now: Time,
    retries: &mut Retries<RelayKey>,
    expiries: &mut Expiries<RelayKey>,
) -> Result<()> {
    let mut above = (Uuid::nil().into(), Uuid::nil().into());
    loop {
        let page = leases.overdue(now, above, limit).await?;
        let Some(last) = page.last() else {
            return Ok(());
        };
        above = (last.stream_id, last.destination_id);
        for key in page {
            let (stream_id, destination_id) = (key.stream_id, key.destination_id);
            let attempt = retries.attempt(key, leases.expire(key, now));
            match expiries.count(key, attempt.await)? {
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
#[derive(Debug)]
struct Expiries<K> {
    /// How many wrote a change, or had nothing to change any more.
    succeeded: usize,
    failed: usize,
    /// How many were not tried, because they failed in earlier runs.
    postponed: usize,
    /// The one that ended the run, because the database is unavailable or full.
    unwritten: Option<K>,
}

impl<K> Default for Expiries<K> {
    fn default() -> Self {
        Self {
            succeeded: 0,
            failed: 0,
            postponed: 0,
            unwritten: None,
        }
    }
}

impl<K> Expiries<K> {
    /// Counts one. Returns what was expired, if it was, or why not. Fails if the run has to end.
    fn count<T>(
        &mut self,
        item: K,
        attempt: Result<Attempt<Option<T>>>,
    ) -> Result<Result<Option<T>>> {
        match attempt {
            Ok(Attempt::Done(expired)) => {
                self.succeeded += 1;
                Ok(Ok(expired))
            }
            // A worker, a media server or another replica changed it first, or is changing it.
            Ok(Attempt::Failed(
                Error::NotFound { .. } | Error::ConcurrentChange | Error::LockTimeout,
            )) => {
                self.succeeded += 1;
                Ok(Ok(None))
            }
            Ok(Attempt::Postponed) => {
                self.postponed += 1;
                Ok(Ok(None))
            }
            Ok(Attempt::Failed(error)) => {
                self.failed += 1;
                Ok(Err(error))
            }
            Err(error) => {
                self.unwritten = Some(item);
                Err(error)
            }
        }
    }
}

/// The quiet period before missing reports count as silence.
///
/// After a start, after the database was unavailable, and after the clock was wrong, reports
/// are missing that could not arrive. A job that expires silent streams or relays then waits
/// for one report timeout, so that media servers and relay workers can report first. It begins when
/// the database accepts writes again: until then no report is written, although reads may succeed.
struct QuietPeriod<K> {
    /// While they are out of date, calls are refused, so no report arrives.
    revocations: Revocations,
    duration: Duration,
    started_at: Option<Instant>,
    /// What the database did not accept a write for.
    unwritten: Option<K>,
    /// The lost sessions of the leadership until now.
    losses: u64,
}

impl<K: Copy> QuietPeriod<K> {
    /// A quiet period of this duration: the report timeout.
    fn new(revocations: Revocations, duration: Duration) -> Self {
        Self {
            revocations,
            duration,
            started_at: None,
            unwritten: None,
            losses: 0,
        }
    }

    /// Whether this replica leads the job. The period passes also while it does not, so that a
    /// new leader goes on at once, unless its own session was lost: the database may have been
    /// unavailable for reports.
    fn leads(&mut self, database: &Database, job: &'static str) -> bool {
        let losses = database.leadership_losses();
        if std::mem::replace(&mut self.losses, losses) != losses {
            self.restart();
        }
        self.is_over();
        database.leads(job)
    }

    /// Whether the database accepts writes, as far as is known. If the last run ended because it
    /// did not, `touch` writes the item as it is.
    async fn is_writable(&mut self, touch: impl AsyncFnOnce(K) -> Result<()>) -> bool {
        let Some(item) = self.unwritten else {
            return true;
        };
        self.restart();
        let is_writable = match touch(item).await {
            Ok(()) => true,
            Err(error) => may_concern_one_row(&error),
        };
        if is_writable {
            self.unwritten = None;
        }
        is_writable
    }

    /// Ends a run. Starts again after a run that ended early, or in which no write succeeded: then
    /// no report was written either. Returns whether everything overdue was expired.
    fn end_run(&mut self, expiries: Expiries<K>, is_complete: bool) -> bool {
        self.unwritten = expiries.unwritten;
        if !is_complete || expiries.failed > 0 && expiries.succeeded == 0 {
            self.restart();
        }
        is_complete && expiries.failed == 0 && expiries.postponed == 0
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
