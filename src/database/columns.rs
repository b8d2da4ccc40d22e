//! Conversions between domain types and columns.

use sqlx::{Database, Decode, Encode, Type, encode::IsNull, error::BoxDynError};
use uuid::Uuid;

use crate::domain::{EmailKind, Id, KeyPurpose, Platform, RefusalReason};

impl<T, DB: Database> Type<DB> for Id<T>
where
    Uuid: Type<DB>,
{
    fn type_info() -> DB::TypeInfo {
        <Uuid as Type<DB>>::type_info()
    }

    fn compatible(ty: &DB::TypeInfo) -> bool {
        <Uuid as Type<DB>>::compatible(ty)
    }
}

impl<'q, T, DB: Database> Encode<'q, DB> for Id<T>
where
    Uuid: Encode<'q, DB>,
{
    fn encode_by_ref(&self, buffer: &mut DB::ArgumentBuffer) -> Result<IsNull, BoxDynError> {
        self.uuid().encode_by_ref(buffer)
    }
}

impl<'r, T, DB: Database> Decode<'r, DB> for Id<T>
where
    Uuid: Decode<'r, DB>,
{
    fn decode(value: DB::ValueRef<'r>) -> Result<Self, BoxDynError> {
        Uuid::decode(value).map(Self::from)
    }
}

/// The parsed value of a column. An error if it could not be parsed (`None`).
pub(crate) fn decode_column<T>(column: &'static str, value: Option<T>) -> Result<T, sqlx::Error> {
    value.ok_or_else(|| sqlx::Error::ColumnDecode {
        index: column.to_owned(),
        source: "an unknown name".into(),
    })
}

/// Reads an enum from the column with its name.
macro_rules! impl_decode {
    ($($type:ident),+) => {$(
        impl<DB: Database> Type<DB> for $type
        where
            String: Type<DB>,
        {
            fn type_info() -> DB::TypeInfo {
                <String as Type<DB>>::type_info()
            }

            fn compatible(ty: &DB::TypeInfo) -> bool {
                <String as Type<DB>>::compatible(ty)
            }
        }

        impl<'r, DB: Database> Decode<'r, DB> for $type
        where
            String: Decode<'r, DB>,
        {
            fn decode(value: DB::ValueRef<'r>) -> Result<Self, BoxDynError> {
                let name = String::decode(value)?;
                Self::parse(&name).ok_or_else(|| "an unknown name".into())
            }
        }
    )+};
}
impl_decode!(EmailKind, KeyPurpose, Platform, RefusalReason);

/// Reads a domain type whose fields are columns: `impl_from_row!(User: id, email)`.
macro_rules! impl_from_row {
    ($type:ident: $($field:ident),+ $(,)?) => {
        impl_from_row!(sqlx::postgres::PgRow => $type: $($field),+);
        impl_from_row!(sqlx::sqlite::SqliteRow => $type: $($field),+);
    };
    ($row:ty => $type:ident: $($field:ident),+) => {
        impl sqlx::FromRow<'_, $row> for $type {
            fn from_row(row: &$row) -> sqlx::Result<Self> {
                Ok(Self {
                    $($field: sqlx::Row::try_get(row, stringify!($field))?),+
                })
            }
        }
    };
}
