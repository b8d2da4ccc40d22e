use sqlx::Connection;
use sqlx_postgres::PgConnection;
use sqlx_sqlite::SqliteConnection;

use super::TestDatabase;

/// A transaction that blocks all writes to `projects` until it is released.
pub enum BlockedWrites {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

impl TestDatabase {
    /// Blocks all writes to `projects`.
    pub async fn block_writes(&self) -> BlockedWrites {
        if self.url.starts_with("sqlite:") {
            let mut connection = SqliteConnection::connect(&self.url).await.unwrap();
            let lock = sqlx::raw_sql("begin immediate");
            lock.execute(&mut connection).await.unwrap();
            BlockedWrites::Sqlite(connection)
        } else {
            let mut connection = PgConnection::connect(&self.url).await.unwrap();
            let lock = sqlx::raw_sql("begin; lock table projects in share row exclusive mode");
            lock.execute(&mut connection).await.unwrap();
            BlockedWrites::Postgres(connection)
        }
    }
}

impl BlockedWrites {
    /// Unblocks the writes.
    pub async fn release(self) {
        match self {
            Self::Sqlite(connection) => connection.close().await.unwrap(),
            Self::Postgres(connection) => connection.close().await.unwrap(),
        }
    }
}
