//! Schema migrations, safe when several processes start at once.

use std::{fs::File, path::Path, time::Duration};

use anyhow::Context;
use sqlx::{
    ConnectOptions, Connection,
    migrate::{MigrateError, Migrator},
};
use tokio::time::timeout;

use super::{Database, Pools};
use crate::error::{Error, Result};

pub(super) static POSTGRES: Migrator = sqlx::migrate!("migrations/postgres");
pub(super) static SQLITE: Migrator = sqlx::migrate!("migrations/sqlite");

impl Database {
    /// Applies the missing migrations.
    ///
    /// Other processes wait meanwhile: on PostgreSQL for an advisory lock, on SQLite for
    /// a lock on a file beside the database.
    pub async fn migrate(&self) -> Result<()> {
        let migrated = match &self.pools {
            Pools::Postgres(pool) => {
                // A migration of another process may take longer than these timeouts.
                let options = pool.connect_options().clone();
                let options = options.options([("lock_timeout", "0"), ("statement_timeout", "0")]);
                let mut connection = connect(&options, pool.acquire_timeout()).await?;
                let migrated = POSTGRES.run_direct(None, &mut connection, false).await;
                // The migrations are committed, whether or not the server receives this.
                let _ = timeout(pool.acquire_timeout(), connection.close()).await;
                migrated
            }
            Pools::Sqlite { writer, .. } => {
                let _lock = lock_file(writer.connect_options().get_filename()).await?;
                let options = writer.connect_options().clone().create_if_missing(true);
                let mut connection = connect(&options, writer.acquire_timeout()).await?;
                let migrated = SQLITE.run_direct(None, &mut connection, false).await;
                connection.close().await?;
                migrated
            }
        };
        migrated.map_err(|error| match error {
            MigrateError::Execute(cause) | MigrateError::ExecuteMigration(cause, _) => cause.into(),
            other => Error::internal(anyhow::Error::new(other).context("migration failed")),
        })
    }
}

async fn connect<O: ConnectOptions>(options: &O, limit: Duration) -> Result<O::Connection>
where
    O::Connection: Sized,
{
    let connected = timeout(limit, options.connect()).await;
    Ok(connected.unwrap_or(Err(sqlx::Error::PoolTimedOut))?)
}

/// Locks `<database>.lock` until the returned file is dropped.
async fn lock_file(database: &Path) -> Result<File> {
    let mut path = database.as_os_str().to_owned();
    path.push(".lock");

    let locked = tokio::task::spawn_blocking(move || -> anyhow::Result<File> {
        let file =
            File::create(&path).context("cannot create the lock file beside the database")?;
        file.lock()
            .context("cannot lock the file beside the database")?;
        Ok(file)
    });
    locked
        .await
        .map_err(Error::internal)?
        .map_err(Error::internal)
}
