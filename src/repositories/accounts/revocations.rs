use chrono::TimeDelta;
use uuid::Uuid;

use crate::{
    database::{Batch, Database, DeletedBatch, Engine, Transaction},
    domain::{Time, now},
    error::Result,
};

/// The sessions and API keys that were ended while their access tokens may be valid.
#[derive(Debug, Clone)]
pub struct TokenRevocations {
    database: Database,
}

/// The revocations that a reader has seen: all of those before a position.
///
/// A transaction can commit long after the time that it wrote. So the position counts
/// transactions: on PostgreSQL it is the oldest one that had not ended at the last read. SQLite
/// has one writer, which counts its inserts.
#[derive(Debug, Clone, Copy)]
pub struct RevocationCursor {
    position: i64,
    read_time: Time,
    /// When the PostgreSQL server started. After a failover, another one may have counted less.
    server_start_time: Option<Time>,
}

/// How long before the last read revocations are read again: a crashed server counts its last
/// transactions again, and SQLite begins anew when the table was empty.
const READ_OVERLAP: TimeDelta = TimeDelta::seconds(30);

impl TokenRevocations {
    /// The revocations in this database.
    pub fn new(database: Database) -> Self {
        Self { database }
    }

    /// The ids of sessions and API keys that were ended after a time, and when. Without a
    /// cursor it returns all of them, with one those that became visible since, and possibly
    /// some earlier ones. Moves the cursor if it succeeds.
    pub async fn read(
        &self,
        since: Time,
        cursor: &mut Option<RevocationCursor>,
    ) -> Result<Vec<(Uuid, Time)>> {
        // Before the rows, which then include all before the position.
        let next = self.end().await?;
        let last = cursor.filter(|last| {
            last.server_start_time == next.server_start_time && last.position <= next.position
        });
        let (position, overlap) = match last {
            Some(last) => (last.position, last.read_time - READ_OVERLAP),
            None => (0, since),
        };
        let rows = fetch_all!(
            self.database.reader(),
            "select id, revoke_time
             from revocations
             where position >= $1 and revoke_time > $2
             union
             select id, revoke_time
             from revocations
             where revoke_time > $3",
            [position, since, overlap.max(since)]
        )?;
        *cursor = Some(next);
        Ok(rows)
    }

    /// The position before which no revocation can appear any more.
    async fn end(&self) -> Result<RevocationCursor> {
        let read_time = now();
        let sql = match self.database.reader() {
            Engine::Postgres(_) => {
                "select pg_snapshot_xmin(pg_current_snapshot())::text::bigint,
                        pg_postmaster_start_time()"
            }
            Engine::Sqlite(_) => "select coalesce(max(position), 0) + 1, null from revocations",
        };
        let (position, server_start_time): (i64, Option<Time>) =
            fetch_one!(self.database.reader(), sql, [])?;
        Ok(RevocationCursor {
            position,
            read_time,
            server_start_time,
        })
    }

    /// Deletes a batch of revocations from before a time.
    pub async fn purge(&self, before: Time, batch: Batch) -> Result<DeletedBatch> {
        const DELETE: &str = "delete from revocations
             where id in (
                 select id
                 from revocations
                 where revoke_time < $1
                 order by revoke_time
                 limit $2 offset $3)";
        self.database.delete_batch(DELETE, before, batch).await
    }
}

/// Inserts revocations: `$source` begins with the id and the time, and ends with the rows. The
/// position stands between them.
macro_rules! insert_revocations {
    ($tx:expr, $source:literal, $from:literal, [$($argument:expr),+]) => {{
        let sql = match $tx {
            Transaction::Postgres(_) => concat!(
                "insert into revocations (id, revoke_time, position) ",
                $source,
                ", pg_current_xact_id()::text::bigint ",
                $from,
                " on conflict do nothing",
            ),
            Transaction::Sqlite(_) => concat!(
                "insert into revocations (id, revoke_time, position) ",
                $source,
                ", (select coalesce(max(position), 0) + 1 from revocations) ",
                $from,
                " on conflict do nothing",
            ),
        };
        execute!($tx, sql, [$($argument),+])
    }};
}

/// Records the end of a session or an API key.
pub(super) async fn insert(tx: &mut Transaction, id: Uuid, now: Time) -> Result<()> {
    insert_revocations!(tx, "select $1, $2", "where true", [id, now])
}

/// Records all sessions that were ended at a time, in one statement.
pub(super) async fn insert_sessions(tx: &mut Transaction, now: Time) -> Result<()> {
    insert_revocations!(
        tx,
        "select id, revoke_time",
        "from sessions where revoke_time = $1",
        [now]
    )
}
