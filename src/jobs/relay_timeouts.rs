use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use super::quiet_period::QuietPeriod;
use crate::{
    auth::Revocations,
    domain::{RelayTimeouts, now},
    error::Error,
    repositories::{RelayKey, RelayReports},
    telemetry::metrics::JobRun,
};

/// Overdue relays read at once.
const BATCH_SIZE: i64 = 1000;

/// The longest interval between two runs.
const MAX_INTERVAL: Duration = Duration::from_secs(1);

/// Ends the leases of silent relay workers, and marks stalled relays.
#[derive(Debug)]
pub struct RelayTimeoutJob {
    reports: RelayReports,
    quiet_period: QuietPeriod,
    period: Duration,
}

impl RelayTimeoutJob {
    /// A job for these relays. The quiet period is the lease.
    pub fn new(reports: RelayReports, revocations: Revocations, times: RelayTimeouts) -> Self {
        Self {
            reports,
            quiet_period: QuietPeriod::new(revocations, times.lease),
            period: MAX_INTERVAL.min(times.lease / 4),
        }
    }

    /// Runs periodically; never returns.
    pub async fn run(mut self) {
        let mut ticks = interval(self.period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let run = JobRun::start("relay_watch");
            let is_success = match self.reports.overdue(now(), BATCH_SIZE).await {
                Ok(overdue) if self.quiet_period.is_over() => self.expire_all(overdue).await,
                Ok(_) => true,
                Err(error) => {
                    self.quiet_period.restart();
                    tracing::warn!(error = error.with_causes(), "cannot read overdue relays");
                    false
                }
            };
            run.finish(is_success);
        }
    }

    /// Expires overdue relays. Returns whether all succeeded.
    async fn expire_all(&self, overdue: Vec<RelayKey>) -> bool {
        let mut is_success = true;
        for key in overdue {
            let (stream_id, destination_id) = (key.stream_id, key.destination_id);
            match self.reports.expire(key, now()).await {
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
}
