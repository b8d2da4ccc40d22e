use crate::{
    database::{Batch, Database, DeletedBatch},
    domain::{Node, Page, Time},
    error::Result,
};

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
            "select id, node_id, boot_id, boot_time, create_time,
                    case when last_seen_time > last_report_time
                        then last_seen_time else last_report_time end as last_report_time,
                    live_stream_count
             from (
                 select n.id, n.node_id, n.boot_id, n.boot_time, n.create_time,
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
                 where n.id < $1) listed
             where $2 is null or last_report_time > $2 or last_seen_time > $2
             order by id desc
             limit $3",
            [page.below, reported_after, page.limit()]
        )
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
    id, node_id, boot_id, boot_time, create_time, last_report_time, live_stream_count
);
