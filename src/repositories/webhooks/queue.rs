//! The events that wait for webhooks.
//!
//! There is no queue of its own: what waits are the events of a project after the cursor of a
//! webhook. A replica leases a webhook and a project, sends the next events in order, and records
//! how far it has got. If it ends, another one goes on when the lease has expired.

use sqlx::FromRow;
use uuid::Uuid;

use super::{rows::target_columns, webhooks::end_retries};
use crate::{
    database::{Check, Database, Engine, Transaction},
    domain::{
        AuditContext, EmailKind, ProjectId, RequestOrigin, Role, Time, UserId, WebhookDeliveryId,
        WebhookDeliveryRecord, WebhookDeliveryState, WebhookId, WebhookLease, WebhookProgress,
        WebhookTarget,
    },
    error::{Error, Result},
    repositories::{
        Notices, audit_log,
        sql::{fetch_all_in, json_ids},
    },
};

/// The events that wait for webhooks.
#[derive(Debug, Clone)]
pub struct WebhookQueue {
    database: Database,
    notices: Notices,
}

/// A project whose next events can be sent to a webhook.
#[derive(Debug, Clone, Copy, FromRow)]
pub struct DueEvents {
    /// The webhook.
    pub webhook_id: WebhookId,
    /// The project.
    pub project_id: ProjectId,
    /// The revision of the newest event.
    pub head: i64,
    /// Whether the last attempt to send something to the webhook has failed.
    pub is_failing: bool,
}

