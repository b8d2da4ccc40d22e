use super::{
    catalogue::{self, Table},
    failure::CopyFailure,
    side::Side,
};
use crate::database::{Database, DatabaseOptions, Engine, Target};

/// A table that was copied, and how many rows it has.
#[derive(Debug, Clone)]
pub struct CopiedTable {
    /// Its name.
    pub name: String,
    /// Its rows.
    pub rows: u64,
}

/// Copies everything from one database into an empty one of the other engine.
///
/// Brings both schemas up to date first. Nobody else may use either database
/// meanwhile. The target changes in one transaction, which ends only when it holds
/// the same as the source: whatever fails, run it again.
pub async fn copy(
    from: &DatabaseOptions,
    to: &DatabaseOptions,
) -> Result<Vec<CopiedTable>, CopyFailure> {
    match (&from.target, &to.target) {
        (Target::Postgres(_), Target::Postgres(_)) => {
            return Err(CopyFailure::SameEngine("PostgreSQL"));
        }
        (Target::Sqlite(_), Target::Sqlite(_)) => return Err(CopyFailure::SameEngine("SQLite")),
        _ => {}
    }
    // Before anything is changed: is it there, does nobody use it, and is nothing in the way?
    Side::take(&from.target).await?.release().await?;
    if is_there(&to.target) {
        let mut target = Side::take(&to.target).await?;
        if let Some(table) = target.first_filled().await? {
            return Err(CopyFailure::NotEmpty(table));
        }
        target.release().await?;
    }
    migrate(from).await?;
    let mut source = Side::take(&from.target).await?;
    migrate(to).await?;
    let mut target = Side::take(&to.target).await?;

    let tables = tables(&mut source, &mut target).await?;
    for table in &tables {
        if !target.is_empty(table).await? {
            return Err(CopyFailure::NotEmpty(table.name.clone()));
        }
    }
    let mut copied = Vec::new();
    for table in tables {
        let given = source.give(&table, &mut target).await?;
        if target.checksum(&table).await? != given {
            return Err(CopyFailure::Differs(table.name));
        }
        copied.push(CopiedTable {
            name: table.name,
            rows: given.rows,
        });
    }
    target.commit().await?;
    // It is done, whatever becomes of the source's lock.
    let _ = source.release().await;
    Ok(copied)
}

/// Whether there is something that could be in the way.
fn is_there(target: &Target) -> bool {
    match target {
        Target::Postgres(_) => true,
        Target::Sqlite(file) => file.exists(),
    }
}

async fn migrate(options: &DatabaseOptions) -> Result<(), CopyFailure> {
    let database = Database::open(options);
    database.migrate().await?;
    database.close().await;
    Ok(())
}

async fn tables(one: &mut Side, other: &mut Side) -> Result<Vec<Table>, CopyFailure> {
    match (&mut one.tx, &mut other.tx) {
        (Engine::Postgres(postgres), Engine::Sqlite(sqlite))
        | (Engine::Sqlite(sqlite), Engine::Postgres(postgres)) => {
            catalogue::tables(postgres, sqlite).await
        }
        (Engine::Postgres(_), _) => Err(CopyFailure::SameEngine("PostgreSQL")),
        (Engine::Sqlite(_), _) => Err(CopyFailure::SameEngine("SQLite")),
    }
}
