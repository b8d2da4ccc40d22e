//! The state of a schema, read without a change.

use std::borrow::Cow;

use sqlx::{FromRow, migrate::Migrator};

use super::{Database, Pools, migrations};
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
    /// A later version has migrated it.
    Newer,
    /// Another migration with this number was applied.
    Different(i64),
}

/// A migration that was applied.
#[derive(FromRow)]
struct Applied {
    version: i64,
    checksum: Vec<u8>,
    success: bool,
}

impl Database {
    /// Reads the state of the schema. A file of SQLite must exist.
    pub async fn schema_state(&self) -> Result<SchemaState> {
        let (exists, migrator) = match &self.pools {
            Pools::Postgres(_) => (
                "select to_regclass('_sqlx_migrations') is not null",
                &migrations::POSTGRES,
            ),
            Pools::Sqlite { .. } => (
                "select exists (select 1 from sqlite_schema where name = '_sqlx_migrations')",
                &migrations::SQLITE,
            ),
        };
        let exists: bool = fetch_scalar!(self.reader(), exists, [])?;
        if !exists {
            return Ok(SchemaState::Missing);
        }
        let applied: Vec<Applied> = fetch_all!(
            self.reader(),
            "select version, checksum, success from _sqlx_migrations order by version",
            []
        )?;
        Ok(compare(migrator, &applied))
    }
}

fn compare(migrator: &Migrator, applied: &[Applied]) -> SchemaState {
    let checksum = |version| {
        let mut migrations = migrator.iter();
        let found = migrations.find(|migration| migration.version == version);
        found.map(|migration: &sqlx::migrate::Migration| Cow::clone(&migration.checksum))
    };
    for one in applied {
        match checksum(one.version) {
            None => return SchemaState::Newer,
            Some(expected) if one.success && *expected != *one.checksum => {
                return SchemaState::Different(one.version);
            }
            Some(_) => {}
        }
    }
    let done = applied.iter().filter(|one| one.success).count();
    match migrator.iter().count() - done {
        0 => SchemaState::Current,
        missing => SchemaState::Outdated(missing),
    }
}
