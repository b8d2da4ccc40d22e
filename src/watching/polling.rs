use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use crate::error::Result;

/// Polls at an interval; never returns. The first of several failures is logged.
pub(super) async fn poll_at<F>(poll_interval: Duration, what: &'static str, poll: impl Fn() -> F)
where
    F: Future<Output = Result<()>>,
{
    let mut ticks = interval(poll_interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut is_reachable = true;
    loop {
        ticks.tick().await;
        let polled = poll().await;
        if let (Err(error), true) = (&polled, is_reachable) {
            tracing::warn!(error = error.with_causes(), what, "cannot poll for watches");
        }
        is_reachable = polled.is_ok();
    }
}
