use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use super::quiet_period::Hearing;
use crate::{
    auth::Revocations,
    domain::{StreamId, Timeouts, now},
    error::Error,
    repositories::Publishing,
    telemetry::metrics,
};

/// How many streams one look takes on.
const BATCH: i64 = 1000;

/// Ends streams that are past their deadline, and notices those that fell silent.
#[derive(Debug)]
pub struct Reaper {
    publishing: Publishing,
    hearing: Hearing,
}

impl Reaper {
    /// A reaper of these streams.
    pub fn new(publishing: Publishing, revocations: Revocations, timeouts: Timeouts) -> Self {
        Self {
            publishing,
            hearing: Hearing::new(revocations, timeouts.heartbeat),
        }
    }

    /// Looks again and again; never returns.
    pub async fn run(mut self, every: Duration) {
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let run = metrics::job("reaper");
            let is_done = match self.publishing.overdue(now(), BATCH).await {
                Ok(overdue) if self.hearing.is_long_enough() => self.judge(overdue).await,
                Ok(_) => true,
                Err(error) => {
                    self.hearing.interrupted();
                    let error = error.with_causes();
                    tracing::warn!(error, "cannot look for overdue streams");
                    false
                }
            };
            run.over(is_done);
        }
    }

    /// Tells whether all could be judged.
    async fn judge(&mut self, overdue: Vec<StreamId>) -> bool {
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
                // Another replica, or its media server, was faster.
                Ok(None) | Err(Error::NotFound { .. } | Error::ConcurrentChange) => {}
                Err(error) => {
                    let error = error.with_causes();
                    tracing::warn!(stream_id = %id, error, "cannot judge an overdue stream");
                    failures += 1;
                }
            }
        }
        if failures > 0 && failures == all {
            // Where nothing can be written, no report was either.
            self.hearing.interrupted();
        }
        failures == 0
    }
}
