use uuid::Uuid;

use crate::{
    database::{Database, Timestamp, Transaction},
    domain::Time,
    error::Result,
};

/// The sessions and API keys that were ended, as long as their access tokens
/// could still be alive.
#[derive(Debug, Clone)]
pub struct EndedTokens {
    database: Database,
}

impl EndedTokens {
    /// What was ended in this database.
    pub fn new(database: Database) -> Self {
        Self { database }
    }

    /// What was ended since a moment.
    pub async fn since(&self, since: Time) -> Result<Vec<(Uuid, Time)>> {
        Ok(
            on_engine!(self.database.reader(), pool => sqlx::query_as::<_, (Uuid, Timestamp)>(
            "select id, revoke_time from revocations where revoke_time > $1",
        )
        .bind(since)
        .fetch_all(pool)
        .await)?,
        )
    }

    /// Forgets what was ended before a moment, at most `limit`; tells how many.
    pub async fn purge(&self, before: Time, limit: i64) -> Result<u64> {
        Ok(on_engine!(self.database.writer(), pool => sqlx::query(
            "delete from revocations
             where id in (select id from revocations where revoke_time < $1 limit $2)",
        )
        .bind(before)
        .bind(limit)
        .execute(pool)
        .await
        .map(|done| done.rows_affected()))?)
    }
}

/// Notes a session or an API key that is ended.
pub(crate) async fn revoke(tx: &mut Transaction, id: Uuid, now: Time) -> Result<()> {
    on_engine!(tx, tx => sqlx::query(
        "insert into revocations (id, revoke_time)
         values ($1, $2)
         on conflict do nothing",
    )
    .bind(id)
    .bind(now)
    .execute(&mut **tx)
    .await
    .map(drop))?;
    Ok(())
}

/// Notes all sessions that were ended at a moment, however many: a transaction
/// that took longer than replicas look back would hide some from them.
pub(crate) async fn revoke_sessions(tx: &mut Transaction, now: Time) -> Result<()> {
    on_engine!(tx, tx => sqlx::query(
        "insert into revocations (id, revoke_time)
         select id, revoke_time from sessions where revoke_time = $1
         on conflict do nothing",
    )
    .bind(now)
    .execute(&mut **tx)
    .await
    .map(drop))?;
    Ok(())
}
