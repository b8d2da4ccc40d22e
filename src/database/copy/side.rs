use std::{path::Path, time::Duration};

use sqlx::{
    AssertSqlSafe, ConnectOptions, PgPool, Postgres, QueryBuilder, Sqlite, Transaction,
    postgres::{PgConnectOptions, PgPoolOptions},
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteLockingMode, SqlitePoolOptions},
};
use tokio::time::sleep;
use tokio_stream::StreamExt;

use super::{
    catalogue::Table,
    checksum::Checksum,
    failure::CopyFailure,
    value::{Holds, Row, Value},
};
use crate::database::{Engine, Target};

/// How many parameters a statement may have on both engines.
const PARAMETERS: usize = 30_000;

/// How many rows are written with one statement.
const ROWS: usize = 500;

/// `SQLITE_BUSY`.
const BUSY: i32 = 5;

/// How often is looked whether a database of PostgreSQL is in use.
const LOOKS: u32 = 20;

/// How long to wait between two looks.
const BETWEEN_LOOKS: Duration = Duration::from_millis(50);

/// One of the two databases: nobody else may use it until its transaction ends.
pub(super) struct Side {
    pub tx: Engine<Transaction<'static, Postgres>, Transaction<'static, Sqlite>>,
}

impl Side {
    /// Takes a database for itself; fails if somebody else has it open.
    pub async fn take(target: &Target) -> Result<Self, CopyFailure> {
        let tx = match target {
            Target::Postgres(server) => Engine::Postgres(take_postgres(server).await?),
            Target::Sqlite(file) => Engine::Sqlite(take_sqlite(file).await?),
        };
        Ok(Self { tx })
    }

    /// Gives it back unchanged.
    pub async fn release(self) -> sqlx::Result<()> {
        on_engine!(self.tx, tx => tx.rollback().await)
    }

    /// Keeps what was written.
    pub async fn commit(self) -> sqlx::Result<()> {
        on_engine!(self.tx, tx => tx.commit().await)
    }

    /// Whether a table holds nothing.
    pub async fn is_empty(&mut self, table: &Table) -> sqlx::Result<bool> {
        let text = format!("select not exists (select 1 from {})", table.quoted());
        on_engine!(&mut self.tx, tx => sqlx::query_scalar(AssertSqlSafe(text))
            .fetch_one(&mut **tx)
            .await)
    }

    /// A table that holds something, whatever the version of the schema.
    pub async fn first_filled(&mut self) -> sqlx::Result<Option<String>> {
        let names: Vec<String> = match &mut self.tx {
            Engine::Postgres(tx) => {
                sqlx::query_scalar(
                    "select relname::text
                     from pg_class
                     where relnamespace = current_schema()::regnamespace
                       and relkind in ('r', 'p') and relname <> '_sqlx_migrations'
                     order by relname",
                )
                .fetch_all(&mut **tx)
                .await?
            }
            Engine::Sqlite(tx) => {
                sqlx::query_scalar(
                    "select name
                     from sqlite_schema
                     where type = 'table' and name not like 'sqlite_%'
                       and name <> '_sqlx_migrations'
                     order by name",
                )
                .fetch_all(&mut **tx)
                .await?
            }
        };
        for name in names {
            let columns = Vec::new();
            let table = Table { name, columns };
            if !self.is_empty(&table).await? {
                return Ok(Some(table.name));
            }
        }
        Ok(None)
    }

    /// Gives all rows of a table to the other side; the checksum of what was read.
    pub async fn give(&mut self, table: &Table, other: &mut Self) -> sqlx::Result<Checksum> {
        let batch = ROWS.min(PARAMETERS / table.columns.len());
        let mut rows = Vec::with_capacity(batch);
        let mut given = Checksum::default();
        let text = select(table);
        on_engine!(&mut self.tx, tx => {
            let mut found = sqlx::query(AssertSqlSafe(text)).fetch(&mut **tx);
            while let Some(row) = found.try_next().await? {
                let values = read(table, &row.into())?;
                given.add(&values);
                rows.push(values);
                if rows.len() == batch {
                    other.write(table, &mut rows).await?;
                }
            }
        });
        other.write(table, &mut rows).await?;
        Ok(given)
    }

