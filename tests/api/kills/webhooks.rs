use sluice::proto::v1 as pb;
use tonic::Code;
use uuid::Uuid;

use super::{caller::Caller, writer::Writer};

/// Creates, changes and deletes webhooks to which nothing is sent.
pub struct Webhooks {
    owner: Caller,
    /// The acknowledged state of each, and whether it was deleted.
    webhooks: Vec<(pb::Webhook, bool)>,
}

impl Webhooks {
    pub fn new(owner: &Caller) -> Self {
        Self {
            owner: owner.clone(),
            webhooks: Vec::new(),
        }
    }

    async fn create(&self, number: usize) -> pb::Webhook {
        let request = pb::CreateWebhookRequest {
            url: "https://hooks.invalid.example.com/".to_owned(),
            description: format!("Webhook {number}"),
            disabled: true,
            request_id: Uuid::now_v7().to_string(),
            ..Default::default()
        };
        let answer = self
            .owner
            .write("CreateWebhook", async |mut client| {
                client.webhook.create_webhook(request.clone()).await
            })
            .await;
        answer.webhook.unwrap()
    }

    async fn update(&self, webhook: &pb::Webhook) -> pb::Webhook {
        let request = pb::UpdateWebhookRequest {
            webhook_id: webhook.id.clone(),
            description: Some(format!("{} changed", webhook.description)),
            request_id: Uuid::now_v7().to_string(),
            ..Default::default()
        };
        let answer = self
            .owner
            .write("UpdateWebhook", async |mut client| {
                client.webhook.update_webhook(request.clone()).await
            })
            .await;
        answer.webhook.unwrap()
    }

    async fn rotate(&self, webhook: &pb::Webhook) -> pb::Webhook {
        let request = pb::RotateWebhookSecretRequest {
            webhook_id: webhook.id.clone(),
            request_id: Uuid::now_v7().to_string(),
            ..Default::default()
        };
        let answer = self
            .owner
            .write("RotateWebhookSecret", async |mut client| {
                client.webhook.rotate_webhook_secret(request.clone()).await
            })
            .await;
        answer.webhook.unwrap()
    }

    async fn delete(&self, webhook: &pb::Webhook) {
        let request = pb::DeleteWebhookRequest {
            webhook_id: webhook.id.clone(),
            ..Default::default()
        };
        self.owner
            .write_once(
                "DeleteWebhook",
                &["RESOURCE_NOT_FOUND"],
                async |mut client| client.webhook.delete_webhook(request.clone()).await,
            )
            .await;
    }
}

impl Writer for Webhooks {
    async fn write(&mut self, number: usize) {
        let webhook = self.create(number).await;
        let webhook = self.update(&webhook).await;
        let webhook = self.rotate(&webhook).await;
        // An account has a maximum of them.
        let is_deleted = !number.is_multiple_of(100);
        if is_deleted {
            self.delete(&webhook).await;
        }
        self.webhooks.push((webhook, is_deleted));
    }

    async fn check(&self) {
        for (webhook, is_deleted) in &self.webhooks {
            let request = pb::GetWebhookRequest {
                webhook_id: webhook.id.clone(),
            };
            let get = async |mut client: crate::harness::Client| {
                client.webhook.get_webhook(request.clone()).await
            };
            match is_deleted {
                false => {
                    let answer = self.owner.read("GetWebhook", get).await;
                    assert_eq!(answer.webhook.as_ref(), Some(webhook));
                }
                true => {
                    let refusal = self.owner.refusal("GetWebhook", get).await;
                    assert_eq!(refusal.class(), (Code::NotFound, "RESOURCE_NOT_FOUND"));
                }
            }
        }
    }
}
