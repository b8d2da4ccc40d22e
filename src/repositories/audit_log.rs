use chrono::TimeDelta;
use sqlx::FromRow;
use uuid::Uuid;

use crate::{
    database::{Database, Timestamp, Transaction},
    domain::{Act, ApiKeyId, AuditEvent, AuditEventId, Origin, Page, SessionId, Time, UserId},
    error::Result,
};

/// The result of what was done.
const DONE: &str = "OK";

/// How long a refusal is kept that concerns nobody.
const NOBODYS: TimeDelta = TimeDelta::days(7);

/// Who did what, when, from where, with what result. Entries are never changed,
/// and outlive the account.
#[derive(Debug, Clone)]
pub struct AuditLog {
    database: Database,
}

#[derive(FromRow)]
struct AuditEventRow {
    id: AuditEventId,
    create_time: Timestamp,
    action: String,
    result: String,
    session_id: Option<SessionId>,
    api_key_id: Option<ApiKeyId>,
    resource_id: Option<Uuid>,
    peer_address: String,
    user_agent: String,
}

impl AuditLog {
    /// The audit log in this database.
    pub fn new(database: Database) -> Self {
        Self { database }
    }

    /// Records an act that was refused, for a reason of `ErrorReason`.
    pub async fn record_refusal(&self, act: &Act, reason: &str, now: Time) -> Result<()> {
        self.database
            .retried(|| async {
                let mut tx = self.database.begin().await?;
                append(&mut tx, act, reason, now).await?;
                tx.commit().await
            })
            .await
    }

    /// What concerns a user, newest first.
    pub async fn list(&self, user_id: UserId, page: Page) -> Result<Vec<AuditEvent>> {
        let rows = on_engine!(self.database.reader(), pool => sqlx::query_as::<_, AuditEventRow>(
            "select id, create_time, action, result, session_id, api_key_id, resource_id,
                    peer_address, user_agent
             from audit_events
             where user_id = $1 and id < $2
             order by id desc
             limit $3",
        )
        .bind(user_id)
        .bind(page.below)
        .bind(page.limit())
        .fetch_all(pool)
        .await)?;
        Ok(rows.into_iter().map(AuditEvent::from).collect())
    }

    /// Forgets what happened before a moment, at most `limit` entries; tells how
    /// many. Refusals that concern nobody, of which anybody can cause many, count
    /// only for a week.
    pub async fn purge(&self, before: Time, now: Time, limit: i64) -> Result<u64> {
        Ok(on_engine!(self.database.writer(), pool => sqlx::query(
            "delete from audit_events
             where id in (
                 select id
                 from audit_events
                 where create_time < $1
                    or user_id = $2 and result <> $3 and create_time < $4
                 limit $5)",
        )
        .bind(before)
        .bind(Uuid::nil())
        .bind(DONE)
        .bind(now - NOBODYS)
        .bind(limit)
        .execute(pool)
        .await
        .map(|done| done.rows_affected()))?)
    }
}

/// Records an act in the transaction that does it.
pub(crate) async fn record(tx: &mut Transaction, act: &Act, now: Time) -> Result<()> {
    append(tx, act, DONE, now).await
}

/// Records an act that is refused, in the transaction of what the refusal changes.
pub(crate) async fn append(tx: &mut Transaction, act: &Act, result: &str, now: Time) -> Result<()> {
    on_engine!(tx, tx => sqlx::query(
        "insert into audit_events
             (id, user_id, create_time, action, result, session_id, api_key_id,
              resource_id, peer_address, user_agent)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
    )
    .bind(AuditEventId::generate())
    .bind(act.user_id.map_or(Uuid::nil(), |id| id.uuid()))
    .bind(now)
    .bind(act.action)
    .bind(result)
    .bind(act.session_id)
    .bind(act.api_key_id)
    .bind(act.resource_id)
    .bind(act.origin.address())
    .bind(&act.origin.user_agent)
    .execute(&mut **tx)
    .await
    .map(drop))?;
    Ok(())
}

impl From<AuditEventRow> for AuditEvent {
    fn from(row: AuditEventRow) -> Self {
        let AuditEventRow {
            id,
            create_time,
            action,
            result,
            session_id,
            api_key_id,
            resource_id,
            peer_address,
            user_agent,
        } = row;
        Self {
            id,
            create_time,
            action,
            result,
            session_id,
            api_key_id,
            resource_id,
            origin: Origin {
                peer_address: peer_address.parse().ok(),
                user_agent,
            },
        }
    }
}
