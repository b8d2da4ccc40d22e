//! Destinations that an edge is asked to check.
//!
//! The call of an owner and the edge may be connected to different replicas: they meet in rows
//! of a few seconds.

use std::time::Duration;

use chrono::TimeDelta;
use uuid::Uuid;

use crate::{
    database::{Batch, Database, DeletedBatch},
    domain::{ProjectId, Time, UserId},
    error::{Error, Result},
};

/// The most checks of an account within [`RATE_WINDOW`].
const MAX_CHECKS: i64 = 10;
const RATE_WINDOW: TimeDelta = TimeDelta::minutes(1);

/// The retry delay that an account above the limit is told.
const RETRY_DELAY: Duration = Duration::from_secs(10);

/// The most waiting checks that are read at once.
const MAX_WAITING: i64 = 100;

/// Checks of destinations.
#[derive(Debug, Clone)]
pub struct DestinationChecks {
    database: Database,
}

/// A check that waits for an edge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredCheck {
    /// Its id.
    pub id: Uuid,
    /// The media server whose edge has to check; empty means any.
    pub node_id: String,
    /// The address without its key.
    pub server_url: String,
    /// Until when the result is of use.
    pub expire_time: Time,
}

/// How far a check is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckProgress {
    /// The media server of the edge that checks; `None` while it waits for one.
    pub worker_node_id: Option<String>,
    /// The results as the edge reported them: JSON.
    pub results: Option<String>,
}

impl DestinationChecks {
    /// Checks in this database.
    pub fn new(database: Database) -> Self {
        Self { database }
    }

    /// Adds a check of an address for a project: by the edge beside the media server of its
    /// stream that has not ended, or by any one. `RateLimited` above about ten of a user in a
    /// minute.
    pub async fn create(
        &self,
        user: UserId,
        project_id: ProjectId,
        server_url: &str,
        lifetime: Duration,
        now: Time,
    ) -> Result<Uuid> {
        let id = Uuid::now_v7();
        let created = rows_affected!(
            self.database.writer(),
            "insert into destination_checks
                 (id, user_id, node_id, server_url, create_time, expire_time)
             select $1, u.id,
                    coalesce((
                        select s.node_id
                        from streams s
                        where s.project_id = $3 and s.end_time is null), ''),
                    $4, $5, $6
             from users u
             where u.id = $2 and (
                 select count(*)
                 from destination_checks c
                 where c.user_id = $2 and c.create_time > $7) < $8",
            [
                id,
                user,
                project_id,
                server_url,
                now,
                now + lifetime,
                now - RATE_WINDOW,
                MAX_CHECKS
            ]
        )?;
        match created {
            0 => Err(Error::RateLimited(RETRY_DELAY)),
            _ => Ok(id),
        }
    }

    /// The checks that wait for an edge, oldest first.
    pub async fn waiting(&self, now: Time) -> Result<Vec<StoredCheck>> {
        fetch_all!(
            self.database.reader(),
            "select id, node_id, server_url, expire_time
             from destination_checks
             where worker_id is null and expire_time > $1
             order by expire_time
             limit $2",
            [now, MAX_WAITING]
        )
    }

    /// Gives a check to a worker of a media server; returns whether it still waited. One that is
    /// withdrawn has no address, whatever the time is with which it was read.
    pub async fn claim(&self, id: Uuid, worker_id: &str, node_id: &str, now: Time) -> Result<bool> {
        let claimed = rows_affected!(
            self.database.writer(),
            "update destination_checks
             set worker_id = $2, worker_node_id = $3
             where id = $1 and worker_id is null and expire_time > $4 and server_url <> ''",
            [id, worker_id, node_id, now]
        )?;
        Ok(claimed > 0)
    }

    /// Takes back a check that still waits for an edge; returns whether it did.
    pub async fn withdraw(&self, id: Uuid, now: Time) -> Result<bool> {
        let withdrawn = rows_affected!(
            self.database.writer(),
            "update destination_checks
             set expire_time = $2, server_url = ''
             where id = $1 and worker_id is null",
            [id, now]
        )?;
        Ok(withdrawn > 0)
    }

    /// Stores the results of a check that was given to this worker; others change nothing.
    pub async fn store_results(&self, id: Uuid, worker_id: &str, results: &str) -> Result<()> {
        execute!(
            self.database.writer(),
            "update destination_checks
             set results = $3, server_url = ''
             where id = $1 and worker_id = $2 and results is null",
            [id, worker_id, results]
        )
    }

    /// How far a check is; `None` if it is not stored any more.
    pub async fn progress(&self, id: Uuid) -> Result<Option<CheckProgress>> {
        fetch_optional!(
            self.database.reader(),
            "select worker_node_id, results from destination_checks where id = $1",
            [id]
        )
    }

    /// Deletes a batch of checks from before a time.
    pub async fn purge(&self, before: Time, batch: Batch) -> Result<DeletedBatch> {
        const DELETE: &str = "delete from destination_checks
             where id in (
                 select id
                 from destination_checks
                 where create_time < $1
                 order by create_time
                 limit $2 offset $3)";
        self.database.delete_batch(DELETE, before, batch).await
    }
}

impl_from_row!(StoredCheck: id, node_id, server_url, expire_time);
impl_from_row!(CheckProgress: worker_node_id, results);
