//! Conversions between domain types and columns.

use std::time::Duration;

use sqlx::{Database, Decode, Encode, Type, encode::IsNull, error::BoxDynError};
use uuid::Uuid;

use crate::domain::{
    EmailKind, EndReason, Id, IngestProtocol, KeyPurpose, NodeId, OutagePolicy, Platform,
    PublishConflictPolicy, ReconnectWindow, RefusalReason, RelayState, Role, Scopes, StreamState,
    WebhookDeliveryState, WebhookDisableReason, WebhookEventTypes,
};

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

/// Reads domain types from a column of another type, with a function that parses it.
macro_rules! impl_decode {
    ($column:ty => $parse:expr; $($type:ident),+ $(,)?) => {$(
        impl<DB: Database> Type<DB> for $type
        where
            $column: Type<DB>,
        {
            fn type_info() -> DB::TypeInfo {
                <$column as Type<DB>>::type_info()
            }

            fn compatible(ty: &DB::TypeInfo) -> bool {
                <$column as Type<DB>>::compatible(ty)
            }
        }

        impl<'r, DB: Database> Decode<'r, DB> for $type
        where
            $column: Decode<'r, DB>,
        {
            fn decode(value: DB::ValueRef<'r>) -> Result<Self, BoxDynError> {
                let parse: fn($column) -> Option<Self> = $parse;
                parse(<$column>::decode(value)?).ok_or_else(|| "an unknown name".into())
            }
        }
    )+};
}
impl_decode!(
    String => |name| Self::parse(&name);
    EmailKind, EndReason, IngestProtocol, KeyPurpose, OutagePolicy, Platform,
    PublishConflictPolicy, RefusalReason, RelayState, Role, StreamState, WebhookDeliveryState,
    WebhookDisableReason,
);
impl_decode!(String => |text| Self::parse(&text).ok(); NodeId);
impl_decode!(String => |names| Some(Self::from_claim(&names)); Scopes);
impl_decode!(String => |names| Some(Self::from_column(&names)); WebhookEventTypes);
impl_decode!(i64 => parse_window; ReconnectWindow);

fn parse_window(millis: i64) -> Option<ReconnectWindow> {
    let window = Duration::from_millis(u64::try_from(millis).ok()?);
    ReconnectWindow::parse(window).ok()
}

/// Reads a domain type from a row: `impl_from_row!(Session: id, user_id)`. Fields that are
/// not a column of their name follow as expressions:
/// `impl_from_row!(Session: id, user_id; |row| origin: RequestOrigin::from_row(row)?)`.
macro_rules! impl_from_row {
    (@ $row_type:ty => $type:ident: $($field:ident),+ $(,)?
     $(; |$row:ident| $($other:ident: $value:expr),+ $(,)?)?) => {
        impl sqlx::FromRow<'_, $row_type> for $type {
            fn from_row(row: &$row_type) -> sqlx::Result<Self> {
                $(let $row = row;)?
                Ok(Self {
                    $($field: sqlx::Row::try_get(row, stringify!($field))?,)+
                    $($($other: $value),+)?
                })
            }
        }
    };
    ($type:ident: $($fields:tt)+) => {
        impl_from_row!(@ sqlx_postgres::PgRow => $type: $($fields)+);
        impl_from_row!(@ sqlx_sqlite::SqliteRow => $type: $($fields)+);
    };
}
