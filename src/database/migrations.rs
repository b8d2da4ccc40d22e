//! Brings the schema up to date, safely when several processes start at once.

use std::{fs::File, path::Path, time::Duration};

use anyhow::Context;
use sqlx::{
    ConnectOptions, Connection, Error as Failure,
    migrate::{MigrateError, Migrator},
};
use tokio::time::timeout;

use super::{Database, Pools};
use crate::error::{Error, Result};

static POSTGRES: Migrator = sqlx::migrate!("migrations/postgres");
static SQLITE: Migrator = sqlx::migrate!("migrations/sqlite");

impl Database {
    /// Applies the migrations that are missing.
    ///
    /// On PostgreSQL an advisory lock, on SQLite a lock on a file beside the
    /// database makes other processes wait until it is done.
    pub async fn migrate(&self) -> Result<()> {
        let applied = match &self.pools {
            Pools::Postgres(pool) => {
                // Another process may migrate for longer than a call may wait.
                let patient = pool.address().clone();
                let patient = patient.options([("lock_timeout", "0"), ("statement_timeout", "0")]);
                let mut own = connect(&patient, pool.acquire_timeout()).await?;
                let applied = POSTGRES.run_direct(None, &mut own, false).await;
                // Whether the server hears the good-bye does not matter.
                let _ = timeout(pool.acquire_timeout(), own.close()).await;
                applied
            }
            Pools::Sqlite { writer, .. } => {
                let _lock = lock(writer.address().get_filename()).await?;
                let mut own = connect(writer.address(), writer.acquire_timeout()).await?;
                let applied = SQLITE.run_direct(None, &mut own, false).await;
                own.close().await?;
                applied
            }
        };
        applied.map_err(|fault| match fault {
            MigrateError::Execute(failure) | MigrateError::ExecuteMigration(failure, _) => {
                failure.into()
            }
            other => Error::internal(anyhow::Error::new(other).context("migration failed")),
        })
    }
}

async fn connect<O: ConnectOptions>(address: &O, limit: Duration) -> Result<O::Connection>
where
    O::Connection: Sized,
{
    let connected = timeout(limit, address.connect()).await;
    Ok(connected.unwrap_or(Err(Failure::PoolTimedOut))?)
}

/// Holds `<database>.lock` until it is dropped.
async fn lock(database: &Path) -> Result<File> {
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
