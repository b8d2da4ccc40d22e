use std::collections::{BTreeMap, BTreeSet};

use sqlx::{PgConnection, SqliteConnection};

use super::{failure::CopyFailure, value::Kind};

/// A table as both engines have it.
pub(super) struct Table {
    pub name: String,
    pub columns: Vec<Column>,
}

/// A column of a table.
pub(super) struct Column {
    pub name: String,
    pub kind: Kind,
}

impl Table {
    /// The names of its columns, for a statement.
    pub fn column_list(&self) -> String {
        let names: Vec<_> = self.columns.iter().map(|one| quoted(&one.name)).collect();
        names.join(", ")
    }

    /// Its own name, for a statement.
    pub fn quoted(&self) -> String {
        quoted(&self.name)
    }
}

/// All tables of the two databases, referenced ones first. Asking both keeps a table
/// that only one of them has from being left behind.
pub(super) async fn tables(
    postgres: &mut PgConnection,
    sqlite: &mut SqliteConnection,
) -> Result<Vec<Table>, CopyFailure> {
    let typed = columns_of_postgres(postgres).await?;
    let names: BTreeSet<_> = typed
        .iter()
        .map(|(table, column, _)| (table.clone(), column.clone()))
        .collect();
    let others = columns_of_sqlite(sqlite).await?;
    if let Some((table, column)) = names.symmetric_difference(&others).next() {
        let fault = format!("only one of them has {table}.{column}");
        return Err(CopyFailure::Schema(fault));
    }

    let mut tables = BTreeMap::new();
    for (table, column, kind) in typed {
        let columns: &mut Vec<Column> = tables.entry(table).or_default();
        columns.push(Column { name: column, kind });
    }
    let references = references(postgres).await?;
    in_order(tables, &references)
}

async fn columns_of_postgres(
    connection: &mut PgConnection,
) -> Result<Vec<(String, String, Kind)>, CopyFailure> {
    let columns: Vec<(String, String, String)> = sqlx::query_as(
        "select c.relname::text, a.attname::text, format_type(a.atttypid, null)
         from pg_attribute a
         join pg_class c on c.oid = a.attrelid
         where c.relnamespace = current_schema()::regnamespace and c.relkind in ('r', 'p')
           and a.attnum > 0 and not a.attisdropped and c.relname <> '_sqlx_migrations'
         order by c.relname, a.attnum",
    )
    .fetch_all(connection)
    .await?;
    let typed = columns.into_iter().map(|(table, column, name)| {
        let kind = Kind::of_postgres(&name).ok_or_else(|| {
            CopyFailure::Schema(format!("{table}.{column} has the unknown type {name}"))
        })?;
        Ok((table, column, kind))
    });
    typed.collect()
}

async fn columns_of_sqlite(
    connection: &mut SqliteConnection,
) -> Result<BTreeSet<(String, String)>, CopyFailure> {
    let columns: Vec<(String, String)> = sqlx::query_as(
        "select m.name, c.name
         from sqlite_schema m, pragma_table_info(m.name) c
         where m.type = 'table' and m.name not like 'sqlite@_%' escape '@'
           and m.name <> '_sqlx_migrations'",
    )
    .fetch_all(connection)
    .await?;
    Ok(columns.into_iter().collect())
}

/// Which table references which.
async fn references(connection: &mut PgConnection) -> sqlx::Result<Vec<(String, String)>> {
    sqlx::query_as(
        "select f.relname::text, t.relname::text
         from pg_constraint c
         join pg_class f on f.oid = c.conrelid
         join pg_class t on t.oid = c.confrelid
         where c.contype = 'f' and f.relnamespace = current_schema()::regnamespace
           and f.oid <> t.oid",
    )
    .fetch_all(connection)
    .await
}

fn in_order(
    mut tables: BTreeMap<String, Vec<Column>>,
    references: &[(String, String)],
) -> Result<Vec<Table>, CopyFailure> {
    let mut ordered = Vec::new();
    while !tables.is_empty() {
        let free = tables.keys().find(|name| {
            let mut needs = references.iter().filter(|(from, _)| from == *name);
            needs.all(|(_, to)| !tables.contains_key(to))
        });
        let Some((name, columns)) = free.cloned().and_then(|name| tables.remove_entry(&name))
        else {
            let fault = "tables reference each other in a circle".to_owned();
            return Err(CopyFailure::Schema(fault));
        };
        ordered.push(Table { name, columns });
    }
    Ok(ordered)
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
