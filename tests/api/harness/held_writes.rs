use sqlx::Connection;
use sqlx_postgres::PgConnection;
use sqlx_sqlite::SqliteConnection;

use super::TestDatabase;

/// While this lives, no project can be created or changed: whoever tries waits.
pub enum HeldWrites {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

impl TestDatabase {
    /// Holds all changes of projects back.
    pub async fn hold_writes(&self) -> HeldWrites {
        if self.url.starts_with("sqlite:") {
            let mut connection = SqliteConnection::connect(&self.url).await.unwrap();
            let hold = sqlx::raw_sql("begin immediate");
            hold.execute(&mut connection).await.unwrap();
            HeldWrites::Sqlite(connection)
        } else {
            let mut connection = PgConnection::connect(&self.url).await.unwrap();
            let hold = sqlx::raw_sql("begin; lock table projects in share row exclusive mode");
            hold.execute(&mut connection).await.unwrap();
            HeldWrites::Postgres(connection)
        }
    }
}

impl HeldWrites {
    /// Lets them go on.
    pub async fn release(self) {
        match self {
            Self::Sqlite(connection) => connection.close().await.unwrap(),
            Self::Postgres(connection) => connection.close().await.unwrap(),
        }
    }
}
