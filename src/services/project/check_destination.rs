//! CheckDestination: asks a connected edge, and waits for its answer.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::{
    check_dispatch::CheckDispatch,
    database::Database,
    domain::{CheckOutcome, CheckResult, Destination, Tenant, now, relay_server_url},
    error::{Error, Result},
    proto::v1 as pb,
    repositories::{CheckProgress, DestinationChecks},
    services::fields::duration,
};

/// The longest time until an edge takes a check, and until it answers.
const CLAIM_TIMEOUT: Duration = Duration::from_secs(4);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);

/// How often the answer is looked for.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// Checks of destinations by connected edges.
#[derive(Debug)]
pub(super) struct DestinationChecker {
    checks: DestinationChecks,
    dispatch: CheckDispatch,
}

impl DestinationChecker {
    pub(super) fn new(database: Database, dispatch: CheckDispatch) -> Self {
        Self {
            checks: DestinationChecks::new(database),
            dispatch,
        }
    }

    /// Has an edge check a destination. `NoRelayWorker` if none takes the check,
    /// `CheckUnanswered` if it does not answer in time, `RateLimited` after too many.
    pub(super) async fn check(
        &self,
        tenant: Tenant,
        destination: &Destination,
    ) -> Result<pb::CheckDestinationResponse> {
        let (user, project_id) = (tenant.user, destination.project_id);
        let server_url = relay_server_url(&destination.url);
        let created = self
            .checks
            .create(user, project_id, server_url, ANSWER_TIMEOUT, now());
        let id = created.await?;
        self.dispatch.wake();
        let (node_id, results) = self.answer(id).await?;
        let results: Vec<CheckResult> = serde_json::from_str(&results).map_err(Error::internal)?;
        let is_passed = |result: &CheckResult| result.outcome == CheckOutcome::Passed;
        Ok(pb::CheckDestinationResponse {
            is_reachable: !results.is_empty() && results.iter().all(is_passed),
            results: results.into_iter().map(Into::into).collect(),
            node_id,
        })
    }

    /// The media server of the edge that has answered, and its results.
    async fn answer(&self, id: Uuid) -> Result<(String, String)> {
        let begun = Instant::now();
        loop {
            match self.checks.progress(id).await? {
                Some(CheckProgress {
                    worker_node_id,
                    results: Some(results),
                }) => return Ok((worker_node_id.unwrap_or_default(), results)),
                Some(CheckProgress {
                    worker_node_id: None,
                    ..
                }) if begun.elapsed() >= CLAIM_TIMEOUT => {
                    if self.checks.withdraw(id, now()).await? {
                        return Err(Error::NoRelayWorker);
                    }
                }
                Some(_) if begun.elapsed() < ANSWER_TIMEOUT => {}
                Some(_) | None => return Err(Error::CheckUnanswered),
            }
            sleep(POLL_INTERVAL).await;
        }
    }
}

impl From<CheckResult> for pb::DestinationCheckResult {
    fn from(result: CheckResult) -> Self {
        let CheckResult {
            step,
            outcome,
            detail,
            millis,
        } = result;
        Self {
            step: pb::DestinationCheckStep::from(step).into(),
            outcome: pb::DestinationCheckOutcome::from(outcome).into(),
            detail,
            duration: Some(duration(Duration::from_millis(millis))),
        }
    }
}
