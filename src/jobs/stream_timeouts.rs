use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use super::quiet_period::QuietPeriod;
use crate::{
    auth::Revocations,
    domain::{StreamId, StreamTimeouts, now},
    error::Error,
    repositories::Publishing,
    telemetry::metrics::JobRun,
};

/// Overdue streams read at once.
const BATCH_SIZE: i64 = 1000;

/// Expires overdue streams: ends those past their deadline, and moves live streams
/// without heartbeats to reconnecting.
#[derive(Debug)]
pub struct StreamTimeoutJob {
    publishing: Publishing,
    quiet_period: QuietPeriod,
}

impl StreamTimeoutJob {
    /// A job for these streams. The quiet period is the heartbeat timeout.
    pub fn new(publishing: Publishing, revocations: Revocations, timeouts: StreamTimeouts) -> Self {
        Self {
            publishing,
            quiet_period: QuietPeriod::new(revocations, timeouts.heartbeat),
        }
    }

    /// Runs at this interval; never returns.
    pub async fn run(mut self, period: Duration) {
        let mut ticks = interval(period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let run = JobRun::start("reaper");
            let is_success = match self.publishing.overdue(now(), BATCH_SIZE).await {
                Ok(overdue) if self.quiet_period.is_over() => self.expire_all(overdue).await,
                Ok(_) => true,
                Err(error) => {
                    self.quiet_period.restart();
                    tracing::warn!(error = error.with_causes(), "cannot read overdue streams");
                    false
                }
            };
            run.finish(is_success);
        }
    }

    /// Expires overdue streams. Returns whether all succeeded.
    async fn expire_all(&mut self, overdue: Vec<StreamId>) -> bool {
        let mut failures = 0;
        let all = overdue.len();
        for id in overdue {
            match self.publishing.expire(id, now()).await {
                Ok(Some(stream)) => tracing::info!(
                    stream_id = %id,
                    status = stream.status.as_str(),
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
            self.quiet_period.restart();
        }
        failures == 0
    }
}
