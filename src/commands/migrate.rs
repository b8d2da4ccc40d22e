use tokio::runtime::Runtime;

use super::{error::CommandError, serve::prepare};
use crate::{config::Config, database::Database};

/// Migrates the database to the current schema.
pub(super) fn run(config: &Config) -> Result<(), CommandError> {
    prepare(config)?;
    with_database(config, async |database| {
        tracing::info!(database = database.engine(), "the schema is up to date");
        Ok(())
    })
}

/// Runs a command on the migrated database.
pub(super) fn with_database<T>(
    config: &Config,
    command: impl AsyncFnOnce(&Database) -> Result<T, CommandError>,
) -> Result<T, CommandError> {
    Runtime::new()?.block_on(async {
        let database = Database::open(&config.database());
        database.migrate().await?;
        database.synchronize_clock().await?;
        let result = command(&database).await?;
        database.close().await;
        Ok(result)
    })
}
