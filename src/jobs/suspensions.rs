use std::time::Duration;

use crate::{
    domain::now,
    error::{Error, Result},
    repositories::Publishing,
    telemetry::metrics::JobTimer,
};

/// How often streams of suspended accounts are searched for. None means one small read.
const SEARCH_INTERVAL: Duration = Duration::from_secs(1);

/// The number of projects that are read at once.
const PAGE_SIZE: i64 = 100;

/// Ends the streams of suspended accounts; never returns.
///
/// A suspension itself ends no stream, so there is one place that does: also for a publisher that
/// began while the account was being suspended.
pub async fn end_suspended_streams(publishing: Publishing) {
    let mut timer = JobTimer::new("suspension", SEARCH_INTERVAL);
    loop {
        let run = timer.next_run().await;
        let ended = end_all(&publishing).await;
        if let Err(error) = &ended {
            let error = error.with_causes();
            tracing::warn!(error, "cannot read the streams of suspended accounts");
        }
        run.finish(matches!(ended, Ok(true)));
    }
}

/// Returns whether none failed.
async fn end_all(publishing: &Publishing) -> Result<bool> {
    let mut is_success = true;
    loop {
        let page = publishing.list_suspended(PAGE_SIZE).await?;
        let mut ended = 0;
        for id in &page {
            match publishing.end_suspended(*id, now()).await {
                Ok(is_ended) => ended += usize::from(is_ended),
                // Another replica was faster.
                Err(Error::ConcurrentChange | Error::LostRace(_)) => {}
                Err(error) => {
                    let error = error.with_causes();
                    tracing::warn!(project_id = %id, error, "cannot end the stream of a suspended account");
                    is_success = false;
                }
            }
        }
        // What could not be ended now is found again in the next run.
        if ended == 0 || !is_success {
            return Ok(is_success);
        }
    }
}
