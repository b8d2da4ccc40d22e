use chrono::TimeDelta;
use sqlx::Row;
use uuid::Uuid;

use crate::{
    database::{Batch, Check, Database, DeletedBatch, QueueStatements},
    domain::{
        AuditContext, AuditEvent, AuditEventId, AuditFilter, CreateTimeRange, OperatorAuditEvent,
        OrganizationAuditEvent, OrganizationId, Page, RequestOrigin, Time, UserId,
    },
    error::Result,
};

/// The result of a successful action.
pub(super) const RESULT_OK: &str = "OK";

/// The retention of refusals that concern no user.
const UNATTRIBUTED_RETENTION: TimeDelta = TimeDelta::days(7);

/// The audit log. Its lists have the times in `coalesce`, so that no engine reads the entries by
/// their age, and sorts them for each page. An entry is never changed, and outlives its account.
#[derive(Debug, Clone)]
pub struct AuditLog {
    database: Database,
}

/// Selects a page of entries of all accounts that meet conditions on the account `$2`, the
/// operator key `$3` and the action `$4`.
macro_rules! select_all {
    ($user:literal, $key:literal, $action:literal) => {
        concat!(
            "select e.id, e.create_time, e.action, e.result, e.session_id, e.api_key_id,
                    e.resource_id, e.peer_address, e.user_agent, e.user_id,
                    k.display_name as operator_key_name
             from audit_events e
             left join api_keys k on k.id = e.api_key_id and k.user_id is null
             where e.id < $1 and ",
            $user,
            " and ",
            $key,
            " and ",
            $action,
            " and coalesce(e.create_time, $5) > $5
               and coalesce(e.create_time, $6) < $6
             order by e.id desc
             limit $7"
        )
    };
}

impl AuditLog {
    /// The audit log in this database.
    pub fn new(database: Database) -> Self {
        Self { database }
    }

    /// Records a refused action, for a reason of `ErrorReason`.
    pub async fn record_refusal(
        &self,
        audit: &AuditContext,
        reason: &str,
        now: Time,
    ) -> Result<()> {
        self.database
            .queued_transaction(|mut tx| async move {
                append(&mut tx, audit, reason, now).await?;
                tx.commit(()).await
            })
            .await
    }

    /// The entries of a user, newest first.
    pub async fn list(
        &self,
        user_id: UserId,
        created: CreateTimeRange,
        page: Page,
    ) -> Result<Vec<AuditEvent>> {
        fetch_all!(
            self.database.reader(),
            "select id, create_time, action, result, session_id, api_key_id, resource_id,
                    peer_address, user_agent
             from audit_events
             where user_id = $1 and id < $2
               and coalesce(create_time, $4) > $4 and coalesce(create_time, $5) < $5
             order by id desc
             limit $3",
            [
                user_id,
                page.below,
                page.limit(),
                created.after,
                created.before
            ]
        )
    }

    /// The successful actions that concern an organization, newest first.
    pub async fn list_of_organization(
        &self,
        id: OrganizationId,
        created: CreateTimeRange,
        page: Page,
    ) -> Result<Vec<OrganizationAuditEvent>> {
        fetch_all!(
            self.database.reader(),
            "select id, create_time, action, result, session_id, api_key_id, resource_id,
                    peer_address, user_agent, user_id
             from audit_events
             where organization_id = $1 and id < $2
               and coalesce(create_time, $4) > $4 and coalesce(create_time, $5) < $5
             order by id desc
             limit $3",
            [id, page.below, page.limit(), created.after, created.before]
        )
    }

