use sqlx::FromRow;

use super::{failed_attempts, revocations};
use crate::{
    database::{Database, Transaction},
    domain::{AuditContext, Page, RequestOrigin, Session, SessionId, Time, UserId},
    error::{Error, Result},
    repositories::{VerifiedCredential, audit_log},
};

/// Sessions of users.
#[derive(Debug, Clone)]
pub struct Sessions {
    database: Database,
}

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

#[derive(FromRow)]
struct SessionRow {
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

impl Sessions {
    /// Sessions in this database.
    pub fn new(database: Database) -> Self {
        Self { database }
    }

    /// Creates a session if the credential is still valid. Otherwise `ConcurrentChange`,
    /// because the change of the credential did not end this session. The address becomes
    /// familiar, and the failed attempts are cleared.
    pub async fn create(
        &self,
        session: &Session,
        credential: VerifiedCredential<'_>,
        at_address: &[u8],
        audit: &AuditContext,
    ) -> Result<()> {
        self.database
            .with_retry(|| async {
                let mut tx = self.database.begin().await?;
                if !credential.is_valid(&mut tx, session.user_id).await? {
                    return Err(Error::ConcurrentChange);
                }
                insert(&mut tx, session).await?;
                if let VerifiedCredential::Password {
                    attempt: Some(attempt),
                    ..
                } = credential
                {
                    failed_attempts::clear(&mut tx, attempt).await?;
                }
                failed_attempts::mark_familiar(&mut tx, at_address, session.create_time).await?;
                audit_log::record(&mut tx, audit, session.create_time).await?;
                tx.commit().await
            })
            .await
    }

    /// A session that has neither expired nor been ended.
    ///
    /// Read from the writing connection, so that the newest refresh token is never older
    /// than the one in an answer.
    pub async fn find(&self, id: SessionId, now: Time) -> Result<Option<Session>> {
        let found = on_engine!(self.database.writer(), pool => sqlx::query_as::<_, SessionRow>(
            concat!(
                "select ",
                session_columns!(""),
                " from sessions
                 where id = $1 and revoke_time is null and expire_time > $2",
            ),
        )
        .bind(id)
        .bind(now)
        .fetch_optional(pool)
        .await)?;
        Ok(found.map(Session::from))
    }

    /// Replaces refresh token `counter` by the next. `false` if another call did.
    pub async fn advance(&self, id: SessionId, counter: i64, now: Time) -> Result<bool> {
        let advanced = on_engine!(self.database.writer(), pool => sqlx::query(
            "update sessions
             set refresh_counter = refresh_counter + 1, last_used_time = $3
             where id = $1 and refresh_counter = $2 and revoke_time is null",
        )
        .bind(id)
        .bind(counter)
        .bind(now)
        .execute(pool)
        .await
        .map(|done| done.rows_affected()))?;
        Ok(advanced == 1)
    }

    /// A user's sessions that have neither expired nor been ended, newest first.
    pub async fn list(
        &self,
        user_id: UserId,
        used_since: Time,
        page: Page,
        now: Time,
    ) -> Result<Vec<Session>> {
        let rows = on_engine!(self.database.reader(), pool => sqlx::query_as::<_, SessionRow>(
            concat!(
                "select ",
                session_columns!(""),
                " from sessions
                 where user_id = $1 and id < $2 and revoke_time is null
                   and expire_time > $3 and last_used_time > $4
                 order by id desc
                 limit $5",
            ),
        )
        .bind(user_id)
        .bind(page.below)
        .bind(now)
        .bind(used_since)
        .bind(page.limit())
        .fetch_all(pool)
        .await)?;
        Ok(rows.into_iter().map(Session::from).collect())
    }

    /// Ends a session of a user. `false` if it has ended.
    pub async fn revoke(
        &self,
        user_id: UserId,
        id: SessionId,
        audit: &AuditContext,
        now: Time,
    ) -> Result<bool> {
        self.end(user_id, id, audit, "OK", now).await
    }

    /// Ends a session whose old refresh token was used again. The audit log records a
    /// refusal.
    pub async fn revoke_reused(
        &self,
        session: &Session,
        audit: &AuditContext,
        now: Time,
    ) -> Result<()> {
        let result = Error::RefreshTokenReused.reason();
        self.end(session.user_id, session.id, audit, result, now)
            .await
            .map(drop)
    }

