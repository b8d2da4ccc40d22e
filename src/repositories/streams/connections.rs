//! The connections that were ever accepted.

use crate::{
    database::{Database, Transaction},
    domain::{ProjectId, Publisher, Time},
    error::Result,
};

/// What is known of a connection that asks to be let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Known {
    /// Nothing: it comes for the first time.
    New,
    /// It has published before.
    Before,
    /// It has, and its media server said that it is gone.
    Gone,
}

/// Takes note of a connection that publishes to a project; tells what was known of it.
pub(crate) async fn enter(
    tx: &mut Transaction,
    publisher: &Publisher,
    project_id: ProjectId,
    now: Time,
) -> Result<Known> {
    let entered = on_engine!(&mut *tx, tx => sqlx::query(
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
    if entered > 0 {
        return Ok(Known::New);
    }
    let is_gone = on_engine!(tx, tx => sqlx::query_scalar::<_, bool>(
        "select end_time is not null
         from publishes
         where node_id = $1 and boot_id = $2 and connection_id = $3 and project_id = $4",
    )
    .bind(&publisher.node_id)
    .bind(&publisher.boot_id)
    .bind(&publisher.connection_id)
    .bind(project_id)
    .fetch_one(&mut **tx)
    .await)?;
    Ok(match is_gone {
        true => Known::Gone,
        false => Known::Before,
    })
}

/// Takes note that a connection is gone, whatever it held: it never comes again.
pub(crate) async fn leave(
    tx: &mut Transaction,
    publisher: &Publisher,
    project_id: ProjectId,
    now: Time,
) -> Result<()> {
    on_engine!(tx, tx => sqlx::query(
        "update publishes
         set end_time = $5
         where node_id = $1 and boot_id = $2 and connection_id = $3 and project_id = $4
           and end_time is null",
    )
    .bind(&publisher.node_id)
    .bind(&publisher.boot_id)
    .bind(&publisher.connection_id)
    .bind(project_id)
    .bind(now)
    .execute(&mut **tx)
    .await
    .map(drop))?;
    Ok(())
}

/// Forgets connections of before a moment that hold no stream, at most `limit`;
/// tells how many.
pub(crate) async fn purge(database: &Database, before: Time, limit: i64) -> Result<u64> {
    Ok(on_engine!(database.writer(), pool => sqlx::query(
        "delete from publishes
         where (node_id, boot_id, connection_id, project_id) in (
             select p.node_id, p.boot_id, p.connection_id, p.project_id
             from publishes p
             where p.create_time < $1
               and not exists (
                   select 1
                   from streams s
                   where s.node_id = p.node_id and s.boot_id = p.boot_id
                     and s.connection_id = p.connection_id and s.end_time is null)
             limit $2)",
    )
    .bind(before)
    .bind(limit)
    .execute(pool)
    .await
    .map(|done| done.rows_affected()))?)
}
