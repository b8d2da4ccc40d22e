use sqlx::{postgres::PgRow, query_builder::Separated, sqlite::SqliteRow};
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

/// A value that can be bound on an engine.
pub(super) trait PushBind<DB: sqlx::Database> {
    /// Binds the value as the next parameter of a statement.
    fn push_to(self, tuple: &mut Separated<'_, DB, &'static str>);
}

impl<DB> PushBind<DB> for ColumnValue
where
    DB: sqlx::Database,
    Option<Uuid>: for<'q> sqlx::Encode<'q, DB> + sqlx::Type<DB>,
    Option<Time>: for<'q> sqlx::Encode<'q, DB> + sqlx::Type<DB>,
    Option<bool>: for<'q> sqlx::Encode<'q, DB> + sqlx::Type<DB>,
    Option<Vec<u8>>: for<'q> sqlx::Encode<'q, DB> + sqlx::Type<DB>,
    Option<String>: for<'q> sqlx::Encode<'q, DB> + sqlx::Type<DB>,
    Option<i64>: for<'q> sqlx::Encode<'q, DB> + sqlx::Type<DB>,
    Option<i32>: for<'q> sqlx::Encode<'q, DB> + sqlx::Type<DB>,
    Option<f64>: for<'q> sqlx::Encode<'q, DB> + sqlx::Type<DB>,
{
    fn push_to(self, tuple: &mut Separated<'_, DB, &'static str>) {
        match self {
            Self::Uuid(value) => tuple.push_bind(value),
            Self::Time(value) => tuple.push_bind(value),
            Self::Boolean(value) => tuple.push_bind(value),
            Self::Bytes(value) => tuple.push_bind(value),
            Self::Text(value) => tuple.push_bind(value),
            Self::Integer(value) => tuple.push_bind(value),
            Self::SmallInteger(value) => tuple.push_bind(value),
            Self::Real(value) => tuple.push_bind(value),
        };
    }
}
