//! Parts of SQL that many statements have in common.
//!
//! sqlx takes SQL only as `&'static str`, so that no input becomes part of a statement.
//! The parts are therefore macros, which `concat!` joins at compile time:
//! `concat!("select ", stream_columns!("s."), " from streams s where s.id = $1")`.

use sqlx::Row;

use crate::domain::{RequestOrigin, User};

/// A list of columns, each after a prefix: `columns!("s.": id, status)` is
/// `"s.id, s.status"`.
macro_rules! columns {
    ($prefix:literal: $first:ident $(, $other:ident)* $(,)?) => {
        concat!($prefix, stringify!($first) $(, ", ", $prefix, stringify!($other))*)
    };
}

/// The condition that the project `p` belongs to a tenant: to the user that `$user` binds,
/// whose account is not deleted, and to the projects of the API key that `$key` binds, unless
/// that is null.
macro_rules! owned_by {
    ($user:literal, $key:literal) => {
        concat!(
            "p.owner_id = ",
            $user,
            " and p.delete_time is null
             and exists (select 1 from users u where u.id = ",
            $user,
            " and u.delete_time is null) and (",
            $key,
            " is null or exists (
                select 1 from api_key_projects k
                where k.api_key_id = ",
            $key,
            " and k.project_id = p.id))"
        )
    };
}

/// A statement that locks the rows that it reads until the transaction ends. On SQLite
/// nothing else writes meanwhile.
macro_rules! for_share {
    ($tx:expr, $sql:literal) => {
        match $tx {
            $crate::database::Transaction::Postgres(_) => concat!($sql, " for share"),
            $crate::database::Transaction::Sqlite(_) => $sql,
        }
    };
}

/// The columns of [`User`], each after a prefix such as `"t."`.
macro_rules! user_columns {
    ($prefix:literal) => {
        $crate::repositories::sql::columns!(
            $prefix:
            id, email, email_verified, display_name, create_time, update_time
        )
    };
}
pub(crate) use {columns, for_share, owned_by, user_columns};

impl_from_row!(User: id, email, email_verified, display_name, create_time, update_time);

impl_from_row!(
    RequestOrigin:
    user_agent;
    |row|
    peer_address: row.try_get::<String, _>("peer_address")?.parse().ok(),
);
