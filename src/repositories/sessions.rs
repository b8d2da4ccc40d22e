use sqlx::FromRow;

use super::{Database, columns::Timestamp};
use crate::{
    domain::{Origin, Session, SessionId, Time, UserId},
    error::Result,
};

/// Sessions of users.
#[derive(Debug, Clone)]
pub struct Sessions {
    database: Database,
}

#[derive(FromRow)]
struct SessionRow {
    id: SessionId,
    user_id: UserId,
    refresh_seed: Vec<u8>,
    refresh_counter: i64,
    peer_address: String,
    user_agent: String,
    create_time: Timestamp,
    last_used_time: Timestamp,
    expire_time: Timestamp,
}

impl Sessions {
    /// Sessions in this database.
    pub fn new(database: Database) -> Self {
        Self { database }
    }

    /// Begins a session.
    pub async fn create(&self, session: &Session) -> Result<()> {
        on_engine!(self.database.writer(), pool => sqlx::query(
            "insert into sessions
                 (id, user_id, refresh_seed, refresh_counter, peer_address, user_agent,
                  create_time, last_used_time, expire_time)
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        )
        .bind(session.id)
        .bind(session.user_id)
        .bind(&session.refresh_seed)
        .bind(session.refresh_counter)
        .bind(&session.origin.peer_address)
        .bind(&session.origin.user_agent)
        .bind(session.create_time)
        .bind(session.last_used_time)
        .bind(session.expire_time)
        .execute(pool)
        .await
        .map(drop))?;
        Ok(())
    }

    /// A session that has neither expired nor been ended.
    ///
    /// It is read where it is written, so that what it says of the newest
    /// refresh token is never older than an answer that was given.
    pub async fn find(&self, id: SessionId, now: Time) -> Result<Option<Session>> {
        let found = on_engine!(self.database.writer(), pool => sqlx::query_as::<_, SessionRow>(
            "select id, user_id, refresh_seed, refresh_counter, peer_address, user_agent,
                    create_time, last_used_time, expire_time
             from sessions
             where id = $1 and revoke_time is null and expire_time > $2",
        )
        .bind(id)
        .bind(now)
        .fetch_optional(pool)
        .await)?;
        Ok(found.map(Session::from))
    }

    /// Replaces refresh token `counter` by the next; `false` if another call did.
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

    /// Ends one session of a user.
    pub async fn revoke(&self, user_id: UserId, id: SessionId, now: Time) -> Result<()> {
        on_engine!(self.database.writer(), pool => sqlx::query(
            "update sessions
             set revoke_time = $3
             where user_id = $1 and id = $2 and revoke_time is null",
        )
        .bind(user_id)
        .bind(id)
        .bind(now)
        .execute(pool)
        .await
        .map(drop))?;
        Ok(())
    }

    /// Ends all sessions of a user, but the one that is to stay.
    pub async fn revoke_all(
        &self,
        user_id: UserId,
        but: Option<SessionId>,
        now: Time,
    ) -> Result<()> {
        on_engine!(self.database.writer(), pool => sqlx::query(
            "update sessions
             set revoke_time = $3
             where user_id = $1 and ($2 is null or id <> $2) and revoke_time is null",
        )
        .bind(user_id)
        .bind(but)
        .bind(now)
        .execute(pool)
        .await
        .map(drop))?;
        Ok(())
    }

    /// Forgets sessions that ended before a moment, at most `limit`; tells how many.
    pub async fn purge(&self, before: Time, limit: i64) -> Result<u64> {
        Ok(on_engine!(self.database.writer(), pool => sqlx::query(
            "delete from sessions
             where id in (
                 select id from sessions where expire_time < $1
                 union
                 select id from sessions where revoke_time < $1
                 limit $2)",
        )
        .bind(before)
        .bind(limit)
        .execute(pool)
        .await
        .map(|done| done.rows_affected()))?)
    }
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
            origin: Origin {
                peer_address,
                user_agent,
            },
            create_time,
            last_used_time,
            expire_time,
        }
    }
}