    async fn end(
        &self,
        user_id: UserId,
        id: SessionId,
        audit: &AuditContext,
        result: &str,
        now: Time,
    ) -> Result<bool> {
        self.database
            .with_retry(|| async {
                let mut tx = self.database.begin().await?;
                let ended = on_engine!(&mut tx, tx => sqlx::query(
                    "update sessions
                     set revoke_time = $3
                     where user_id = $1 and id = $2 and revoke_time is null and expire_time > $3",
                )
                .bind(user_id)
                .bind(id)
                .bind(now)
                .execute(&mut **tx)
                .await
                .map(|done| done.rows_affected()))?;
                if ended == 0 {
                    tx.rollback().await?;
                    return Ok(false);
                }
                revocations::insert(&mut tx, id.uuid(), now).await?;
                audit_log::append(&mut tx, audit, result, now).await?;
                tx.commit().await?;
                Ok(true)
            })
            .await
    }

    /// Ends all sessions of a user except `but`; returns their ids.
    pub async fn revoke_all(
        &self,
        user_id: UserId,
        but: Option<SessionId>,
        audit: &AuditContext,
        now: Time,
    ) -> Result<Vec<SessionId>> {
        self.database
            .with_retry(|| async {
                let mut tx = self.database.begin().await?;
                let ended = revoke_all(&mut tx, user_id, but, now).await?;
                audit_log::record(&mut tx, audit, now).await?;
                tx.commit().await?;
                Ok(ended)
            })
            .await
    }

    /// Ends the sessions of all users; returns their number.
    pub async fn revoke_all_users(&self, audit: &AuditContext, now: Time) -> Result<usize> {
        self.database
            .with_retry(|| async {
                let mut tx = self.database.begin().await?;
                let ended = on_engine!(&mut tx, tx => sqlx::query_scalar::<_, SessionId>(
                    "update sessions
                     set revoke_time = $1
                     where revoke_time is null and expire_time > $1
                     returning id",
                )
                .bind(now)
                .fetch_all(&mut **tx)
                .await)?;
                revocations::insert_sessions(&mut tx, now).await?;
                audit_log::record(&mut tx, audit, now).await?;
                tx.commit().await?;
                Ok(ended.len())
            })
            .await
    }

    /// Deletes at most `limit` sessions that ended before a time; returns the number.
    pub async fn purge(&self, before: Time, limit: i64) -> Result<u64> {
        const DELETE: &str = "delete from sessions
             where id in (
                 select id from sessions where expire_time < $1
                 union
                 select id from sessions where revoke_time < $1
                 limit $2)";
        self.database.delete_batch(DELETE, before, limit).await
    }
}

/// Ends all sessions of a user except `but`; returns their ids.
pub(super) async fn revoke_all(
    tx: &mut Transaction,
    user_id: UserId,
    but: Option<SessionId>,
    now: Time,
) -> Result<Vec<SessionId>> {
    let ended = on_engine!(&mut *tx, tx => sqlx::query_scalar::<_, SessionId>(
        "update sessions
         set revoke_time = $3
         where user_id = $1 and ($2 is null or id <> $2) and revoke_time is null
         returning id",
    )
    .bind(user_id)
    .bind(but)
    .bind(now)
    .fetch_all(&mut **tx)
    .await)?;
    revocations::insert_sessions(tx, now).await?;
    Ok(ended)
}

/// Replaces the seed of a session, which invalidates its earlier refresh tokens.
pub(super) async fn reseed(tx: &mut Transaction, session: &Session) -> Result<()> {
    let reseeded = on_engine!(tx, tx => sqlx::query(
        "update sessions
         set refresh_seed = $2, refresh_counter = $3, last_used_time = $4
         where id = $1 and revoke_time is null",
    )
    .bind(session.id)
    .bind(&session.refresh_seed)
    .bind(session.refresh_counter)
    .bind(session.last_used_time)
    .execute(&mut **tx)
    .await
    .map(|done| done.rows_affected()))?;
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
    let found = on_engine!(tx, tx => sqlx::query_scalar::<_, SessionId>(sql)
        .bind(user_id)
        .bind(id)
        .bind(now)
        .fetch_optional(&mut **tx)
        .await)?;
    Ok(found.is_some())
}

async fn insert(tx: &mut Transaction, session: &Session) -> Result<()> {
    Ok(on_engine!(tx, tx => sqlx::query(
        "insert into sessions
             (id, user_id, refresh_seed, refresh_counter, peer_address, user_agent,
              create_time, last_used_time, expire_time)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
    )
    .bind(session.id)
    .bind(session.user_id)
    .bind(&session.refresh_seed)
    .bind(session.refresh_counter)
    .bind(session.origin.address())
    .bind(&session.origin.user_agent)
    .bind(session.create_time)
    .bind(session.last_used_time)
    .bind(session.expire_time)
    .execute(&mut **tx)
    .await
    .map(drop))?)
}

impl From<SessionRow> for Session {
    fn from(row: SessionRow) -> Self {
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
        } = row;
        Self {
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
        }
    }
}
