use sqlx::Row;

use super::rows::stream_columns;
use crate::{
    database::{Database, Engine},
    domain::{NodeId, OperatorLiveStream, Page, Stream, UserId},
    error::Result,
};

/// Streams of all users that have not ended, for operators.
#[derive(Debug, Clone)]
pub struct LiveStreams {
    database: Database,
}

/// Selects a page of streams that have not ended. `$hint` names the index.
macro_rules! select_live_streams {
    ($hint:literal) => {
        concat!(
            "select ",
            stream_columns!("s."),
            ", p.owner_id, p.name as project_name,
               (select o.personal from organizations o where o.id = p.owner_id) as personal,
               (select count(*)
                from relays r
                where r.stream_id = s.id and r.lease_id is not null) as relay_count
             from streams s ",
            $hint,
            " cross join projects p
             where p.id = s.project_id and s.end_time is null and s.id < $1
               and ($2 is null or p.owner_id = $2) and ($3 is null or s.node_id = $3)
             order by s.id desc
             limit $4"
        )
    };
}

impl LiveStreams {
    /// Live streams in this database.
    pub fn new(database: Database) -> Self {
        Self { database }
    }

    /// The streams that have not ended, newest first: of the personal organization of one user, and at
    /// one media server.
    pub async fn list(
        &self,
        owner: Option<UserId>,
        node_id: Option<&NodeId>,
        page: Page,
    ) -> Result<Vec<OperatorLiveStream>> {
        // SQLite would read ended streams too, in the order of their ids. It does not reorder a
        // cross join: with statistics it would read all projects first.
        let sql = match self.database.reader() {
            Engine::Postgres(_) => select_live_streams!(""),
            Engine::Sqlite(_) => select_live_streams!("indexed by streams_one_unended"),
        };
        let node_id = node_id.map(NodeId::as_str);
        fetch_all!(
            self.database.reader(),
            sql,
            [page.below, owner, node_id, page.limit()]
        )
    }
}

impl_from_row!(
    OperatorLiveStream:
    personal, project_name, relay_count;
    |row|
    stream: Stream::from_row(row)?,
    organization_id: row.try_get("owner_id")?,
);
