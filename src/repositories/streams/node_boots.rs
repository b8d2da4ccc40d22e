//! The boots of media servers.
//!
//! The current boot of a node is the one that registered last. A restarted media server
//! has lost its earlier connections, even if delayed reports of them still arrive.

use crate::{
    database::{Batch, Database, DeletedBatch, Transaction},
    domain::{Publisher, Time},
    error::{Error, Result},
};

/// Registers a boot. `NodeSuperseded` if a later boot of the node has registered.
pub(super) async fn register(
    database: &Database,
    node_id: &str,
    boot_id: &str,
    now: Time,
) -> Result<()> {
    match newest(database, node_id).await? {
        Some((newest, _)) if newest == boot_id => return Ok(()),
        newest => {
            // Boots are ordered by their times, even if the clocks of replicas differ.
            let after = newest.map_or(now, |(_, time)| now.max(time + TIME_RESOLUTION));
            insert(database, node_id, boot_id, after).await?;
        }
    }
    match newest(database, node_id).await? {
        Some((newest, _)) if newest == boot_id => Ok(()),
        _ => Err(Error::NodeSuperseded),
    }
}

/// The newest boot of a node.
const NEWEST: &str = "select boot_id, create_time
    from node_boots
    where node_id = $1
    order by create_time desc, boot_id desc
    limit 1";

/// The resolution of times in the database.
const TIME_RESOLUTION: std::time::Duration = std::time::Duration::from_micros(1);

async fn newest(database: &Database, node_id: &str) -> Result<Option<(String, Time)>> {
    fetch_optional!(database.reader(), NEWEST, [node_id])
}

/// Whether the boot of a publisher is the newest one of its node. No later boot changes a
/// stream of a locked project.
pub(super) async fn is_newest(tx: &mut Transaction, publisher: &Publisher) -> Result<bool> {
    let newest: Option<(String, Time)> = fetch_optional!(tx, NEWEST, [&publisher.node_id])?;
    Ok(newest.is_some_and(|(boot_id, _)| boot_id == publisher.boot_id))
}

/// Does nothing if the boot is registered.
async fn insert(database: &Database, node_id: &str, boot_id: &str, time: Time) -> Result<()> {
    execute!(
        database.writer(),
        "insert into node_boots (node_id, boot_id, create_time)
         values ($1, $2, $3)
         on conflict do nothing",
        [node_id, boot_id, time]
    )
}

/// Deletes a batch of boots from before a time, except the newest of each node.
pub(super) async fn purge(database: &Database, before: Time, batch: Batch) -> Result<DeletedBatch> {
    const DELETE: &str = "delete from node_boots
         where (node_id, boot_id) in (
             select b.node_id, b.boot_id
             from node_boots b
             where b.create_time < $1
               and exists (
                   select 1
                   from node_boots later
                   where later.node_id = b.node_id and later.create_time > b.create_time)
             order by b.create_time
             limit $2 offset $3)";
    database.delete_batch(DELETE, before, batch).await
}
