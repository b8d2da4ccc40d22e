use ring::digest::{Context, SHA256};
use sqlx_postgres::PgRow;
use sqlx_sqlite::SqliteRow;
use uuid::Uuid;

use crate::{database::Engine, domain::Time};

/// The type of a column; PostgreSQL has more of them than SQLite.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ColumnType {
    Uuid,
    Time,
    Boolean,
    Bytes,
    Text,
    Integer,
    SmallInteger,
    Real,
}

/// The value of a column of a row on either engine. Times are bound as the repositories
/// bind them, so that they read and sort the same.
pub(super) enum ColumnValue {
    Uuid(Option<Uuid>),
    Time(Option<Time>),
    Boolean(Option<bool>),
    Bytes(Option<Vec<u8>>),
    Text(Option<String>),
    Integer(Option<i64>),
    SmallInteger(Option<i32>),
    Real(Option<f64>),
}

/// A row of either engine.
pub(super) type Row = Engine<PgRow, SqliteRow>;

impl From<PgRow> for Row {
    fn from(row: PgRow) -> Self {
        Self::Postgres(row)
    }
}

impl From<SqliteRow> for Row {
    fn from(row: SqliteRow) -> Self {
        Self::Sqlite(row)
    }
}

impl ColumnType {
    /// The type with this name in PostgreSQL. `None` if SQLite has no counterpart.
    pub fn from_postgres(name: &str) -> Option<Self> {
        Some(match name {
            "uuid" => Self::Uuid,
            "timestamp with time zone" => Self::Time,
            "boolean" => Self::Boolean,
            "bytea" => Self::Bytes,
            "text" => Self::Text,
            "bigint" => Self::Integer,
            "integer" => Self::SmallInteger,
            "double precision" => Self::Real,
            _ => return None,
        })
    }

    /// Reads a column of this type from a row.
    pub fn read(self, row: &Row, index: usize) -> sqlx::Result<ColumnValue> {
        use sqlx::Row as _;
        on_engine!(row, row => Ok(match self {
            Self::Uuid => ColumnValue::Uuid(row.try_get(index)?),
            Self::Time => ColumnValue::Time(row.try_get(index)?),
            Self::Boolean => ColumnValue::Boolean(row.try_get(index)?),
            Self::Bytes => ColumnValue::Bytes(row.try_get(index)?),
            Self::Text => ColumnValue::Text(row.try_get(index)?),
            Self::Integer => ColumnValue::Integer(row.try_get(index)?),
            Self::SmallInteger => ColumnValue::SmallInteger(row.try_get(index)?),
            Self::Real => ColumnValue::Real(row.try_get(index)?),
        }))
    }
}

/// The number of rows of a table, and a checksum of them. It does not depend on the order
/// of the rows, because the engines sort text differently.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Checksum {
    pub rows: u64,
    sum: u128,
}

impl Checksum {
    /// Adds a row.
    pub fn add(&mut self, row: &[ColumnValue]) {
        let mut context = Context::new(&SHA256);
        for value in row {
            digest(value, &mut context);
        }
        let digest = context.finish();
        let mut half = [0; 16];
        half.copy_from_slice(&digest.as_ref()[..16]);

        self.rows += 1;
        self.sum = self.sum.wrapping_add(u128::from_le_bytes(half));
    }
}

/// Adds a value.
fn digest(value: &ColumnValue, context: &mut Context) {
    match value {
        ColumnValue::Uuid(value) => add(value.as_ref(), context),
        ColumnValue::Time(value) => {
            add(
                value.map(|time| time.timestamp_micros().to_le_bytes()),
                context,
            );
        }
        ColumnValue::Boolean(value) => add(value.map(|yes| [u8::from(yes)]), context),
        ColumnValue::Bytes(value) => add(value.as_ref(), context),
        ColumnValue::Text(value) => add(value.as_ref(), context),
        ColumnValue::Integer(value) => add(value.map(i64::to_le_bytes), context),
        ColumnValue::SmallInteger(value) => add(value.map(i32::to_le_bytes), context),
        ColumnValue::Real(value) => add(value.map(f64::to_le_bytes), context),
    }
}

/// Adds bytes after their length, so that different rows have different digests.
fn add(bytes: Option<impl AsRef<[u8]>>, context: &mut Context) {
    match bytes {
        None => context.update(&u64::MAX.to_le_bytes()),
        Some(bytes) => {
            context.update(&(bytes.as_ref().len() as u64).to_le_bytes());
            context.update(bytes.as_ref());
        }
    }
}
