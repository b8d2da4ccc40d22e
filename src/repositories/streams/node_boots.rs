//! The boots of media servers.
//!
//! Of each node the boot that was first heard of last counts: a media server
//! that has started anew has none of its earlier connections any more, whatever
//! reports of theirs are still on their way.

use crate::{
    database::{Database, Timestamp, Transaction},
    domain::{Publisher, Time},
    error::{Error, Result},
};

/// Takes note of a boot; `NodeSuperseded` if a later one of the node has reported.
pub(crate) async fn enter(
    database: &Database,
    node_id: &str,
    boot_id: &str,
    now: Time,
) -> Result<()> {
    match newest(database, node_id).await? {
        Some((newest, _)) if newest == boot_id => return Ok(()),
        newest => {
            // Boots are ordered by their time, also where clocks of replicas differ.
            let after = newest.map_or(now, |(_, time)| now.max(time + TICK));
            insert(database, node_id, boot_id, after).await?;
        }
    }
    match newest(database, node_id).await? {
        Some((newest, _)) if newest == boot_id => Ok(()),
        _ => Err(Error::NodeSuperseded),
    }
}

/// The boot of a node that was first heard of last.
const NEWEST: &str = "select boot_id, create_time
    from node_boots
    where node_id = $1
    order by create_time desc, boot_id desc
    limit 1";

/// The least difference of two times in the database.
const TICK: std::time::Duration = std::time::Duration::from_micros(1);

async fn newest(database: &Database, node_id: &str) -> Result<Option<(String, Time)>> {
    Ok(
        on_engine!(database.reader(), pool => sqlx::query_as::<_, (String, Timestamp)>(NEWEST)
            .bind(node_id)
            .fetch_optional(pool)
            .await)?,
    )
}

/// Whether a boot is still the newest one of its node. Where the project is locked,
/// no later boot has changed that unseen.
pub(crate) async fn is_newest(tx: &mut Transaction, publisher: &Publisher) -> Result<bool> {
    let newest = on_engine!(tx, tx => sqlx::query_as::<_, (String, Timestamp)>(NEWEST)
        .bind(&publisher.node_id)
        .fetch_optional(&mut **tx)
        .await)?;
    Ok(newest.is_some_and(|(boot_id, _)| boot_id == publisher.boot_id))
}

/// Nothing happens if the boot is known.
async fn insert(database: &Database, node_id: &str, boot_id: &str, time: Time) -> Result<()> {
    on_engine!(database.writer(), pool => sqlx::query(
        "insert into node_boots (node_id, boot_id, create_time)
         values ($1, $2, $3)
         on conflict do nothing",
    )
    .bind(node_id)
    .bind(boot_id)
    .bind(time)
    .execute(pool)
    .await
    .map(drop))?;
    Ok(())
}

/// Forgets boots before a moment that are not the newest of their node, at most
/// `limit`; tells how many.
pub(crate) async fn purge(database: &Database, before: Time, limit: i64) -> Result<u64> {
    Ok(on_engine!(database.writer(), pool => sqlx::query(
        "delete from node_boots
         where (node_id, boot_id) in (
             select b.node_id, b.boot_id
             from node_boots b
             where b.create_time < $1
               and exists (
                   select 1
                   from node_boots later
                   where later.node_id = b.node_id and later.create_time > b.create_time)
             limit $2)",
    )
    .bind(before)
    .bind(limit)
    .execute(pool)
    .await
    .map(|done| done.rows_affected()))?)
}