/// Selects [`DueEvents`] at `$1`, at most `$2`; of failing webhooks if `$3`. The pairs of webhooks
/// and projects come first. What belongs to one of them is a value and not a table to be joined,
/// so that every plan looks it up. A personal organization has the id of its user, who may be
/// suspended.
macro_rules! select_due {
    ($pairs:expr, $busy:literal) => {
        concat!(
            "select pair.webhook_id, pair.project_id, pair.head,
                    pair.failing_since is not null as is_failing
             from (",
            $pairs,
            ") pair
             left join webhook_cursors c
               on c.webhook_id = pair.webhook_id and c.project_id = pair.project_id
             where (select o.delete_time is null and o.suspend_time is null
                    from organizations o
                    where o.id = pair.owner_id)
               and (select u.suspend_time from users u where u.id = pair.owner_id) is null
               and (c.revision is null
                    or (c.revision < pair.head and c.next_attempt_time <= $1
                        and (c.lease_expire_time is null or c.lease_expire_time <= $1)))
               and (pair.failing_since is null or $3)
               and ",
            $busy,
            " order by coalesce(c.next_attempt_time, pair.create_time), pair.project_id
             limit $2"
        )
    };
}

/// All pairs; `$4` is null. `cross join` keeps SQLite from reading all projects.
macro_rules! all_pairs {
    ($unchanged:literal) => {
        concat!(
            "select h.id as webhook_id, h.owner_id, h.failing_since, h.project_id,
                    (select p.revision from projects p where p.id = h.project_id) as head,
                    (select p.create_time from projects p where p.id = h.project_id) as create_time
             from webhooks h
             where h.enabled and h.project_id is not null and ",
            $unchanged,
            " union all
             select h.id, h.owner_id, h.failing_since, q.id, q.revision, q.create_time
             from webhooks h
             cross join projects q
             where q.owner_id = h.owner_id and h.enabled and h.project_id is null"
        )
    };
}

/// The pairs of projects that have changed.
macro_rules! changed_pairs {
    ($changed:literal) => {
        concat!(
            "select h.id as webhook_id, h.owner_id, h.failing_since, q.id as project_id,
                    q.revision as head, q.create_time
             from projects q
             cross join webhooks h
             where h.project_id = q.id and h.enabled and ",
            $changed,
            " union all
             select h.id, h.owner_id, h.failing_since, q.id, q.revision, q.create_time
             from projects q
             cross join webhooks h
             where h.owner_id = q.owner_id and h.enabled and h.project_id is null and ",
            $changed
        )
    };
}

/// Leases pairs to `$1` until `$2`, at `$3`.
macro_rules! lease {
    ($asked:literal) => {
        concat!(
            "insert into webhook_cursors
                 (webhook_id, project_id, revision, next_attempt_time, lease_id,
                  lease_expire_time)
             select w.id, p.id, 0, $3, $1, $2
             from ",
            $asked,
            " join webhooks w on w.id = asked.webhook_id
             join projects p on p.id = asked.project_id
             where w.enabled
             on conflict (webhook_id, project_id) do update
             set lease_id = excluded.lease_id, lease_expire_time = excluded.lease_expire_time
             where webhook_cursors.next_attempt_time <= $3
               and (webhook_cursors.lease_expire_time is null
                    or webhook_cursors.lease_expire_time <= $3)
             returning webhook_id, project_id, revision, failures, failing_since"
        )
    };
}

impl WebhookQueue {
    /// The queue in this database.
    pub fn new(database: Database) -> Self {
        Self {
            database,
            notices: Notices::default(),
        }
    }

    /// The same, with notices of disabled webhooks.
    pub fn with_notices(self, notices: Notices) -> Self {
        Self { notices, ..self }
    }

    /// Whether there is a webhook that is not disabled.
    pub async fn has_webhooks(&self) -> Result<bool> {
        exists!(
            self.database.reader(),
            "select 1 from webhooks where enabled limit 1",
            []
        )
    }

    /// What can be sent, at most `limit` projects, those that have waited longest first. Only of
    /// the projects that have changed, if they are given, and not to webhooks that are busy.
    pub async fn due(
        &self,
        changed: Option<&[ProjectId]>,
        busy: &[WebhookId],
        with_failing: bool,
        limit: i64,
        now: Time,
    ) -> Result<Vec<DueEvents>> {
        Ok(match self.database.reader() {
            Engine::Postgres(pool) => {
                let ids = |ids: &[ProjectId]| ids.iter().map(|id| id.uuid()).collect::<Vec<_>>();
                let busy: Vec<Uuid> = busy.iter().map(|id| id.uuid()).collect();
                let sql = match changed {
                    None => select_due!(
                        all_pairs!("$4::uuid[] is null"),
                        "pair.webhook_id <> all($5)"
                    ),
                    Some(_) => {
                        select_due!(
                            changed_pairs!("q.id = any($4::uuid[])"),
                            "pair.webhook_id <> all($5)"
                        )
                    }
                };
                sqlx::query_as(sql)
                    .bind(now)
                    .bind(limit)
                    .bind(with_failing)
                    .bind(changed.map(ids))
                    .bind(busy)
                    .fetch_all(pool)
                    .await?
            }
            Engine::Sqlite(pool) => {
                let sql = match changed {
                    None => select_due!(
                        all_pairs!("$4 is null"),
                        "pair.webhook_id not in (select unhex(value) from json_each($5))"
                    ),
                    Some(_) => select_due!(
                        changed_pairs!("q.id in (select unhex(value) from json_each($4))"),
                        "pair.webhook_id not in (select unhex(value) from json_each($5))"
                    ),
                };
                sqlx::query_as(sql)
                    .bind(now)
                    .bind(limit)
                    .bind(with_failing)
                    .bind(changed.map(json_ids))
                    .bind(json_ids(busy))
                    .fetch_all(pool)
                    .await?
            }
        })
    }

    /// Leases what is due, unless another replica was faster.
    pub async fn lease(
        &self,
        due: &[DueEvents],
        lease_id: Uuid,
        until: Time,
        now: Time,
    ) -> Result<Vec<WebhookLease>> {
        Ok(match self.database.writer() {
            Engine::Postgres(executor) => {
                let (webhooks, projects): (Vec<Uuid>, Vec<Uuid>) = due
                    .iter()
                    .map(|due| (due.webhook_id.uuid(), due.project_id.uuid()))
                    .unzip();
                sqlx::query_as(lease!(
                    "unnest($4::uuid[], $5::uuid[]) as asked (webhook_id, project_id)"
                ))
                .bind(lease_id)
                .bind(until)
                .bind(now)
                .bind(webhooks)
                .bind(projects)
                .fetch_all(executor)
                .await?
            }
            Engine::Sqlite(executor) => {
                let pairs: Vec<_> = due
                    .iter()
                    .map(|due| {
                        let (webhook, project) = (due.webhook_id.uuid(), due.project_id.uuid());
                        (webhook.simple(), project.simple())
                    })
                    .collect();
                sqlx::query_as(lease!(
                    "(select unhex(value ->> 0) as webhook_id, unhex(value ->> 1) as project_id
                      from json_each($4)) as asked"
                ))
                .bind(lease_id)
                .bind(until)
                .bind(now)
                .bind(serde_json::to_string(&pairs).map_err(Error::internal)?)
                .fetch_all(executor)
                .await?
            }
        })
    }

    /// Prolongs all leases of a replica that have not expired.
    pub async fn renew(&self, lease_id: Uuid, until: Time, now: Time) -> Result<()> {
        execute!(
            self.database.writer(),
            "update webhook_cursors
             set lease_expire_time = $2
             where lease_id = $1 and lease_expire_time > $3",
            [lease_id, until, now]
        )
    }

    /// Ends all leases of a replica. What it has not recorded is sent again.
    pub async fn release(&self, lease_id: Uuid) -> Result<()> {
        execute!(
            self.database.writer(),
            "update webhook_cursors
             set lease_id = null, lease_expire_time = null
             where lease_id = $1",
            [lease_id]
        )
    }

    /// Where the messages of these webhooks go, of those that are not disabled.
    pub async fn targets(&self, ids: &[WebhookId], now: Time) -> Result<Vec<WebhookTarget>> {
        fetch_all_in!(
            self.database.reader(),
            [
                "select ",
                target_columns!("$2"),
                " from webhooks w where w.enabled and w.id"
            ],
            ids,
            [],
            [now]
        )
    }

    /// Records what was sent under a lease, and ends it. `false` if the lease had ended before:
    /// then nothing is recorded, and the same events are sent again.
    pub async fn record(
        &self,
        progress: &WebhookProgress,
        lease_id: Uuid,
        now: Time,
    ) -> Result<bool> {
        self.database
            .transaction(|mut tx| async move {
                let held = rows_affected!(
                    tx,
                    "update webhook_cursors
                     set revision = $4, failures = $5, failing_since = $6,
                         next_attempt_time = $7, lease_id = null, lease_expire_time = null
                     where webhook_id = $1 and project_id = $2 and lease_id = $3",
                    [
                        progress.webhook_id,
                        progress.project_id,
                        lease_id,
                        progress.revision,
                        progress.failures,
                        progress.failing_since,
                        progress.next_attempt_time
                    ]
                )?;
                if held == 0 {
                    return tx.rollback(false).await;
                }
                for delivery in &progress.deliveries {
                    record_delivery(&mut tx, progress, delivery).await?;
                }
                record_health(&mut tx, progress, now).await?;
                disable(&mut tx, self.notices, progress, now).await?;
                tx.commit(true).await
            })
            .await
    }
}

