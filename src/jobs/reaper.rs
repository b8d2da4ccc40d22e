use std::time::{Duration, Instant};

use tokio::time::{MissedTickBehavior, interval};

use crate::{
    auth::Revocations,
    domain::{StreamId, Timeouts, now},
    error::Error,
    repositories::Publishing,
};

/// How many streams one look takes on.
const BATCH: i64 = 1000;

/// Ends streams that are past their deadline, and notices those that fell silent.
///
/// Silence means something only to who could have heard: after a start, and
/// after the database was away, the reaper waits as long as a connection may be
/// silent before it judges, so that media servers can report first.
#[derive(Debug)]
pub struct Reaper {
    publishing: Publishing,
    /// While they are out of date, no report is let in.
    revocations: Revocations,
    patience: Duration,
    hearing_since: Option<Instant>,
}

impl Reaper {
    /// A reaper of these streams.
    pub fn new(publishing: Publishing, revocations: Revocations, timeouts: Timeouts) -> Self {
        Self {
            publishing,
            revocations,
            patience: timeouts.heartbeat,
            hearing_since: None,
        }
    }

    /// Looks again and again; never returns.
    pub async fn run(mut self, every: Duration) {
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            match self.publishing.overdue(now(), BATCH).await {
                Ok(overdue) if self.revocations.are_current() => self.judge(overdue).await,
                Ok(_) => self.hearing_since = None,
                Err(error) => {
                    self.hearing_since = None;
                    let error = error.with_causes();
                    tracing::warn!(error, "cannot look for overdue streams");
                }
            }
        }
    }

    async fn judge(&mut self, overdue: Vec<StreamId>) {
        let hearing_since = *self.hearing_since.get_or_insert_with(Instant::now);
        if hearing_since.elapsed() < self.patience {
            return;
        }
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
                }
            }
        }
    }
}
