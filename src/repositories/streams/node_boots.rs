//! The boots of media servers, and when they last reported.
//!
//! The current boot of a node is the one that registered last. A restarted media server
//! has lost its earlier connections, even if delayed reports of them still arrive.

use chrono::TimeDelta;
use sqlx::FromRow;
use uuid::Uuid;

use crate::{
    database::{Batch, Database, DeletedBatch, Transaction},
    domain::{Publisher, Time},
    error::{Error, Result},
};

/// How often the time of a node's last report is written.
const REPORT_RESOLUTION: TimeDelta = TimeDelta::seconds(30);

/// Registers a report of a boot. `NodeSuperseded` if a later boot of the node has registered.
pub(super) async fn register(
    database: &Database,
    node_id: &str,
    boot_id: &str,
    now: Time,
) -> Result<()> {
    let registered = newest(database, node_id).await?;
    let is_newest = |boot: &NewestBoot| boot.boot_id == boot_id;
    if let Some(boot) = registered.as_ref().filter(|boot| is_newest(boot)) {
        let reported = boot.last_report_time.map(|time| time + REPORT_RESOLUTION);
        return match reported.is_some_and(|due| due > now) {
            true => Ok(()),
            false => record_report(database, node_id, boot, now).await,
        };
    }

    // Boots are ordered by their times, even if the clocks of replicas differ.
    let after = registered.map_or(now, |boot| now.max(boot.create_time + TIME_RESOLUTION));
    insert(database, node_id, boot_id, after).await?;
    match newest(database, node_id).await? {
        Some(boot) if is_newest(&boot) => record_report(database, node_id, &boot, now).await,
        _ => Err(Error::NodeSuperseded),
    }
}

/// The newest boot of a node.
#[derive(FromRow)]
struct NewestBoot {
    boot_id: String,
    create_time: Time,
    /// When the node last reported, as far as it was written.
    last_report_time: Option<Time>,
}

/// Writes that a node reports with its newest boot.
async fn record_report(
    database: &Database,
    node_id: &str,
    boot: &NewestBoot,
    now: Time,
) -> Result<()> {
    execute!(
        database.writer(),
        "insert into nodes (id, node_id, boot_id, boot_time, create_time, last_report_time)
         values ($1, $2, $3, $4, $5, $5)
         on conflict (node_id) do update
         set boot_id = excluded.boot_id, boot_time = excluded.boot_time,
             last_report_time = excluded.last_report_time",
        [
            Uuid::now_v7(),
            node_id,
            &boot.boot_id,
            boot.create_time,
            now
        ]
    )
}

/// The resolution of times in the database.
const TIME_RESOLUTION: std::time::Duration = std::time::Duration::from_micros(1);

async fn newest(database: &Database, node_id: &str) -> Result<Option<NewestBoot>> {
    fetch_optional!(
        database.reader(),
        "select b.boot_id, b.create_time, n.last_report_time
         from node_boots b
         left join nodes n on n.node_id = b.node_id
         where b.node_id = $1
         order by b.create_time desc, b.boot_id desc
         limit 1",
        [node_id]
    )
}

/// Whether the boot of a publisher is the newest one of its node. No later boot changes a
/// stream of a locked project.
pub(super) async fn is_newest(tx: &mut Transaction, publisher: &Publisher) -> Result<bool> {
    let newest: Option<String> = fetch_optional_scalar!(
        tx,
        "select boot_id
         from node_boots
         where node_id = $1
         order by create_time desc, boot_id desc
         limit 1",
        [&publisher.node_id]
    )?;
    Ok(newest.is_some_and(|boot_id| boot_id == publisher.boot_id))
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
