use std::{path::Path, time::Duration};

use sqlx::{AssertSqlSafe, ConnectOptions, QueryBuilder, Transaction};
use sqlx_postgres::{PgConnectOptions, PgPool, PgPoolOptions, Postgres};
use sqlx_sqlite::{
    Sqlite, SqliteConnectOptions, SqliteJournalMode, SqliteLockingMode, SqlitePoolOptions,
};
use tokio::time::sleep;
use tokio_stream::StreamExt;

use super::{
    catalogue::Table,
    error::CopyError,
    value::{Checksum, ColumnValue, Row},
};
use crate::database::{
    Engine, Pooler, PostgresServers, Target,
    errors::sqlite_code,
    postgres_connector::{PostgresConnector, ServerLimits, check_role},
};

/// The timeout to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// The maximum number of parameters of a statement on both engines.
const MAX_PARAMETERS: usize = 30_000;

/// The maximum number of rows of an insert.
const MAX_BATCH_SIZE: usize = 500;

/// `SQLITE_BUSY`.
const SQLITE_BUSY: i32 = 5;

/// The maximum number of checks whether a PostgreSQL database is in use.
const MAX_IN_USE_CHECKS: u32 = 20;

/// The delay between two of these checks.
const IN_USE_CHECK_INTERVAL: Duration = Duration::from_millis(50);

/// A database that no other process can use until its transaction ends.
pub(super) struct LockedDatabase {
    pub tx: Engine<Transaction<'static, Postgres>, Transaction<'static, Sqlite>>,
}

impl LockedDatabase {
    /// Locks a database. Fails if another process has it open.
    pub async fn lock(target: &Target) -> Result<Self, CopyError> {
        let tx = match target {
            Target::Postgres(servers) => Engine::Postgres(lock_postgres(servers).await?),
            Target::Sqlite(file) => Engine::Sqlite(lock_sqlite(file).await?),
        };
        Ok(Self { tx })
    }

    /// Unlocks the database and undoes all changes.
    pub async fn rollback(self) -> sqlx::Result<()> {
        on_engine!(self.tx, tx => tx.rollback().await)
    }

    /// Unlocks the database and commits all changes.
    pub async fn commit(self) -> sqlx::Result<()> {
        on_engine!(self.tx, tx => tx.commit().await)
    }

    /// Whether a table has no rows.
    pub async fn is_empty(&mut self, table: &Table) -> sqlx::Result<bool> {
        let text = format!("select not exists (select 1 from {})", table.quoted());
        on_engine!(&mut self.tx, tx => sqlx::query_scalar(AssertSqlSafe(text))
            .fetch_one(&mut **tx)
            .await)
    }

    /// The first table that has rows, whatever the version of the schema.
    pub async fn first_table_with_rows(&mut self) -> sqlx::Result<Option<String>> {
        let sql = match &self.tx {
            Engine::Postgres(_) => {
                "select relname::text
                 from pg_class
                 where relnamespace = current_schema()::regnamespace
                   and relkind in ('r', 'p') and relname <> '_sqlx_migrations'
                 order by relname"
            }
            Engine::Sqlite(_) => {
                "select name
                 from sqlite_schema
                 where type = 'table' and name not like 'sqlite_%'
                   and name <> '_sqlx_migrations'
                 order by name"
            }
        };
        let names: Vec<String> = on_engine!(&mut self.tx, tx => {
            sqlx::query_scalar(sql).fetch_all(&mut **tx).await?
        });
        for name in names {
            let columns = Vec::new();
            let table = Table { name, columns };
            if !self.is_empty(&table).await? {
                return Ok(Some(table.name));
            }
        }
        Ok(None)
    }

    /// Copies all rows of a table into another database; returns the checksum of the rows.
    /// `progress` gets the number of rows after each batch.
    pub async fn copy_rows(
        &mut self,
        table: &Table,
        target: &mut Self,
        progress: &mut impl FnMut(u64),
    ) -> sqlx::Result<Checksum> {
        let batch = MAX_BATCH_SIZE.min(MAX_PARAMETERS / table.columns.len());
        let mut rows = Vec::with_capacity(batch);
        let mut checksum = Checksum::default();
        let text = select(table);
        on_engine!(&mut self.tx, tx => {
            let mut found = sqlx::query(AssertSqlSafe(text)).fetch(&mut **tx);
            while let Some(row) = found.try_next().await? {
                let values = read(table, &row.into())?;
                checksum.add(&values);
                rows.push(values);
                if rows.len() == batch {
                    target.write(table, &mut rows).await?;
                    progress(checksum.rows);
                }
            }
        });
        target.write(table, &mut rows).await?;
        Ok(checksum)
    }

    /// The checksum of the rows of a table.
    pub async fn checksum(&mut self, table: &Table) -> sqlx::Result<Checksum> {
        let mut checksum = Checksum::default();
        let text = select(table);
        on_engine!(&mut self.tx, tx => {
            let mut found = sqlx::query(AssertSqlSafe(text)).fetch(&mut **tx);
            while let Some(row) = found.try_next().await? {
                checksum.add(&read(table, &row.into())?);
            }
        });
        Ok(checksum)
    }

