use std::path::absolute;

use anyhow::{Context, bail};
use tokio::runtime::Runtime;

use super::{
    error::CommandError,
    serve::{create_data_directory, prepare},
};
use crate::{
    config::{Config, Resolved},
    database::{Database, SchemaState, Target},
};

/// Migrates the database to the current schema.
pub(super) fn run(settings: &Resolved<Config>) -> Result<(), CommandError> {
    prepare(settings)?;
    create_data_directory(&settings.config)?;
    Runtime::new()?.block_on(async {
        let database = Database::open(&settings.config.database());
        database.migrate().await?;
        tracing::info!(database = database.engine(), "the schema is up to date");
        database.close().await;
        Ok(())
    })
}

/// Runs a command on the database of a server. It is neither created nor migrated: a database that
/// no server knows would be the effect of a wrong setting.
pub(super) fn with_database<T>(
    config: &Config,
    command: impl AsyncFnOnce(&Database) -> Result<T, CommandError>,
) -> Result<T, CommandError> {
    require_database(config)?;
    Runtime::new()?.block_on(async {
        let database = Database::open(&config.database());
        require_schema(config, database.schema_state().await?)?;
        database.synchronize_clock().await?;
        let result = command(&database).await?;
        database.close().await;
        Ok(result)
    })
}

/// Fails if the database is a file of SQLite that does not exist.
pub(super) fn require_database(config: &Config) -> anyhow::Result<()> {
    let Target::Sqlite(file) = config.database().target else {
        return Ok(());
    };
    let (variable, shown) = (config.database_variable(), absolute(&file).unwrap_or(file));
    let exists = shown.try_exists();
    let exists = exists.with_context(|| format!("cannot read {} ({variable})", shown.display()))?;
    match exists {
        true => Ok(()),
        false => bail!(
            "there is no database {} ({variable}): use the settings of the server; only `sluice \
             serve` and `sluice migrate` create a database",
            shown.display()
        ),
    }
}

/// Fails if the schema is not that of this version.
fn require_schema(config: &Config, state: SchemaState) -> anyhow::Result<()> {
    let variable = config.database_variable();
    match state {
        SchemaState::Current => Ok(()),
        SchemaState::Missing => bail!(
            "the database of {variable} is empty: use the settings of the server; only `sluice \
             serve` and `sluice migrate` create a schema"
        ),
        SchemaState::Outdated(_) => bail!("the database of {variable} {}", describe(state)),
    }
}

/// The state of a schema, and the remedy if one is needed.
pub(super) fn describe(state: SchemaState) -> String {
    match state {
        SchemaState::Missing => "has no schema yet".to_owned(),
        SchemaState::Current => "has the schema of this version".to_owned(),
        SchemaState::Outdated(missing) => {
            format!("lacks {missing} migrations: run `sluice migrate`")
        }
    }
}
