use std::time::Duration;

use tonic::Request;

use crate::{
    auth::{Caller, Sealer},
    database::Database,
    domain::{UrlPolicy, now},
    error::Result,
    proto::v1 as pb,
    repositories::{Events, Projects, WebhookDeliveries, Webhooks},
    services::{paging::PageTokens, rpc::implement_service},
    webhooks::{EventWriter, WebhookSender},
};

use super::event_data::event_writer;

/// What a [`WebhookService`] needs.
#[derive(Debug)]
pub struct WebhookDependencies {
    /// The database.
    pub database: Database,
    /// Seals the secrets.
    pub sealer: Sealer,
    /// Sends tests and redeliveries.
    pub sender: WebhookSender,
    /// Which hosts an endpoint may have.
    pub url_policy: UrlPolicy,
    /// The most webhooks of an account.
    pub max_webhooks: u32,
    /// The longest time for a test or a redelivery: shorter than that of a call.
    pub send_timeout: Duration,
    /// The greatest age of the authentication of a session that changes webhooks; zero means any
    /// age.
    pub recent_authentication: Duration,
}

/// The service for webhooks.
#[derive(Debug)]
pub struct WebhookService {
    pub(super) webhooks: Webhooks,
    pub(super) deliveries: WebhookDeliveries,
    pub(super) projects: Projects,
    pub(super) events: Events,
    pub(super) page_tokens: PageTokens,
    pub(super) sealer: Sealer,
    pub(super) sender: WebhookSender,
    pub(super) writer: EventWriter,
    pub(super) url_policy: UrlPolicy,
    pub(super) send_timeout: Duration,
    recent_authentication: Duration,
}

impl WebhookService {
    /// The service of a database.
    pub fn new(dependencies: WebhookDependencies) -> Self {
        let WebhookDependencies {
            database,
            sealer,
            sender,
            url_policy,
            max_webhooks,
            send_timeout,
            recent_authentication,
        } = dependencies;
        Self {
            webhooks: Webhooks::new(database.clone(), max_webhooks.into()),
            deliveries: WebhookDeliveries::new(database.clone()),
            projects: Projects::new(database.clone()),
            events: Events::new(database),
            page_tokens: PageTokens::new(sealer.clone()),
            sealer,
            sender,
            writer: event_writer(),
            url_policy,
            send_timeout,
            recent_authentication,
        }
    }

    /// `ReauthenticationRequired` if the authentication of the caller's session is too old.
    pub(super) fn require_recent_authentication<T>(&self, request: &Request<T>) -> Result<()> {
        Caller::of(request)?.require_recent_authentication(self.recent_authentication, now())
    }
}

implement_service! {
    WebhookService as pb::webhook_service_server::WebhookService {
        rpc create_webhook(pb::CreateWebhookRequest) -> pb::CreateWebhookResponse;
        rpc get_webhook(pb::GetWebhookRequest) -> pb::GetWebhookResponse;
        rpc list_webhooks(pb::ListWebhooksRequest) -> pb::ListWebhooksResponse;
        rpc update_webhook(pb::UpdateWebhookRequest) -> pb::UpdateWebhookResponse;
        rpc delete_webhook(pb::DeleteWebhookRequest) -> pb::DeleteWebhookResponse;
        rpc rotate_webhook_secret(pb::RotateWebhookSecretRequest) -> pb::RotateWebhookSecretResponse;
        rpc test_webhook(pb::TestWebhookRequest) -> pb::TestWebhookResponse;
        rpc list_webhook_deliveries(pb::ListWebhookDeliveriesRequest) -> pb::ListWebhookDeliveriesResponse;
        rpc redeliver_webhook(pb::RedeliverWebhookRequest) -> pb::RedeliverWebhookResponse;
    }
}
