use super::{
    catalogue::{self, Table},
    error::CopyError,
    locked_database::LockedDatabase,
};
use crate::database::{Database, DatabaseOptions, Engine, Target};

/// A copied table.
#[derive(Debug, Clone)]
pub struct CopiedTable {
    /// The name of the table.
    pub name: String,
    /// The number of rows.
    pub rows: u64,
}

/// Copies a database into an empty one of the other engine.
///
/// Migrates both schemas first. No other process may use either database meanwhile. The
/// target changes in one transaction, which commits only if its rows equal those of the
/// source. So after any failure the copy can be run again. `progress` is called for each batch, with
/// the table and the number of its rows so far.
pub async fn copy(
    from: &DatabaseOptions,
    to: &DatabaseOptions,
    mut progress: impl FnMut(&str, u64),
) -> Result<Vec<CopiedTable>, CopyError> {
    match (&from.target, &to.target) {
        (Target::Postgres(_), Target::Postgres(_)) => {
            return Err(CopyError::SameEngine("PostgreSQL"));
        }
        (Target::Sqlite(_), Target::Sqlite(_)) => return Err(CopyError::SameEngine("SQLite")),
        _ => {}
    }
    // Check before any change that both databases are unused and the target is empty.
    LockedDatabase::lock(&from.target).await?.rollback().await?;
    if may_have_rows(&to.target) {
        let mut target = LockedDatabase::lock(&to.target).await?;
        if let Some(table) = target.first_table_with_rows().await? {
            return Err(CopyError::NotEmpty(table));
        }
        target.rollback().await?;
    }
    migrate(from).await?;
    let mut source = LockedDatabase::lock(&from.target).await?;
    migrate(to).await?;
    let mut target = LockedDatabase::lock(&to.target).await?;

    let tables = tables(&mut source, &mut target).await?;
    for table in &tables {
        if !target.is_empty(table).await? {
            return Err(CopyError::NotEmpty(table.name.clone()));
        }
    }
    let mut copied = Vec::new();
    for table in tables {
        let mut rows_so_far = |rows| progress(&table.name, rows);
        let read = source.copy_rows(&table, &mut target, &mut rows_so_far);
        let read = read.await?;
        if target.checksum(&table).await? != read {
            return Err(CopyError::Differs(table.name));
        }
        copied.push(CopiedTable {
            name: table.name,
            rows: read.rows,
        });
    }
    target.commit().await?;
    // The copy is committed, even if the source cannot be unlocked.
    let _ = source.rollback().await;
    Ok(copied)
}

fn may_have_rows(target: &Target) -> bool {
    match target {
        Target::Postgres(_) => true,
        Target::Sqlite(file) => file.exists(),
    }
}

async fn migrate(options: &DatabaseOptions) -> Result<(), CopyError> {
    let database = Database::open(options);
    database.migrate().await?;
    database.close().await;
    Ok(())
}

async fn tables(
    source: &mut LockedDatabase,
    target: &mut LockedDatabase,
) -> Result<Vec<Table>, CopyError> {
    match (&mut source.tx, &mut target.tx) {
        (Engine::Postgres(postgres), Engine::Sqlite(sqlite))
        | (Engine::Sqlite(sqlite), Engine::Postgres(postgres)) => {
            catalogue::tables(postgres, sqlite).await
        }
        (Engine::Postgres(_), _) => Err(CopyError::SameEngine("PostgreSQL")),
        (Engine::Sqlite(_), _) => Err(CopyError::SameEngine("SQLite")),
    }
}
