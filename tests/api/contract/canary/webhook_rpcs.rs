//! The RPCs of webhooks.

use sluice::proto::v1 as pb;
use uuid::Uuid;

use super::recorder::{
    Outcome::{Fails, Succeeds},
    Recorder,
};
use crate::harness::TestDatabase;
use crate::webhooks::fixture::plant_delivery;

impl Recorder {
    /// Calls the RPCs of webhooks, the last one of which deletes.
    pub async fn webhook_rpcs(&mut self, database: &TestDatabase, token: &str, project_id: &str) {
        let request = pb::CreateWebhookRequest {
            project_id: project_id.to_owned(),
            url: "https://hooks.invalid.example.com/".to_owned(),
            request_id: Uuid::now_v7().to_string(),
            ..Default::default()
        };
        let rpc = "WebhookService/CreateWebhook";
        let made: pb::CreateWebhookResponse =
            self.call(Succeeds, rpc, token, request.clone()).await;
        self.secret("secret of a webhook", &made.secret);
        let webhook_id = made.webhook.unwrap().id;
        let id = || webhook_id.clone();
        let wrong = pb::CreateWebhookRequest {
            url: format!(
                "https://user:{}@example.com/",
                self.new_secret("password in a URL")
            ),
            request_id: self.new_secret("request id of a webhook"),
            ..request
        };
        self.call::<()>(Fails, rpc, token, wrong).await;

        let rpc = "WebhookService/RotateWebhookSecret";
        let request = pb::RotateWebhookSecretRequest {
            webhook_id: id(),
            grace: Some(prost_types::Duration {
                seconds: 60,
                nanos: 0,
            }),
            request_id: Uuid::now_v7().to_string(),
        };
        let rotated: pb::RotateWebhookSecretResponse =
            self.call(Succeeds, rpc, token, request).await;
        self.secret("rotated secret of a webhook", &rotated.secret);
        let get = pb::GetWebhookRequest { webhook_id: id() };
        self.call::<()>(Succeeds, "WebhookService/GetWebhook", token, get)
            .await;
        let list = pb::ListWebhooksRequest::default();
        self.call::<()>(Succeeds, "WebhookService/ListWebhooks", token, list)
            .await;
        let update = pb::UpdateWebhookRequest {
            webhook_id: id(),
            disabled: Some(true),
            ..Default::default()
        };
        self.call::<()>(Succeeds, "WebhookService/UpdateWebhook", token, update)
            .await;
        self.sending_rpcs(database, token, project_id, &webhook_id)
            .await;
        let delete = pb::DeleteWebhookRequest {
            webhook_id: id(),
            ..Default::default()
        };
        self.call::<()>(Succeeds, "WebhookService/DeleteWebhook", token, delete)
            .await;
    }

    /// Calls the RPCs that send. The host of the endpoint does not exist.
    async fn sending_rpcs(
        &mut self,
        database: &TestDatabase,
        token: &str,
        project_id: &str,
        webhook_id: &str,
    ) {
        let webhook_id = webhook_id.to_owned();
        let test = pb::TestWebhookRequest {
            webhook_id: webhook_id.clone(),
        };
        self.call::<()>(Succeeds, "WebhookService/TestWebhook", token, test)
            .await;
        let delivery_id = plant_delivery(database, &webhook_id, project_id, 1, "failed").await;
        let again = pb::RedeliverWebhookRequest { delivery_id };
        self.call::<()>(Succeeds, "WebhookService/RedeliverWebhook", token, again)
            .await;
        let list = pb::ListWebhookDeliveriesRequest {
            webhook_id,
            ..Default::default()
        };
        let rpc = "WebhookService/ListWebhookDeliveries";
        self.call::<()>(Succeeds, rpc, token, list).await;
    }
}
