use super::revocations;
use crate::{
    database::{Check, Transaction},
    domain::{AuditContext, RequestOrigin, Session, SessionId, Time, UserId},
    error::{Error, Result},
    repositories::sql::for_share,
};

/// The columns of [`Session`].
macro_rules! session_columns {
    () => {
        "id, user_id, refresh_seed, refresh_counter, peer_address, user_agent, create_time,
         coalesce(auth_time, create_time) as auth_time, last_used_time, expire_time"
    };
}
pub(super) use session_columns;

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
    let reseeded = rows_affected!(
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
    let sql = for_share!(
        tx,
        "select id from sessions
         where user_id = $1 and id = $2 and revoke_time is null and expire_time > $3"
    );
    exists!(tx, sql, [user_id, id, now])
}

/// Fails if the session or the API key of an action has ended, which this replica may not know yet.
///
/// It protects what an owner has taken over from somebody else. Call it after the statement that
/// reads or locks what the action is about: then either that statement or the check sees the end.
pub(crate) async fn require_active(tx: &mut Transaction, audit: &AuditContext) -> Result<()> {
    let is_active = match (audit.session_id, audit.api_key_id) {
        (Some(session), _) => exists!(
            tx,
            "select id from sessions where id = $1 and revoke_time is null",
            [session]
        )?,
        (None, Some(key)) => exists!(
            tx,
            "select id from api_keys where id = $1 and revoke_time is null",
            [key]
        )?,
        (None, None) => true,
    };
    match is_active {
        true => Ok(()),
        false => Err(Error::AccessTokenInvalid),
    }
}

/// The same for a transaction that will commit: it fails at the latest there.
pub(crate) async fn queue_require_active(tx: &mut Transaction, audit: &AuditContext) -> Result<()> {
    let check = Check::returns_row(|| Error::AccessTokenInvalid);
    match (audit.session_id, audit.api_key_id) {
        (Some(session), _) => queue!(
            tx,
            "select id from sessions where id = $1 and revoke_time is null",
            [session],
            check
        ),
        (None, Some(key)) => queue!(
            tx,
            "select id from api_keys where id = $1 and revoke_time is null",
            [key],
            check
        ),
        (None, None) => Ok(()),
    }
}

/// Inserts a new session.
pub(super) async fn insert(tx: &mut Transaction, session: &Session) -> Result<()> {
    execute!(
        tx,
        "insert into sessions
             (id, user_id, refresh_seed, refresh_counter, peer_address, user_agent,
              create_time, last_used_time, expire_time, auth_time)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        [
            session.id,
            session.user_id,
            &session.refresh_seed,
            session.refresh_counter,
            session.origin.address(),
            &session.origin.user_agent,
            session.create_time,
            session.last_used_time,
            session.expire_time,
            session.auth_time
        ]
    )
}

impl_from_row!(
    Session:
    id, user_id, refresh_seed, refresh_counter, create_time, auth_time, last_used_time,
    expire_time;
    |row|
    origin: RequestOrigin::from_row(row)?,
);
