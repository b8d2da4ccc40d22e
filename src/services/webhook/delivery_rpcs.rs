use tonic::{Request, Response};

use super::{
    event_data::test_data, messages::read_list_webhook_deliveries, service::WebhookService,
};
use crate::{
    auth::WebhookSecret,
    domain::{
        WebhookAttempt, WebhookDelivery, WebhookEventType, WebhookMessage, WebhookTarget, now,
    },
    error::{Error, Result},
    proto::v1 as pb,
    random::random_id,
    repositories::EventRange,
    services::{
        fields::{duration, read_id},
        rpc::tenant,
    },
    webhooks::message,
};

/// The RPCs for what is sent to webhooks.
impl WebhookService {
    pub(super) async fn test_webhook(
        &self,
        request: Request<pb::TestWebhookRequest>,
    ) -> Result<Response<pb::TestWebhookResponse>> {
        let tenant = tenant(&request)?;
        let id = read_id("webhook_id", &request.get_ref().webhook_id)?;

        let target = self.webhooks.get_target(tenant, id, now()).await?;
        let message_id = format!("test_{}", random_id());
        let event_type = WebhookEventType::WebhookTest;
        let message = message(message_id, event_type, now(), &test_data(id)?)?;
        let attempt = self.send(&target, &message).await?;

        Ok(Response::new(pb::TestWebhookResponse {
            status_code: attempt.status_code.map(i32::from).unwrap_or_default(),
            error: attempt.error.unwrap_or_default(),
            latency: Some(duration(attempt.latency)),
            message_id: message.id,
        }))
    }

    pub(super) async fn list_webhook_deliveries(
        &self,
        request: Request<pb::ListWebhookDeliveriesRequest>,
    ) -> Result<Response<pb::ListWebhookDeliveriesResponse>> {
        let tenant = tenant(&request)?;
        let message = request.into_inner();
        let (id, filter, created, list) =
            read_list_webhook_deliveries(&message, tenant, &self.page_tokens)?;

        self.webhooks.get(tenant, id).await?;
        if let Some(project_id) = filter.project_id {
            self.projects.get(tenant, project_id).await?;
        }
        let deliveries = self
            .deliveries
            .list(tenant, id, filter, created, list.page)
            .await?;

        let (deliveries, next_page_token) = self
            .page_tokens
            .page(&list, deliveries, |row| row.id.uuid());
        Ok(Response::new(pb::ListWebhookDeliveriesResponse {
            deliveries,
            next_page_token,
        }))
    }

    pub(super) async fn redeliver_webhook(
        &self,
        request: Request<pb::RedeliverWebhookRequest>,
    ) -> Result<Response<pb::RedeliverWebhookResponse>> {
        let tenant = tenant(&request)?;
        let id = read_id("delivery_id", &request.get_ref().delivery_id)?;

        let delivery = self.deliveries.get(tenant, id).await?;
        let target = self
            .webhooks
            .get_target(tenant, delivery.webhook_id, now())
            .await?;
        let message = self.message_of(&delivery).await?;
        let attempt = self.send(&target, &message).await?;
        let delivery = self.deliveries.record_again(id, &attempt, now()).await?;

        let delivery = Some(delivery.into());
        Ok(Response::new(pb::RedeliverWebhookResponse { delivery }))
    }

    /// The message of a delivery. `WebhookEventExpired` if its event is not kept any more.
    async fn message_of(&self, delivery: &WebhookDelivery) -> Result<WebhookMessage> {
        let range = EventRange {
            project_id: delivery.project_id,
            after: delivery.revision - 1,
            until: delivery.revision,
        };
        let events = self.events.within(&[range]).await?;
        let event = events.into_iter().next();
        let (project_id, event) = event.ok_or(Error::WebhookEventExpired)?;
        let message = self.writer.event(project_id, event)?;
        // A gap ended with this revision: the event was deleted, or could not be read.
        match message.id == delivery.message_id {
            true => Ok(message),
            false => Err(Error::WebhookEventExpired),
        }
    }

    async fn send(
        &self,
        target: &WebhookTarget,
        message: &WebhookMessage,
    ) -> Result<WebhookAttempt> {
        let secrets = WebhookSecret::of_target(target, &self.sealer)?;
        let limit = self.send_timeout;
        self.sender
            .send_for_caller(target, &secrets, message, limit)
            .await
    }
}
