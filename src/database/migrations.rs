//! Schema migrations, safe when several processes start at once.

use std::{
    collections::HashMap,
    fs::File,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::Context;
use sqlx::{
    ConnectOptions, Connection, Executor,
    migrate::{MigrateError, Migration, Migrator},
};
use sqlx_postgres::{PgConnection, Postgres};
use sqlx_sqlite::SqliteConnectOptions;
use tokio::time::timeout;

use super::{
    Database, Pool, Pools,
    postgres_connector::PostgresConnector,
    server_lock::unusable_lock,
    sqlite_file::CreateFileError,
    sqlite_writer::SqliteWriter,
    unusable::{Place, UnusableDatabase, undeclared_pooler},
};
use crate::error::{Error, Result, with_causes};

pub(super) static POSTGRES: Migrator = sqlx::migrate!("migrations/postgres");
pub(super) static SQLITE: Migrator = sqlx::migrate!("migrations/sqlite");

/// What the name of the lock file of migrations has more than that of the SQLite database.
const LOCK_SUFFIX: &str = ".lock";

/// Begins a transaction in which only one process migrates. Statements may take as long as
/// the migration of another process.
const BEGIN_MIGRATION: &str = "
    begin;
    set local statement_timeout = 0;
    set local lock_timeout = 0;
    set local idle_in_transaction_session_timeout = 0;
    select pg_advisory_xact_lock(x'736c75696365'::bigint);
    create table if not exists _sqlx_migrations (
        version bigint primary key,
        description text not null,
        installed_on timestamptz not null default now(),
        success boolean not null,
        checksum bytea not null,
        execution_time bigint not null
    )";

impl Database {
    /// Applies the missing migrations.
    ///
    /// Other processes wait meanwhile: on PostgreSQL for an advisory lock, on SQLite for
    /// a lock on a file beside the database.
    ///
    /// An error that only an operator can remedy is an [`UnusableDatabase`].
    pub async fn migrate(&self) -> Result<()> {
        let (migrated, migrator) = match &self.pools {
            Pools::Postgres { writer, .. } => (migrate_servers(writer).await?, &POSTGRES),
            Pools::Sqlite { writer, .. } => (migrate_file(writer).await?, &SQLITE),
        };
        migrated.map_err(|error| self.migration_error(error, migrator))
    }

    /// The error of a migration, as an [`UnusableDatabase`] if only an operator can remedy it.
    pub(super) fn migration_error(&self, error: MigrateError, migrator: &Migrator) -> Error {
        let newest = migrator.iter().map(|migration| migration.version).max();
        let place = self.place();
        place.explain_migration(error, newest.unwrap_or_default())
    }

    /// The error of a start, as an [`UnusableDatabase`] if only an operator can remedy it.
    pub fn start_error(&self, error: Error) -> Error {
        self.place().explain(error)
    }

    /// Whether a migration would create the file of SQLite. Fails like the migration if an
    /// existing database seems to be lost.
    pub fn needs_file(&self) -> Result<bool> {
        let Pools::Sqlite { writer, .. } = &self.pools else {
            return Ok(false);
        };
        let file = writer.file();
        let was_used = file.beside(LOCK_SUFFIX).exists();
        file.is_missing(was_used).map_err(|error| match error {
            CreateFileError::Lost(sentence) => UnusableDatabase::error(sentence),
            CreateFileError::Failed(error) => self.start_error(error.into()),
        })
    }

    fn place(&self) -> Place {
        match &self.pools {
            Pools::Postgres { writer, .. } => Place::Postgres {
                database: writer.connector().database().to_owned(),
                settings: *writer.connector().settings(),
            },
            Pools::Sqlite { writer, .. } => {
                Place::Sqlite(writer.connect_options().get_filename().to_owned())
            }
        }
    }
}

/// The inner error is that of a migration.
async fn migrate_servers(pool: &Pool<Postgres>) -> Result<Result<(), MigrateError>> {
    let connector = pool.connector();
    let mut connection = match connector.connect_without_limits().await {
        Ok(connection) => connection,
        Err(error) => return Ok(Err(error.into())),
    };
    refuse_undeclared_pooler(connector, &mut connection).await?;
    Ok(migrate_postgres(connection, pool.acquire_timeout()).await)
}

/// The inner error is that of a migration. Creates the file if it does not exist.
async fn migrate_file(writer: &SqliteWriter) -> Result<Result<(), MigrateError>> {
    let lock = writer.file().beside(LOCK_SUFFIX);
    let was_used = lock.exists();
    let _lock = lock_file(lock).await?;
    let options = writer.connect_options();
    Ok(
        match writer.file().create_if_missing(options, was_used).await {
            Ok(()) => migrate_sqlite(options, writer.acquire_timeout()).await,
            Err(CreateFileError::Lost(sentence)) => return Err(UnusableDatabase::error(sentence)),
            Err(CreateFileError::Failed(error)) => Err(error.into()),
        },
    )
}

/// Connects, and fails if there is certainly a pooler in transaction mode that no setting
/// declares.
pub(super) async fn check_pooler(connector: &PostgresConnector) -> Result<()> {
    let mut connection = connector.connect_without_limits().await?;
    refuse_undeclared_pooler(connector, &mut connection).await?;
    connection.close().await?;
    Ok(())
}

/// Fails if there is certainly a pooler in transaction mode that no setting declares. The
/// sessions of several connections would be mixed up.
async fn refuse_undeclared_pooler(
    connector: &PostgresConnector,
    connection: &mut PgConnection,
) -> Result<()> {
    if !connector.is_transaction_pooled() && connector.shares_backend(connection).await {
        let sentence = undeclared_pooler(connector.settings());
        return Err(UnusableDatabase::error(sentence));
    }
    Ok(())
}

async fn migrate_postgres(
    mut connection: PgConnection,
    close_timeout: Duration,
) -> Result<(), MigrateError> {
    let migrated = apply_to_postgres(&mut connection).await;
    // The migrations are committed, whether or not the server receives this.
    let _ = timeout(close_timeout, connection.close()).await;
    migrated
}

/// Applies the missing migrations in one transaction: a pooler may give the next one
/// another session, without the lock.
async fn apply_to_postgres(connection: &mut PgConnection) -> Result<(), MigrateError> {
    connection.execute(BEGIN_MIGRATION).await?;
    let applied = sqlx::query_as("select version, checksum, success from _sqlx_migrations")
        .persistent(false)
        .fetch_all(&mut *connection)
        .await?;
    for migration in missing(&POSTGRES, applied)? {
        apply(connection, migration).await?;
    }
    connection.execute("commit").await?;
    Ok(())
}

/// The migrations that are not applied. Fails if the applied ones are not those of a
/// migrator.
pub(super) fn missing(
    migrator: &'static Migrator,
    applied: Vec<(i64, Vec<u8>, bool)>,
) -> Result<Vec<&'static Migration>, MigrateError> {
    let known: HashMap<_, _> = migrator
        .iter()
        .map(|known| (known.version, known))
        .collect();
    let mut missing = known.clone();
    for (version, checksum, succeeded) in applied {
        let migration = known.get(&version);
        let migration = migration.ok_or(MigrateError::VersionMissing(version))?;
        if !succeeded {
            return Err(MigrateError::Dirty(version));
        }
        if *migration.checksum != *checksum {
            return Err(MigrateError::VersionMismatch(version));
        }
        missing.remove(&version);
    }
    let mut missing: Vec<_> = missing.into_values().collect();
    missing.sort_unstable();
    Ok(missing)
}

