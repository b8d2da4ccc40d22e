//! The state of a schema, read without a change.

use super::{
    Database, Pools,
    migrations::{self, check_pooler, missing},
};
use crate::error::Result;

/// How the schema of a database relates to this version of the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SchemaState {
    /// There is no schema.
    Missing,
    /// This number of migrations is missing.
    Outdated(usize),
    /// It is the schema of this version.
    Current,
}

impl Database {
    /// Reads the state of the schema. A file of SQLite must exist.
    ///
    /// Fails as a migration would: an error that only an operator can remedy, such as the schema
    /// of a later version, is an [`UnusableDatabase`](super::UnusableDatabase).
    pub async fn schema_state(&self) -> Result<SchemaState> {
        let state = self.read_schema_state().await;
        state.map_err(|error| self.start_error(error))
    }

    async fn read_schema_state(&self) -> Result<SchemaState> {
        let (exists, migrator) = match &self.pools {
            Pools::Postgres { writer, .. } => {
                check_pooler(writer.connector()).await?;
                (
                    "select to_regclass('_sqlx_migrations') is not null",
                    &migrations::POSTGRES,
                )
            }
            Pools::Sqlite { .. } => (
                "select exists (select 1 from sqlite_schema where name = '_sqlx_migrations')",
                &migrations::SQLITE,
            ),
        };
        let exists: bool = fetch_scalar!(self.reader(), exists, [])?;
        if !exists {
            return Ok(SchemaState::Missing);
        }
        let applied = fetch_all!(
            self.reader(),
            "select version, checksum, success from _sqlx_migrations",
            []
        )?;
        match missing(migrator, applied) {
            Ok(missing) if missing.is_empty() => Ok(SchemaState::Current),
            Ok(missing) => Ok(SchemaState::Outdated(missing.len())),
            Err(error) => Err(self.migration_error(error, migrator)),
        }
    }
}
