use super::rows::{delivery_columns, webhook_owned_by};
use crate::{
    database::{Batch, Database, DeletedBatch},
    domain::{
        CreateTimeRange, Page, Tenant, Time, WebhookAttempt, WebhookDelivery,
        WebhookDeliveryFilter, WebhookDeliveryId, WebhookDeliveryState, WebhookId,
    },
    error::{Error, Result},
    repositories::sql::refusal,
};

/// What was sent to webhooks.
#[derive(Debug, Clone)]
pub struct WebhookDeliveries {
    database: Database,
}

impl WebhookDeliveries {
    /// Deliveries in this database.
    pub fn new(database: Database) -> Self {
        Self { database }
    }

    /// A delivery to a webhook of the tenant.
    pub async fn get(&self, tenant: Tenant, id: WebhookDeliveryId) -> Result<WebhookDelivery> {
        if let Some(found) = self.find(tenant, id).await? {
            return Ok(found);
        }
        let is_visible = async |reader| Ok(self.find(reader, id).await?.is_some());
        Err(refusal!(tenant, "webhook_delivery", id, reader => is_visible(reader).await))
    }

    async fn find(&self, tenant: Tenant, id: WebhookDeliveryId) -> Result<Option<WebhookDelivery>> {
        fetch_optional!(
            self.database.reader(),
            concat!(
                "select ",
                delivery_columns!("d."),
                " from webhook_deliveries d
                 join webhooks w on w.id = d.webhook_id
                 where d.id = $1 and ",
                webhook_owned_by!("$2", "$3", "$4"),
            ),
            [id, tenant.user, tenant.key, tenant.roles()]
        )
    }

    /// The deliveries to a webhook of the tenant, newest first.
    pub async fn list(
        &self,
        tenant: Tenant,
        webhook_id: WebhookId,
        filter: WebhookDeliveryFilter,
        created: CreateTimeRange,
        page: Page,
    ) -> Result<Vec<WebhookDelivery>> {
        fetch_all!(
            self.database.reader(),
            concat!(
                "select ",
                delivery_columns!("d."),
                " from webhook_deliveries d
                 join webhooks w on w.id = d.webhook_id
                 where d.webhook_id = $1 and d.id < $2 and ",
                webhook_owned_by!("$3", "$4", "$10"),
                " and ($6 is null or d.state = $6)
                  and ($7 is null or d.project_id = $7)
                  and coalesce(d.create_time, $8) > $8 and coalesce(d.create_time, $9) < $9
                  order by d.id desc
                  limit $5",
            ),
            [
                webhook_id,
                page.below,
                tenant.user,
                tenant.key,
                page.limit(),
                filter.state.map(WebhookDeliveryState::as_str),
                filter.project_id,
                created.after,
                created.before,
                tenant.roles()
            ]
        )
    }

    /// Records a further attempt, which its owner has asked for. What is retried is still sent in
    /// its turn.
    pub async fn record_again(
        &self,
        id: WebhookDeliveryId,
        attempt: &WebhookAttempt,
        now: Time,
    ) -> Result<WebhookDelivery> {
        fetch_optional!(
            self.database.writer(),
            concat!(
                "update webhook_deliveries
                 set attempts = attempts + 1, status_code = $2, error = $3, latency_ms = $4,
                     last_attempt_time = $5,
                     state = case when $6 and state = $7 then $8 else state end
                 where id = $1
                 returning ",
                delivery_columns!(""),
            ),
            [
                id,
                attempt.status_code.map(i32::from),
                attempt.error.as_deref().unwrap_or_default(),
                attempt.latency_ms(),
                now,
                attempt.is_success(),
                WebhookDeliveryState::Failed.as_str(),
                WebhookDeliveryState::Delivered.as_str()
            ]
        )?
        .ok_or_else(|| Error::not_found("webhook_delivery", id))
    }

    /// Deletes a batch of deliveries whose last attempt was before a time. What is retried stays.
    pub async fn purge(&self, before: Time, batch: Batch) -> Result<DeletedBatch> {
        const DELETE: &str = "delete from webhook_deliveries
             where id in (
                 select id
                 from webhook_deliveries
                 where last_attempt_time < $1 and next_attempt_time is null
                 order by last_attempt_time
                 limit $2 offset $3)";
        self.database.delete_batch(DELETE, before, batch).await
    }
}
