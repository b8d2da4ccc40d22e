//! Brings the schema up to date, safely when several processes start at once.

use std::{fs::File, path::Path};

use anyhow::Context;
use sqlx::{
    migrate::{MigrateError, Migrator},
    postgres::PgPoolOptions,
};

use super::{Database, engine::Pools};
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
                let patient = (*pool.connect_options())
                    .clone()
                    .options([("lock_timeout", "0"), ("statement_timeout", "0")]);
                let own = PgPoolOptions::new()
                    .max_connections(1)
                    .acquire_timeout(pool.options().get_acquire_timeout())
                    .connect_lazy_with(patient);
                let applied = POSTGRES.run(&own).await;
                own.close().await;
                applied
            }
            Pools::Sqlite { writer, .. } => {
                let options = writer.connect_options();
                let _lock = lock(options.get_filename()).await?;
                SQLITE.run(writer).await
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
