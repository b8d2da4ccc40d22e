use super::{error::CommandError, serve::prepare};
use crate::{config::Config, database::Database};

/// Migrates the database to the current schema.
pub(super) fn run(config: &Config) -> Result<(), CommandError> {
    prepare(config)?;

    tokio::runtime::Runtime::new()?.block_on(async {
        let database = Database::open(&config.database());
        database.migrate().await?;
        database.close().await;
        tracing::info!(database = database.engine(), "the schema is up to date");
        Ok(())
    })
}