/// Records an attempt, the first one or a further one.
async fn record_delivery(
    tx: &mut Transaction,
    progress: &WebhookProgress,
    delivery: &WebhookDeliveryRecord,
) -> Result<()> {
    let attempt = &delivery.attempt;
    let (state, next) = match (attempt.is_success(), progress.disable_reason) {
        (true, _) => (WebhookDeliveryState::Delivered, None),
        (false, Some(_)) => (WebhookDeliveryState::Failed, None),
        (false, None) => (
            WebhookDeliveryState::Retrying,
            Some(progress.next_attempt_time),
        ),
    };
    queue!(
        tx,
        "insert into webhook_deliveries as d
             (id, webhook_id, project_id, revision, event_type, message_id, state, attempts,
              status_code, error, latency_ms, create_time, last_attempt_time,
              next_attempt_time)
         values ($1, $2, $3, $4, $5, $6, $7, 1, $8, $9, $10, $11, $11, $12)
         on conflict (webhook_id, project_id, revision) do update
         set event_type = excluded.event_type, message_id = excluded.message_id,
             state = excluded.state, attempts = d.attempts + 1,
             status_code = excluded.status_code, error = excluded.error,
             latency_ms = excluded.latency_ms,
             last_attempt_time = excluded.last_attempt_time,
             next_attempt_time = excluded.next_attempt_time",
        [
            WebhookDeliveryId::generate(),
            progress.webhook_id,
            progress.project_id,
            delivery.revision,
            delivery.event_type.as_str(),
            &delivery.message_id,
            state.as_str(),
            attempt.status_code.map(i32::from),
            attempt.error.as_deref().unwrap_or_default(),
            attempt.latency_ms(),
            delivery.time,
            next
        ],
        Check::default()
    )
}

/// Records whether the last attempt has succeeded.
async fn record_health(tx: &mut Transaction, progress: &WebhookProgress, now: Time) -> Result<()> {
    let Some(last) = progress.deliveries.last() else {
        return Ok(());
    };
    let sql = match last.attempt.is_success() {
        true => {
            "update webhooks
             set failing_since = null
             where id = $1 and failing_since is not null and $2 is not null"
        }
        false => "update webhooks set failing_since = $2 where id = $1 and failing_since is null",
    };
    execute!(tx, sql, [progress.webhook_id, now])
}

/// Disables the webhook if that is the result, unless it has another endpoint by now, and tells the
/// owners of its organization.
async fn disable(
    tx: &mut Transaction,
    notices: Notices,
    progress: &WebhookProgress,
    now: Time,
) -> Result<()> {
    let Some(reason) = progress.disable_reason else {
        return Ok(());
    };
    let disabled = rows_affected!(
        tx,
        "update webhooks
         set enabled = false, disable_reason = $3, update_time = $4
         where id = $1 and url = $2 and enabled and delete_time is null",
        [progress.webhook_id, &progress.url, reason.as_str(), now]
    )?;
    if disabled == 0 {
        return Ok(());
    }
    end_retries(tx, progress.webhook_id).await?;
    let (kind, detail) = (EmailKind::DisabledWebhook, progress.webhook_id.to_string());
    let owners: Vec<UserId> = fetch_scalars!(
        tx,
        "select user_id from memberships where organization_id = $1 and role = $2",
        [progress.owner_id, Role::Owner.as_str()]
    )?;
    for owner in owners {
        notices.queue(tx, owner, kind, &detail, now).await?;
        let audit = AuditContext::for_user("DisableWebhook", Some(owner), RequestOrigin::default())
            .with_resource(progress.webhook_id);
        audit_log::record(tx, &audit, now).await?;
    }
    Ok(())
}

impl_from_row!(WebhookLease: webhook_id, project_id, revision, failures, failing_since);