    /// The entries of all accounts that meet a filter, newest first.
    pub async fn list_all(
        &self,
        filter: &AuditFilter,
        page: Page,
    ) -> Result<Vec<OperatorAuditEvent>> {
        // Statements of their own, so that the index of the filter is used.
        let sql = match (filter.user_id, filter.api_key_id, &filter.action) {
            (Some(_), ..) => select_all!(
                "e.user_id = $2",
                "($3 is null or e.api_key_id = $3)",
                "($4 is null or e.action = $4)"
            ),
            (None, Some(_), _) => select_all!(
                "$2 is null",
                "e.api_key_id = $3",
                "($4 is null or e.action = $4)"
            ),
            (None, None, Some(_)) => select_all!("$2 is null", "$3 is null", "e.action = $4"),
            (None, None, None) => select_all!("$2 is null", "$3 is null", "$4 is null"),
        };
        fetch_all!(
            self.database.reader(),
            sql,
            [
                page.below,
                filter.user_id,
                filter.api_key_id,
                filter.action.as_deref(),
                filter.created.after,
                filter.created.before,
                page.limit()
            ]
        )
    }

    /// Deletes a batch of entries from before a time.
    pub async fn purge(&self, before: Time, batch: Batch) -> Result<DeletedBatch> {
        const DELETE: &str = "delete from audit_events
             where id in (
                 select id
                 from audit_events
                 where create_time < $1
                 order by create_time
                 limit $2 offset $3)";
        self.database.delete_batch(DELETE, before, batch).await
    }

    /// Deletes a batch of refusals that concern no user. They are kept for
    /// a week only, because any client can cause many.
    pub async fn purge_unattributed(&self, now: Time, batch: Batch) -> Result<DeletedBatch> {
        delete_batch!(
            self.database,
            "delete from audit_events
             where id in (
                 select id
                 from audit_events
                 where user_id = $1 and result <> $2 and create_time < $3
                 order by id
                 limit $4 offset $5)",
            [
                Uuid::nil(),
                RESULT_OK,
                now - UNATTRIBUTED_RETENTION,
                batch.limit,
                batch.skip
            ]
        )
    }
}

/// Records an action in its own transaction.
pub(crate) async fn record(
    tx: &mut impl QueueStatements,
    audit: &AuditContext,
    now: Time,
) -> Result<()> {
    append(tx, audit, RESULT_OK, now).await
}

/// Records a refused action, in the transaction of what the refusal changes.
///
/// The organization of a successful action is that of its target. A refused action may concern
/// another tenant's, who must not learn of it.
pub(crate) async fn append(
    tx: &mut impl QueueStatements,
    audit: &AuditContext,
    result: &str,
    now: Time,
) -> Result<()> {
    queue!(
        tx,
        "insert into audit_events
             (id, user_id, create_time, action, result, session_id, api_key_id,
              resource_id, peer_address, user_agent, organization_id)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, case when $5 = 'OK' then coalesce(
             $11,
             (select owner_id from projects where id = $8),
             (select owner_id from webhooks where id = $8),
             (select p.owner_id
              from destinations d
              join projects p on p.id = d.project_id
              where d.id = $8),
             (select p.owner_id
              from streams s
              join projects p on p.id = s.project_id
              where s.id = $8)) end)",
        [
            AuditEventId::generate(),
            audit.user_id.map_or(Uuid::nil(), |id| id.uuid()),
            now,
            audit.action,
            result,
            audit.session_id,
            audit.api_key_id,
            audit.resource_id,
            audit.origin.address(),
            &audit.origin.user_agent,
            audit.organization_id
        ],
        Check::default()
    )
}

impl_from_row!(
    AuditEvent:
    id, create_time, action, result, session_id, api_key_id, resource_id;
    |row|
    origin: RequestOrigin::from_row(row)?,
);

impl_from_row!(
    OrganizationAuditEvent:
    user_id;
    |row|
    event: AuditEvent::from_row(row)?,
);

impl_from_row!(
    OperatorAuditEvent:
    operator_key_name;
    |row|
    event: AuditEvent::from_row(row)?,
    user_id: Some(row.try_get::<UserId, _>("user_id")?).filter(|id| !id.uuid().is_nil()),
);
