use sqlx::FromRow;

use super::revocations;
use crate::{
    database::Transaction,
    domain::{RequestOrigin, Session, SessionId, Time, UserId},
    error::{Error, Result},
};

/// The columns of [`SessionRow`], each after a prefix such as `"t."`.
macro_rules! session_columns {
    ($prefix:literal) => {
        $crate::repositories::sql::columns!(
            $prefix:
            id, user_id, refresh_seed, refresh_counter, peer_address, user_agent, create_time,
            last_used_time, expire_time
        )
    };
}
pub(super) use session_columns;

/// A row of the table `sessions`.
#[derive(FromRow)]
pub(super) struct SessionRow {
    id: SessionId,
    user_id: UserId,
    refresh_seed: Vec<u8>,
    refresh_counter: i64,
    peer_address: String,
    user_agent: String,
    create_time: Time,
    last_used_time: Time,
    expire_time: Time,
}

/// Ends all sessions of a user except one; returns their ids.
pub(super) async fn revoke_all(
    tx: &mut Transaction,
    user_id: UserId,
    except: Option<SessionId>,
    now: Time,
) -> Result<Vec<SessionId>> {
    let ended: Vec<SessionId> = fetch_scalars!(
        tx,
        "update sessions
         set revoke_time = $3
         where user_id = $1 and ($2 is null or id <> $2) and revoke_time is null
         returning id",
        [user_id, except, now]
    )?;
    revocations::insert_sessions(tx, now).await?;
    Ok(ended)
}

/// Replaces the seed of a session, which invalidates its earlier refresh tokens.
pub(super) async fn reseed(tx: &mut Transaction, session: &Session) -> Result<()> {
    let reseeded = execute!(
        tx,
        "update sessions
         set refresh_seed = $2, refresh_counter = $3, last_used_time = $4
         where id = $1 and revoke_time is null",
        [
            session.id,
            &session.refresh_seed,
            session.refresh_counter,
            session.last_used_time
        ]
    )?;
    match reseeded {
        0 => Err(Error::AccessTokenInvalid),
        _ => Ok(()),
    }
}

/// Whether a session of a user is active, until the transaction ends.
pub(super) async fn is_active(
    tx: &mut Transaction,
    user_id: UserId,
    id: SessionId,
    now: Time,
) -> Result<bool> {
    // On SQLite nothing else writes meanwhile.
    let sql = match tx {
        Transaction::Postgres(_) => {
            "select id from sessions
             where user_id = $1 and id = $2 and revoke_time is null and expire_time > $3
             for share"
        }
        Transaction::Sqlite(_) => {
            "select id from sessions
             where user_id = $1 and id = $2 and revoke_time is null and expire_time > $3"
        }
    };
    let found: Option<SessionId> = fetch_optional_scalar!(tx, sql, [user_id, id, now])?;
    Ok(found.is_some())
}

/// Inserts a new session.
pub(super) async fn insert(tx: &mut Transaction, session: &Session) -> Result<()> {
    execute!(
        tx,
        "insert into sessions
             (id, user_id, refresh_seed, refresh_counter, peer_address, user_agent,
              create_time, last_used_time, expire_time)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        [
            session.id,
            session.user_id,
            &session.refresh_seed,
            session.refresh_counter,
            session.origin.address(),
            &session.origin.user_agent,
            session.create_time,
            session.last_used_time,
            session.expire_time
        ]
    )
    .map(drop)
}

impl<'r, R: sqlx::Row> FromRow<'r, R> for Session
where
    SessionRow: FromRow<'r, R>,
{
    fn from_row(row: &'r R) -> sqlx::Result<Self> {
        let SessionRow {
            id,
            user_id,
            refresh_seed,
            refresh_counter,
            peer_address,
            user_agent,
            create_time,
            last_used_time,
            expire_time,
        } = SessionRow::from_row(row)?;
        Ok(Self {
            id,
            user_id,
            refresh_seed,
            refresh_counter,
            origin: RequestOrigin {
                peer_address: peer_address.parse().ok(),
                user_agent,
            },
            create_time,
            last_used_time,
            expire_time,
        })
    }
}
