use chrono::{DateTime, Utc};
use sqlx::{postgres::PgRow, query_builder::Separated, sqlite::SqliteRow};
use uuid::Uuid;

use crate::database::Engine;

/// What a column holds. Named by PostgreSQL, whose types tell more apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Uuid,
    Time,
    Boolean,
    Bytes,
    Text,
    Integer,
    SmallInteger,
    Real,
}

/// What stands in a column of a row, the same on either engine. Times are bound as
/// the repositories bind them, so that they read and sort alike.
pub(super) enum Value {
    Uuid(Option<Uuid>),
    Time(Option<DateTime<Utc>>),
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

impl Kind {
    /// The kind of a type of PostgreSQL; none if there is no counterpart on SQLite.
    pub fn of_postgres(name: &str) -> Option<Self> {
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

    /// Reads the value of this kind in a column of a row.
    pub fn read(self, row: &Row, index: usize) -> sqlx::Result<Value> {
        use sqlx::Row as _;
        on_engine!(row, row => Ok(match self {
            Self::Uuid => Value::Uuid(row.try_get(index)?),
            Self::Time => Value::Time(row.try_get(index)?),
            Self::Boolean => Value::Boolean(row.try_get(index)?),
            Self::Bytes => Value::Bytes(row.try_get(index)?),
            Self::Text => Value::Text(row.try_get(index)?),
            Self::Integer => Value::Integer(row.try_get(index)?),
            Self::SmallInteger => Value::SmallInteger(row.try_get(index)?),
            Self::Real => Value::Real(row.try_get(index)?),
        }))
    }
}

/// What both engines can hold of each kind.
pub(super) trait Holds<DB: sqlx::Database> {
    /// Makes the value the next parameter of a statement.
    fn push_to(self, tuple: &mut Separated<'_, DB, &'static str>);
}

impl<DB> Holds<DB> for Value
where
    DB: sqlx::Database,
    Option<Uuid>: for<'q> sqlx::Encode<'q, DB> + sqlx::Type<DB>,
    Option<DateTime<Utc>>: for<'q> sqlx::Encode<'q, DB> + sqlx::Type<DB>,
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
