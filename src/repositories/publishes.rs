//! The connections that were ever accepted.

use super::{Database, engine::Transaction};
use crate::{
    domain::{ProjectId, Publisher, Time},
    error::Result,
};

/// Takes note of a connection that publishes to a project; false if it has before.
pub(super) async fn enter(
    tx: &mut Transaction,
    publisher: &Publisher,
    project_id: ProjectId,
    now: Time,
) -> Result<bool> {
    let entered = on_engine!(tx, tx => sqlx::query(
        "insert into publishes (node_id, boot_id, connection_id, project_id, create_time)
         values ($1, $2, $3, $4, $5)
         on conflict do nothing",
    )
    .bind(&publisher.node_id)
    .bind(&publisher.boot_id)
    .bind(&publisher.connection_id)
    .bind(project_id)
    .bind(now)
    .execute(&mut **tx)
    .await
    .map(|done| done.rows_affected()))?;
    Ok(entered > 0)
}

/// Forgets connections of before a moment, at most `limit`; tells how many.
pub(super) async fn purge(database: &Database, before: Time, limit: i64) -> Result<u64> {
    Ok(on_engine!(database.writer(), pool => sqlx::query(
        "delete from publishes
         where (node_id, boot_id, connection_id, project_id) in (
             select node_id, boot_id, connection_id, project_id
             from publishes
             where create_time < $1
             limit $2)",
    )
    .bind(before)
    .bind(limit)
    .execute(pool)
    .await
    .map(|done| done.rows_affected()))?)
}
