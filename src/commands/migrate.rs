use super::{failure::Failure, serve::prepare};
use crate::{config::Config, database::Database};

/// Brings the database's schema up to date.
pub(super) fn run(config: &Config) -> Result<(), Failure> {
    prepare(config)?;

    tokio::runtime::Runtime::new()?.block_on(async {
        let database = Database::open(&config.database());
        database.migrate().await?;
        database.close().await;
        tracing::info!(database = database.engine(), "the schema is up to date");
        Ok(())
    })
}
