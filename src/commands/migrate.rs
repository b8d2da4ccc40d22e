use std::fs;

use super::failure::Failure;
use crate::{config::Config, repositories::Database, telemetry};

/// Brings the database's schema up to date.
pub(super) fn run(config: &Config) -> Result<(), Failure> {
    config.check().map_err(Failure::Usage)?;
    telemetry::init(config)?;
    fs::create_dir_all(&config.data_dir)?;

    tokio::runtime::Runtime::new()?.block_on(async {
        let database = Database::open(&config.database());
        database.migrate().await?;
        database.close().await;
        tracing::info!(database = database.engine(), "the schema is up to date");
        Ok(())
    })
}
