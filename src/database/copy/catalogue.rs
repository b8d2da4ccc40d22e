use std::collections::{BTreeMap, BTreeSet};

use sqlx_postgres::PgConnection;
use sqlx_sqlite::SqliteConnection;

use super::{error::CopyError, value::ColumnType};

/// A table that both databases have.
pub(super) struct Table {
    pub name: String,
    pub columns: Vec<Column>,
}

/// A column of a table.
pub(super) struct Column {
    pub name: String,
    pub column_type: ColumnType,
}

impl Table {
    /// The quoted names of the columns, separated by commas.
    pub fn column_list(&self) -> String {
        let names: Vec<_> = self.columns.iter().map(|one| quoted(&one.name)).collect();
        names.join(", ")
    }

    /// The quoted name.
    pub fn quoted(&self) -> String {
        quoted(&self.name)
    }
}

/// All tables of the two databases, referenced tables first. Fails if only one of the
/// databases has a table, which would not be copied.
pub(super) async fn tables(
    postgres: &mut PgConnection,
    sqlite: &mut SqliteConnection,
) -> Result<Vec<Table>, CopyError> {
    let typed = postgres_columns(postgres).await?;
    let names: BTreeSet<_> = typed
        .iter()
        .map(|(table, column, _)| (table.clone(), column.clone()))
        .collect();
    let others = sqlite_columns(sqlite).await?;
    if let Some((table, column)) = names.symmetric_difference(&others).next() {
        let difference = format!("only one of them has {table}.{column}");
        return Err(CopyError::Schema(difference));
    }

    let mut tables = BTreeMap::new();
    for (table, name, column_type) in typed {
        let columns: &mut Vec<Column> = tables.entry(table).or_default();
        columns.push(Column { name, column_type });
    }
    let references = references(postgres).await?;
    sort_by_reference(tables, &references)
}

async fn postgres_columns(
    connection: &mut PgConnection,
) -> Result<Vec<(String, String, ColumnType)>, CopyError> {
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
        let column_type = ColumnType::from_postgres(&name).ok_or_else(|| {
            CopyError::Schema(format!("{table}.{column} has the unknown type {name}"))
        })?;
        Ok((table, column, column_type))
    });
    typed.collect()
}

async fn sqlite_columns(
    connection: &mut SqliteConnection,
) -> Result<BTreeSet<(String, String)>, CopyError> {
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

/// The pairs of a referencing and a referenced table.
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

/// Puts each table after those that it references.
fn sort_by_reference(
    mut tables: BTreeMap<String, Vec<Column>>,
    references: &[(String, String)],
) -> Result<Vec<Table>, CopyError> {
    let mut sorted = Vec::new();
    while !tables.is_empty() {
        let free = tables.keys().find(|name| {
            let mut needs = references.iter().filter(|(from, _)| from == *name);
            needs.all(|(_, to)| !tables.contains_key(to))
        });
        let Some((name, columns)) = free.cloned().and_then(|name| tables.remove_entry(&name))
        else {
            let cycle = "tables reference each other in a circle".to_owned();
            return Err(CopyError::Schema(cycle));
        };
        sorted.push(Table { name, columns });
    }
    Ok(sorted)
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
