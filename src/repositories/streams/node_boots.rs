//! The boots of media servers, and when they last reported.
//!
//! The current boot of a node is the one that registered last. A restarted media server
//! has lost its earlier connections, even if delayed reports of them still arrive.

use chrono::TimeDelta;
use sqlx::FromRow;
use uuid::Uuid;

use crate::{
    database::{Batch, Database, DeletedBatch, Engine},
    domain::Time,
    error::{Error, Result},
};

/// How often the time of a node's last report is written.
const REPORT_RESOLUTION: TimeDelta = TimeDelta::seconds(30);

/// The newest boot of a node.
#[derive(Debug, Clone, FromRow)]
pub(super) struct NewestBoot {
    #[sqlx(rename = "newest_boot_id")]
    pub boot_id: String,
    #[sqlx(rename = "newest_boot_time")]
    pub create_time: Time,
    /// When the node last reported, as far as it was written.
    pub last_report_time: Option<Time>,
}

/// Registers a report of a boot. `NodeSuperseded` if a later boot of the node has registered.
pub(super) async fn register(
    database: &Database,
    node_id: &str,
    boot_id: &str,
    now: Time,
) -> Result<()> {
    let known = newest(database, node_id).await?;
    register_after(database, known, node_id, boot_id, now).await
}

/// The same, if `known` was the newest boot. Without a write if it is this one, and its last
/// report was written recently.
pub(super) async fn register_after(
    database: &Database,
    known: Option<NewestBoot>,
    node_id: &str,
    boot_id: &str,
    now: Time,
) -> Result<()> {
    let is_newest = |boot: &NewestBoot| boot.boot_id == boot_id;
    if let Some(boot) = known.as_ref().filter(|boot| is_newest(boot)) {
        let reported = boot.last_report_time.map(|time| time + REPORT_RESOLUTION);
        return match reported.is_some_and(|due| due > now) {
            true => Ok(()),
            false => record_report(database, node_id, boot, now).await,
        };
    }

    // Boots are ordered by their times, even if the clocks of replicas differ.
    let after = known.map_or(now, |boot| now.max(boot.create_time + TIME_RESOLUTION));
    if insert(database, node_id, boot_id, after, now).await? {
        return Ok(());
    }
    match newest(database, node_id).await? {
        Some(boot) if is_newest(&boot) => record_report(database, node_id, &boot, now).await,
        _ => Err(Error::NodeSuperseded),
    }
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
        "select b.boot_id as newest_boot_id, b.create_time as newest_boot_time,
                n.last_report_time
         from node_boots b
         left join nodes n on n.node_id = b.node_id
         where b.node_id = $1
         order by b.create_time desc, b.boot_id desc
         limit 1",
        [node_id]
    )
}

/// Inserts a boot of this time, unless it has registered before. On PostgreSQL the same statement
/// writes that its node reports with it; returns whether it did. The report of a later boot stays.
async fn insert(
    database: &Database,
    node_id: &str,
    boot_id: &str,
    time: Time,
    now: Time,
) -> Result<bool> {
    match database.writer() {
        Engine::Postgres(executor) => {
            let inserted = sqlx::query(
                "with boot as (
                     insert into node_boots (node_id, boot_id, create_time)
                     values ($1, $2, $3)
                     on conflict do nothing
                     returning node_id, boot_id, create_time)
                 insert into nodes
                     (id, node_id, boot_id, boot_time, create_time, last_report_time)
                 select $4, node_id, boot_id, create_time, $5, $5
                 from boot
                 on conflict (node_id) do update
                 set boot_id = excluded.boot_id, boot_time = excluded.boot_time,
                     last_report_time = excluded.last_report_time
                 where (nodes.boot_time, nodes.boot_id)
                     < (excluded.boot_time, excluded.boot_id)",
            );
            let inserted = inserted.bind(node_id).bind(boot_id).bind(time);
            let inserted = inserted.bind(Uuid::now_v7()).bind(now).execute(executor);
            Ok(inserted.await?.rows_affected() > 0)
        }
        Engine::Sqlite(executor) => {
            let inserted = sqlx::query(
                "insert into node_boots (node_id, boot_id, create_time)
                 values ($1, $2, $3)
                 on conflict do nothing",
            );
            let inserted = inserted.bind(node_id).bind(boot_id).bind(time);
            inserted.execute(executor).await?;
            Ok(false)
        }
    }
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
