use std::time::Duration;

use uuid::Uuid;

use super::retries::{Attempt, Retries};
use crate::{
    domain::{ProjectId, now},
    error::{Error, Result},
    repositories::Publishing,
    telemetry::metrics::JobTimer,
};

/// How often streams of suspended accounts and organizations are searched for. None means one small read.
const SEARCH_INTERVAL: Duration = Duration::from_secs(1);

/// The number of projects that are read at once.
const PAGE_SIZE: i64 = 100;

/// How long after a suspension relays that drain are searched for: longer than they drain.
const MAX_DRAIN_TIME: Duration = Duration::from_secs(5 * 60);

/// Ends the streams of suspended accounts and organizations, and stops what is still sent of earlier
/// ones; never returns.
///
/// A suspension itself ends no stream, so there is one place that does: also for a publisher that
/// began while the account or the organization was being suspended.
pub async fn end_suspended_streams(publishing: Publishing) {
    let mut retries = Retries::default();
    let mut timer = JobTimer::new("suspension", SEARCH_INTERVAL);
    loop {
        let run = timer.next_run().await;
        if !publishing.database.leads("suspension") {
            run.finish(true);
            continue;
        }
        let ended = end_all(&publishing, &mut retries).await;
        if let Err(error) = &ended {
            let error = error.with_causes();
            tracing::warn!(error, "cannot end the streams of what is suspended");
        }
        run.finish(matches!(ended, Ok(true)));
    }
}

/// Returns whether none failed.
async fn end_all(publishing: &Publishing, retries: &mut Retries<ProjectId>) -> Result<bool> {
    let (mut above, mut is_success) = (ProjectId::from(Uuid::nil()), true);
    loop {
        let since = now() - MAX_DRAIN_TIME;
        let page = publishing.list_suspended(above, since, PAGE_SIZE).await?;
        let Some(last) = page.last() else {
            return Ok(is_success);
        };
        above = *last;
        for id in page {
            let work = publishing.end_suspended(id, now());
            match retries.attempt(id, work).await? {
                // Another replica was faster, or another transaction has locked the project.
                Attempt::Done(_)
                | Attempt::Failed(
                    Error::ConcurrentChange | Error::LostRace(_) | Error::LockTimeout,
                ) => {}
                Attempt::Postponed => is_success = false,
                Attempt::Failed(error) => {
                    let error = error.with_causes();
                    tracing::warn!(project_id = %id, error, "cannot end a stream of what is suspended");
                    is_success = false;
                }
            }
        }
    }
}
