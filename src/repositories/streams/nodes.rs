use crate::{
    database::{Batch, Database, DeletedBatch},
    domain::{AuditContext, Node, NodeId, Page, Time},
    error::{Error, Result},
    repositories::{accounts::session_rows::require_active, audit_log},
};

/// Selects [`Node`]s `n` that meet a condition.
macro_rules! select_nodes {
    ($condition:literal) => {
        concat!(
            "select id, node_id, boot_id, boot_time, create_time,
                    case when last_seen_time > last_report_time
                        then last_seen_time else last_report_time end as last_report_time,
                    live_stream_count, drain_time
             from (
                 select n.id, n.node_id, n.boot_id, n.boot_time, n.create_time, n.drain_time,
                        case when b.sync_time > n.last_report_time
                            then b.sync_time else n.last_report_time end as last_report_time,
                        (select max(s.last_seen_time)
                         from streams s
                         where s.node_id = n.node_id and s.end_time is null) as last_seen_time,
                        (select count(*)
                         from streams s
                         where s.node_id = n.node_id and s.end_time is null)
                            as live_stream_count
                 from nodes n
                 left join node_boots b on b.node_id = n.node_id and b.boot_id = n.boot_id
                 where ",
            $condition,
            ") listed"
        )
    };
}

/// Media servers that have reported, for operators.
#[derive(Debug, Clone)]
pub struct Nodes {
    database: Database,
}

impl Nodes {
    /// Media servers in this database.
    pub fn new(database: Database) -> Self {
        Self { database }
    }

    /// The nodes that have reported after a time, if there is one; newest first.
    pub async fn list(&self, reported_after: Option<Time>, page: Page) -> Result<Vec<Node>> {
        fetch_all!(
            self.database.reader(),
            concat!(
                select_nodes!("n.id < $1"),
                " where $2 is null or last_report_time > $2 or last_seen_time > $2
                 order by id desc
                 limit $3",
            ),
            [page.below, reported_after, page.limit()]
        )
    }

    /// A node. `NotFound` if none with this id has reported.
    pub async fn get(&self, node_id: &NodeId) -> Result<Node> {
        let found: Option<Node> = fetch_optional!(
            self.database.reader(),
            select_nodes!("n.node_id = $1"),
            [node_id.as_str()]
        )?;
        // The id is any text, and not repeated.
        found.ok_or_else(|| Error::not_found("node", ""))
    }

    /// Lets the relays of a node's workers move to others. Changes nothing if they do already, or
    /// if there is no such node.
    pub async fn drain(&self, node_id: &NodeId, audit: &AuditContext, now: Time) -> Result<()> {
        self.set_drain_time(node_id, Some(now), audit, now).await
    }

    /// Lets a node's workers keep their relays again, and claim others. Changes nothing if they do
    /// already.
    pub async fn resume(&self, node_id: &NodeId, audit: &AuditContext, now: Time) -> Result<()> {
        self.set_drain_time(node_id, None, audit, now).await
    }

    async fn set_drain_time(
        &self,
        node_id: &NodeId,
        drain_time: Option<Time>,
        audit: &AuditContext,
        now: Time,
    ) -> Result<()> {
        self.database
            .transaction(|mut tx| async move {
                let changed = rows_affected!(
                    tx,
                    "update nodes
                     set drain_time = $2
                     where node_id = $1 and (drain_time is null) = $3",
                    [node_id.as_str(), drain_time, drain_time.is_some()]
                )?;
                if changed == 0 {
                    return tx.rollback(()).await;
                }
                require_active(&mut tx, audit).await?;
                audit_log::record(&mut tx, audit, now).await?;
                tx.commit(()).await
            })
            .await
    }

    /// Deletes a batch of nodes that last reported before a time and have no stream.
    pub async fn purge(&self, before: Time, batch: Batch) -> Result<DeletedBatch> {
        const DELETE: &str = "delete from nodes
             where id in (
                 select n.id
                 from nodes n
                 where n.last_report_time < $1
                   and not exists (
                       select 1
                       from streams s
                       where s.node_id = n.node_id and s.end_time is null)
                 order by n.last_report_time
                 limit $2 offset $3)";
        self.database.delete_batch(DELETE, before, batch).await
    }
}

impl_from_row!(
    Node:
    id, node_id, boot_id, boot_time, create_time, last_report_time, live_stream_count, drain_time
);
