//! What changed of projects, in the order of their revisions.

use super::engine::Transaction;
use crate::{
    domain::{Change, ProjectId, Time},
    error::{Error, Result},
};

/// Writes what changed of a locked project with the revision that it took.
pub(super) async fn record(
    tx: &mut Transaction,
    project_id: ProjectId,
    revision: i64,
    change: &Change,
    now: Time,
) -> Result<()> {
    let change = serde_json::to_string(change).map_err(Error::internal)?;
    on_engine!(tx, tx => sqlx::query(
        "insert into events (project_id, revision, create_time, change)
         values ($1, $2, $3, $4)",
    )
    .bind(project_id)
    .bind(revision)
    .bind(now)
    .bind(change)
    .execute(&mut **tx)
    .await
    .map(drop))?;
    Ok(())
}
