//! Parts of SQL that many statements have in common.
//!
//! sqlx takes SQL only as `&'static str`, so that no input becomes part of a statement.
//! The parts are therefore macros, which `concat!` joins at compile time:
//! `concat!("select ", stream_columns!("s."), " from streams s where s.id = $1")`.

use serde::{Serialize, de::DeserializeOwned};
use sqlx::Row;

use crate::{
    domain::{Id, RequestOrigin, Role, Standing, Tenant, User},
    error::{Error, Result},
};

/// A list of columns, each after a prefix: `columns!("s.": id, status)` is
/// `"s.id, s.status"`.
macro_rules! columns {
    ($prefix:literal: $first:ident $(, $other:ident)* $(,)?) => {
        concat!($prefix, stringify!($first) $(, ", ", $prefix, stringify!($other))*)
    };
}

/// Whether a user has a second factor: a confirmed authenticator or a passkey.
macro_rules! has_second_factor {
    ($user:literal) => {
        concat!(
            "(exists (select 1
                      from second_factors f
                      where f.user_id = ",
            $user,
            " and f.confirm_time is not null)
              or exists (select 1 from passkeys k where k.user_id = ",
            $user,
            "))"
        )
    };
}

/// The condition that an organization, of which `$required` is the column, requires a second factor
/// that the user does not have.
macro_rules! lacks_second_factor {
    ($required:literal, $user:literal) => {
        concat!(
            "(",
            $required,
            " and not ",
            $crate::repositories::sql::has_second_factor!($user),
            ")"
        )
    };
}

/// The condition that a user is a member of an organization, with one of the roles that `$roles`
/// binds ([`Tenant::roles`]). Nobody is a member of a deleted organization, nor is a deleted user. In
/// a suspended organization, and for a member who lacks a second factor, the name of a role has a
/// prefix, which only [`Tenant::with_standing`] searches for. The organization is a value and not a
/// table to be joined, so that every plan looks it up.
macro_rules! is_member {
    ($organization:literal, $user:literal, $roles:literal) => {
        concat!(
            "exists (
                select 1 from memberships m
                where m.organization_id = ",
            $organization,
            " and m.user_id = ",
            $user,
            " and ",
            $roles,
            " like '%' || coalesce((
                    select case when mo.suspend_time is not null then 'suspended '
                                when ",
            $crate::repositories::sql::lacks_second_factor!(
                "mo.require_second_factor",
                "m.user_id"
            ),
            "                    then 'unprotected ' end
                    from organizations mo
                    where mo.id = m.organization_id), '') || m.role || '%')"
        )
    };
}

/// The condition that the API key that `$key` binds, unless it is null, is one of an organization.
macro_rules! key_belongs_to {
    ($organization:literal, $key:literal) => {
        concat!(
            "(",
            $key,
            " is null or exists (
                select 1 from api_keys k
                where k.id = ",
            $key,
            " and coalesce(k.organization_id, k.user_id) = ",
            $organization,
            "))"
        )
    };
}

/// The condition that a tenant may access the project `p`: the user that `$user` binds is a member
/// of its organization with one of the roles that `$roles` binds. Unless it is null, the API key
/// that `$key` binds is one of this organization, and not restricted to other projects.
macro_rules! owned_by {
    ($user:literal, $key:literal, $roles:literal) => {
        concat!(
            "p.delete_time is null and ",
            $crate::repositories::sql::is_member!("p.owner_id", $user, $roles),
            " and (",
            $key,
            " is null or exists (
                select 1 from api_keys k
                where k.id = ",
            $key,
            " and coalesce(k.organization_id, k.user_id) = p.owner_id
                  and (not k.restricted or exists (
                    select 1 from api_key_projects r
                    where r.api_key_id = k.id and r.project_id = p.id))))"
        )
    };
}

/// The same for all projects of one organization, for lists.
macro_rules! owned_in {
    ($organization:literal, $user:literal, $key:literal, $roles:literal) => {
        concat!(
            "p.owner_id = ",
            $organization,
            " and p.delete_time is null and ",
            $crate::repositories::sql::is_member!($organization, $user, $roles),
            " and (",
            $key,
            " is null or exists (
                select 1 from api_keys k
                where k.id = ",
            $key,
            " and coalesce(k.organization_id, k.user_id) = ",
            $organization,
            " and (not k.restricted or exists (
                    select 1 from api_key_projects r
                    where r.api_key_id = k.id and r.project_id = p.id))))"
        )
    };
}