async fn apply(connection: &mut PgConnection, migration: &Migration) -> Result<(), MigrateError> {
    let start = Instant::now();
    connection
        .execute(migration.sql.clone())
        .await
        .map_err(|error| MigrateError::ExecuteMigration(error, migration.version))?;
    let nanoseconds = i64::try_from(start.elapsed().as_nanos()).unwrap_or(i64::MAX);
    sqlx::query(
        "insert into _sqlx_migrations (version, description, success, checksum, execution_time)
         values ($1, $2, true, $3, $4)",
    )
    .bind(migration.version)
    .bind(&*migration.description)
    .bind(&*migration.checksum)
    .bind(nanoseconds)
    .persistent(false)
    .execute(connection)
    .await?;
    Ok(())
}

/// A migration that writes a table anew drops the former one: without foreign keys this deletes no
/// rows of other tables. The setting cannot change in its transaction.
async fn migrate_sqlite(file: &SqliteConnectOptions, limit: Duration) -> Result<(), MigrateError> {
    let file = file.clone().foreign_keys(false);
    let connected = timeout(limit, file.connect()).await;
    let mut connection = connected.unwrap_or(Err(sqlx::Error::PoolTimedOut))?;
    let migrated = SQLITE.run_direct(None, &mut connection, false).await;
    connection.close().await?;
    migrated
}

/// Locks a file until it is dropped.
async fn lock_file(path: PathBuf) -> Result<File> {
    let locked = tokio::task::spawn_blocking(move || -> anyhow::Result<File> {
        let file = File::create(&path).with_context(|| unusable_lock("create", &path))?;
        file.lock().with_context(|| unusable_lock("lock", &path))?;
        Ok(file)
    });
    locked
        .await
        .map_err(Error::internal)?
        .map_err(|error| UnusableDatabase::error(with_causes(&*error)))
}
