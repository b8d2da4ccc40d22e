//! Removes the rows of what is deleted, a few at a time.

use std::time::Duration;

use chrono::TimeDelta;
use uuid::Uuid;

use super::{
    batches::delete_batches,
    retries::{Attempt, Retries},
};
use crate::{
    database::Database,
    domain::{ProjectId, now},
    error::Result,
    repositories::{DeletedKind, Deletions},
    telemetry::metrics::JobTimer,
};

/// The retention of deleted projects: media servers may still ask about their streams.
const PROJECT_RETENTION: TimeDelta = TimeDelta::days(7);

/// How often deleted resources are searched for. None means three small reads.
const SEARCH_INTERVAL: Duration = Duration::from_secs(1);

/// The number of deleted resources that are read at once.
const PAGE_SIZE: i64 = 100;

/// Deletes the projects of deleted organizations, so that their streams end; never returns.
pub async fn delete_orphaned_projects(database: Database) {
    let deletions = Deletions::new(database.clone());
    let mut retries = Retries::default();
    let mut timer = JobTimer::new("account_deletion", SEARCH_INTERVAL);
    loop {
        let run = timer.next_run().await;
        if !database.leads("account_deletion") {
            run.finish(true);
            continue;
        }
        let deleted = delete_orphans(&deletions, &mut retries).await;
        if let Err(error) = &deleted {
            tracing::warn!(
                error = error.with_causes(),
                "cannot delete the projects of deleted organizations"
            );
        }
        run.finish(matches!(deleted, Ok(true)));
    }
}

/// Returns whether all were deleted.
async fn delete_orphans(deletions: &Deletions, retries: &mut Retries<ProjectId>) -> Result<bool> {
    let (mut above, mut is_success) = (Uuid::nil(), true);
    loop {
        let page = deletions.list_orphans(above, PAGE_SIZE).await?;
        let Some(last) = page.last() else {
            return Ok(is_success);
        };
        above = last.uuid();
        for id in page {
            let work = deletions.delete_orphan(id, now());
            match retries.attempt(id, work).await? {
                Attempt::Done(()) => {}
                Attempt::Postponed => is_success = false,
                Attempt::Failed(error) => {
                    let error = error.with_causes();
                    tracing::warn!(project_id = %id, error, "cannot delete a project of a deleted organization");
                    is_success = false;
                }
            }
        }
    }
}

/// Deletes the rows of deleted destinations, projects and accounts, unless the clocks differ too
/// much; never returns.
pub async fn purge_deleted(database: Database) {
    let clock_skew = database.clock_skew().clone();
    let mut purge = DeletedPurge {
        deletions: Deletions::new(database.clone()),
        retries: Retries::default(),
    };
    let mut timer = JobTimer::new("purge_deleted", SEARCH_INTERVAL);
    loop {
        let run = timer.next_run_after(clock_skew.tolerable()).await;
        if !database.leads("purge_deleted") {
            run.finish(true);
            continue;
        }
        let mut is_success = true;
        for kind in DeletedKind::ALL {
            match purge.run(kind).await {
                Ok(all) => is_success &= all,
                Err(error) => {
                    let error = error.with_causes();
                    tracing::warn!(?kind, error, "cannot purge what is deleted");
                    is_success = false;
                }
            }
        }
        run.finish(is_success);
    }
}

struct DeletedPurge {
    deletions: Deletions,
    retries: Retries<Uuid>,
}

impl DeletedPurge {
    /// Purges what is deleted of one kind. A failure of one does not stop the others, unless
    /// the database is unavailable. Returns whether there was none.
    async fn run(&mut self, kind: DeletedKind) -> Result<bool> {
        let until = match kind {
            DeletedKind::Project => now() - PROJECT_RETENTION,
            DeletedKind::Account
            | DeletedKind::Organization
            | DeletedKind::Destination
            | DeletedKind::Webhook => now(),
        };
        let (mut above, mut is_success) = (Uuid::nil(), true);
        loop {
            let page = self.deletions.list(kind, until, above, PAGE_SIZE).await?;
            let Some(last) = page.last() else {
                return Ok(is_success);
            };
            above = *last;
            for id in page {
                let work = purge(&self.deletions, kind, id);
                match self.retries.attempt(id, work).await? {
                    Attempt::Done(()) => {}
                    Attempt::Postponed => is_success = false,
                    Attempt::Failed(error) => {
                        let error = error.with_causes();
                        tracing::warn!(?kind, %id, error, "cannot purge now, will try again");
                        is_success = false;
                    }
                }
            }
        }
    }
}

/// Deletes all rows of one.
async fn purge(deletions: &Deletions, kind: DeletedKind, id: Uuid) -> Result<()> {
    for step in kind.steps() {
        // The rows have no order in which one could be skipped.
        delete_batches((kind, id), 0, |batch| {
            deletions.delete_rows(*step, id, batch.limit)
        })
        .await?;
    }
    Ok(())
}
