use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use super::quiet_period::Hearing;
use crate::{
    auth::Revocations,
    domain::{RelayTimes, now},
    error::Error,
    repositories::{RelayKey, RelayWork},
    telemetry::metrics,
};

/// How many relays one look takes on.
const BATCH: i64 = 1000;

/// How often to look.
const EVERY: Duration = Duration::from_secs(1);

/// Takes relays from workers that fell silent, and notices those that stall.
#[derive(Debug)]
pub struct RelayWatch {
    work: RelayWork,
    hearing: Hearing,
    every: Duration,
}

impl RelayWatch {
    /// A watch over these relays.
    pub fn new(work: RelayWork, revocations: Revocations, times: RelayTimes) -> Self {
        Self {
            work,
            hearing: Hearing::new(revocations, times.lease),
            every: EVERY.min(times.lease / 4),
        }
    }

    /// Looks again and again; never returns.
    pub async fn run(mut self) {
        let mut ticks = interval(self.every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let run = metrics::job("relay_watch");
            let is_done = match self.work.overdue(now(), BATCH).await {
                Ok(overdue) if self.hearing.is_long_enough() => self.judge(overdue).await,
                Ok(_) => true,
                Err(error) => {
                    self.hearing.interrupted();
                    let error = error.with_causes();
                    tracing::warn!(error, "cannot look for overdue relays");
                    false
                }
            };
            run.over(is_done);
        }
    }

    /// Tells whether all could be judged.
    async fn judge(&self, overdue: Vec<RelayKey>) -> bool {
        let mut is_done = true;
        for key in overdue {
            let (stream_id, destination_id) = (key.stream_id, key.destination_id);
            match self.work.expire(key, now()).await {
                Ok(Some(relay)) => tracing::info!(
                    %stream_id,
                    %destination_id,
                    state = relay.state.as_str(),
                    "relay is overdue",
                ),
                // Its worker, or another replica, was faster.
                Ok(None) | Err(Error::ConcurrentChange) => {}
                Err(error) => {
                    let error = error.with_causes();
                    tracing::warn!(%stream_id, %destination_id, error, "cannot judge a relay");
                    is_done = false;
                }
            }
        }
        is_done
    }
}