    /// Writes rows and removes them from the list.
    async fn write(&mut self, table: &Table, rows: &mut Vec<Vec<ColumnValue>>) -> sqlx::Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        let start = format!("insert into {} ({}) ", table.quoted(), table.column_list());
        on_engine!(&mut self.tx, tx => {
            let mut insert = QueryBuilder::new(start);
            insert.push_values(rows.drain(..), |mut tuple, row| {
                for value in row {
                    match value {
                        ColumnValue::Uuid(value) => tuple.push_bind(value),
                        ColumnValue::Time(value) => tuple.push_bind(value),
                        ColumnValue::Boolean(value) => tuple.push_bind(value),
                        ColumnValue::Bytes(value) => tuple.push_bind(value),
                        ColumnValue::Text(value) => tuple.push_bind(value),
                        ColumnValue::Integer(value) => tuple.push_bind(value),
                        ColumnValue::SmallInteger(value) => tuple.push_bind(value),
                        ColumnValue::Real(value) => tuple.push_bind(value),
                    };
                }
            });
            insert.build().execute(&mut **tx).await.map(drop)
        })
    }
}

fn select(table: &Table) -> String {
    format!("select {} from {}", table.column_list(), table.quoted())
}

fn read(table: &Table, row: &Row) -> sqlx::Result<Vec<ColumnValue>> {
    let columns = table.columns.iter().enumerate();
    columns
        .map(|(index, column)| column.column_type.read(row, index))
        .collect()
}

async fn lock_postgres(
    servers: &PostgresServers,
) -> Result<Transaction<'static, Postgres>, CopyError> {
    if servers.pooler == Pooler::Transaction {
        return Err(CopyError::Pooled);
    }
    // A copy may take long.
    let limits = ServerLimits {
        of_statements: vec![
            ("statement_timeout", "0".to_owned()),
            ("lock_timeout", "10s".to_owned()),
            ("idle_in_transaction_session_timeout", "0".to_owned()),
        ],
        of_connection: Vec::new(),
    };
    let customize = |server: PgConnectOptions| {
        server
            .application_name("sluice-copy")
            .log_statements(tracing::log::LevelFilter::Debug)
    };
    let connector = PostgresConnector::new(servers, limits, CONNECT_TIMEOUT, customize);
    let pool = connector
        .first_usable(|server| connect_to(server.clone(), connector.setup()))
        .await?;

    if is_in_use(&pool).await? {
        return Err(CopyError::InUse("PostgreSQL"));
    }
    let lock: Option<String> = sqlx::query_scalar(
        "select 'lock table ' || string_agg(oid::regclass::text, ', ') || ' in exclusive mode'
         from pg_class
         where relnamespace = current_schema()::regnamespace and relkind in ('r', 'p')",
    )
    .fetch_one(&pool)
    .await?;
    let mut tx = pool
        .begin_with("begin isolation level repeatable read")
        .await?;
    if let Some(lock) = lock {
        sqlx::raw_sql(AssertSqlSafe(lock)).execute(&mut *tx).await?;
    }
    Ok(tx)
}

/// A pool of one connection.
async fn connect_to(server: PgConnectOptions, setup: String) -> Result<PgPool, sqlx::Error> {
    let pool = PgPoolOptions::new().max_connections(1);
    let prepared = pool.after_connect(move |connection, _| {
        let setup = setup.clone();
        Box::pin(async move { check_role(setup, connection).await })
    });
    prepared.connect_with(server).await
}

/// Whether other connections remain. Waits a moment for them to end, because a backend
/// ends a little later than its client.
async fn is_in_use(pool: &PgPool) -> sqlx::Result<bool> {
    for _ in 0..MAX_IN_USE_CHECKS {
        let others: i64 = sqlx::query_scalar(
            "select count(*) from pg_stat_activity
             where datname = current_database() and application_name like 'sluice%'
               and application_name <> 'sluice-copy'",
        )
        .fetch_one(pool)
        .await?;
        if others == 0 {
            return Ok(false);
        }
        sleep(IN_USE_CHECK_INTERVAL).await;
    }
    Ok(true)
}

/// Locks a file: in exclusive mode SQLite opens it only if no other process has it open.
async fn lock_sqlite(file: &Path) -> Result<Transaction<'static, Sqlite>, CopyError> {
    let options = SqliteConnectOptions::new()
        .filename(file)
        .foreign_keys(true)
        .busy_timeout(Duration::from_millis(200))
        .locking_mode(SqliteLockingMode::Exclusive)
        .journal_mode(SqliteJournalMode::Wal)
        .log_statements(tracing::log::LevelFilter::Debug);
    let pool = SqlitePoolOptions::new().max_connections(1);

    let begun = async {
        let pool = pool.connect_with(options).await?;
        pool.begin_with("begin exclusive").await
    };
    begun.await.map_err(|error| match is_busy(&error) {
        true => CopyError::InUse("SQLite"),
        false => error.into(),
    })
}

fn is_busy(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(sqlite_code) == Some(SQLITE_BUSY)
}