/// The error of a call that has found nothing with the role that it requires: `RoleInsufficient` if a
/// member with a lower role sees what it concerns, or what keeps members from seeing it
/// ([`hindered_readers`]), else `NotFound`. `$is_visible` is a result: whether the tenant `$reader`
/// sees it.
macro_rules! refusal {
    ($tenant:expr, $noun:expr, $id:expr, $reader:ident => $is_visible:expr $(,)?) => {{
        let mut refusal = $crate::error::Error::not_found($noun, $id);
        for (reason, $reader) in $crate::repositories::sql::refused_readers($tenant) {
            match ($is_visible, reason) {
                // Whatever the reason is, it is not visible.
                (Ok(false), None) => break,
                (Ok(false), Some(_)) | (Ok(true), None) => {}
                (Ok(true), Some(reason)) => {
                    refusal = reason;
                    break;
                }
                (Err(error), _) => {
                    refusal = error;
                    break;
                }
            }
        }
        refusal
    }};
}

/// Who could see what a call has not found, each with the error of the call if they do. The first one
/// stands for all.
pub(crate) fn refused_readers(tenant: Tenant) -> impl Iterator<Item = (Option<Error>, Tenant)> {
    let role = tenant.role;
    let of_lower_role = (
        Error::RoleInsufficient(role),
        tenant.requiring(Role::Viewer),
    );
    let reasons = [of_lower_role].into_iter().chain(hindered_readers(tenant));
    let any = (None, tenant.with_standing(Standing::Any));
    [any]
        .into_iter()
        .chain(reasons.map(|(error, reader)| (Some(error), reader)))
}

/// The members whom something keeps from using their organization, each with the error of their
/// calls.
pub(crate) fn hindered_readers(tenant: Tenant) -> [(Error, Tenant); 2] {
    [
        (Error::OrganizationSuspended, Standing::Suspended),
        (Error::SecondFactorMissing, Standing::Unprotected),
    ]
    .map(|(error, standing)| (error, tenant.with_standing(standing)))
}

/// Reads the rows of a statement with a column that must be one of many ids, which are `$1`:
/// `fetch_all_in!(tx, ["select … where p.id"], ids, [" and p.name = $2"], [name])`.
macro_rules! fetch_all_in {
    (
        $target:expr, [$($before:tt)+], $ids:expr, [$($after:tt)*],
        [$($argument:expr),* $(,)?] $(,)?
    ) => {{
        let fetched = match $target.executor() {
            $crate::database::Engine::Postgres(executor) => {
                let ids: Vec<uuid::Uuid> = $ids.iter().map(|id| id.uuid()).collect();
                sqlx::query_as::<_, _>(concat!($($before)+, " = any($1)", $($after)*))
                    .bind(ids)
                    $(.bind($argument))*
                    .fetch_all(executor)
                    .await
            }
            $crate::database::Engine::Sqlite(executor) => {
                sqlx::query_as::<_, _>(concat!(
                    $($before)+,
                    " in (select unhex(value) from json_each($1))",
                    $($after)*
                ))
                .bind($crate::repositories::sql::json_ids($ids))
                $(.bind($argument))*
                .fetch_all(executor)
                .await
            }
        };
        fetched.map_err($crate::error::Error::from)
    }};
}

/// Ids as a JSON array, of which `unhex` makes values of SQLite.
pub(crate) fn json_ids<K>(ids: &[Id<K>]) -> String {
    let ids = ids.iter().map(|id| id.uuid().simple().to_string());
    serde_json::Value::from_iter(ids).to_string()
}

/// A value as a column of JSON.
pub(crate) fn to_json(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(Error::internal)
}

/// A list as a column of JSON, which is null without elements.
pub(crate) fn list_json<T: Serialize>(list: &[T]) -> Result<Option<String>> {
    match list {
        [] => Ok(None),
        list => to_json(&list).map(Some),
    }
}

/// The value of a column of JSON; the default if it is null.
pub(crate) fn from_json<T: DeserializeOwned + Default>(json: Option<String>) -> sqlx::Result<T> {
    let value = json.map(|json| serde_json::from_str(&json)).transpose();
    let value = value.map_err(|error| sqlx::Error::Decode(error.into()))?;
    Ok(value.unwrap_or_default())
}

/// A statement that locks the rows that it reads until the transaction ends. On SQLite
/// nothing else writes meanwhile. It is one literal, or a list of parts in brackets.
macro_rules! for_share {
    ($tx:expr, [$($part:tt)+]) => {
        match $tx {
            $crate::database::Transaction::Postgres(_) => concat!($($part)+, " for share"),
            $crate::database::Transaction::Sqlite(_) => concat!($($part)+),
        }
    };
    ($tx:expr, $sql:literal) => {
        $crate::repositories::sql::for_share!($tx, [$sql])
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
pub(crate) use {
    columns, fetch_all_in, for_share, has_second_factor, is_member, key_belongs_to,
    lacks_second_factor, owned_by, owned_in, refusal, user_columns,
};

impl_from_row!(User: id, email, email_verified, display_name, create_time, update_time);

impl_from_row!(
    RequestOrigin:
    user_agent;
    |row|
    peer_address: row.try_get::<String, _>("peer_address")?.parse().ok(),
);