    /// The checksum of what a table holds.
    pub async fn checksum(&mut self, table: &Table) -> sqlx::Result<Checksum> {
        let mut held = Checksum::default();
        let text = select(table);
        on_engine!(&mut self.tx, tx => {
            let mut found = sqlx::query(AssertSqlSafe(text)).fetch(&mut **tx);
            while let Some(row) = found.try_next().await? {
                held.add(&read(table, &row.into())?);
            }
        });
        Ok(held)
    }

    /// Writes rows, and empties the list of them.
    async fn write(&mut self, table: &Table, rows: &mut Vec<Vec<Value>>) -> sqlx::Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        let start = format!("insert into {} ({}) ", table.quoted(), table.column_list());
        on_engine!(&mut self.tx, tx => {
            let mut insert = QueryBuilder::new(start);
            insert.push_values(rows.drain(..), |mut tuple, row| {
                for value in row {
                    value.push_to(&mut tuple);
                }
            });
            insert.build().execute(&mut **tx).await.map(drop)
        })
    }
}

fn select(table: &Table) -> String {
    format!("select {} from {}", table.column_list(), table.quoted())
}

fn read(table: &Table, row: &Row) -> sqlx::Result<Vec<Value>> {
    let columns = table.columns.iter().enumerate();
    columns
        .map(|(index, column)| column.kind.read(row, index))
        .collect()
}

async fn take_postgres(
    server: &PgConnectOptions,
) -> Result<Transaction<'static, Postgres>, CopyFailure> {
    // A copy takes as long as it takes.
    let patient = server
        .clone()
        .application_name("sluice-copy")
        .options([("statement_timeout", "0"), ("lock_timeout", "10s")])
        .options([("idle_in_transaction_session_timeout", "0")])
        .log_statements(tracing::log::LevelFilter::Debug);
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .connect_with(patient)
        .await?;

    if !comes_to_be_alone(&pool).await? {
        return Err(CopyFailure::InUse("PostgreSQL"));
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

/// Whether no other connection is left, or those that are there go away at once: a
/// backend ends a little later than its client.
async fn comes_to_be_alone(pool: &PgPool) -> sqlx::Result<bool> {
    for _ in 0..LOOKS {
        let others: i64 = sqlx::query_scalar(
            "select count(*) from pg_stat_activity
             where datname = current_database() and application_name like 'sluice%'
               and application_name <> 'sluice-copy'",
        )
        .fetch_one(pool)
        .await?;
        if others == 0 {
            return Ok(true);
        }
        sleep(BETWEEN_LOOKS).await;
    }
    Ok(false)
}

/// In exclusive mode SQLite opens a file only if no other process has it open.
async fn take_sqlite(file: &Path) -> Result<Transaction<'static, Sqlite>, CopyFailure> {
    let alone = SqliteConnectOptions::new()
        .filename(file)
        .foreign_keys(true)
        .busy_timeout(Duration::from_millis(200))
        .locking_mode(SqliteLockingMode::Exclusive)
        .journal_mode(SqliteJournalMode::Wal)
        .log_statements(tracing::log::LevelFilter::Debug);
    let pool = SqlitePoolOptions::new().max_connections(1);

    let begun = async {
        let pool = pool.connect_with(alone).await?;
        pool.begin_with("begin exclusive").await
    };
    begun.await.map_err(|fault| match is_busy(&fault) {
        true => CopyFailure::InUse("SQLite"),
        false => fault.into(),
    })
}

fn is_busy(fault: &sqlx::Error) -> bool {
    let code = fault.as_database_error().and_then(|cause| cause.code());
    code.and_then(|code| code.parse().ok())
        .is_some_and(|code: i32| code & 0xff == BUSY)
}
