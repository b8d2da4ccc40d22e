use sluice::{domain::WebhookDeliveryId, proto::v1 as pb};

use super::endpoint::Endpoint;
use crate::harness::{Engine, TestDatabase, TestServer, User, eventually};

/// Endpoints of tests are on this machine, and retries come soon.
pub const FLAGS: [&str; 3] = [
    "--allow-private-webhooks=true",
    "--webhook-retry-delay=100ms",
    "--watch-poll-interval=100ms",
];

/// A server that sends to endpoints on this machine.
pub async fn server(engine: Engine) -> TestServer {
    server_with(engine, &[]).await
}

/// The same, with further flags.
pub async fn server_with(engine: Engine, flags: &[&str]) -> TestServer {
    let flags: Vec<_> = FLAGS.iter().chain(flags).copied().collect();
    TestServer::start_with(engine, &flags).await
}

/// A CreateWebhook request for all projects of the account.
pub fn create_request(endpoint: &Endpoint) -> pb::CreateWebhookRequest {
    pb::CreateWebhookRequest {
        url: endpoint.url(),
        ..Default::default()
    }
}

/// CreateWebhook; returns the secret too.
pub async fn create_with(user: &User, request: pb::CreateWebhookRequest) -> (pb::Webhook, String) {
    let created = user.client.webhook.clone().create_webhook(request).await;
    let created = created.unwrap().into_inner();
    (created.webhook.unwrap(), created.secret)
}

/// A webhook for all projects of a user.
pub async fn create(user: &User, endpoint: &Endpoint) -> pb::Webhook {
    create_with(user, create_request(endpoint)).await.0
}

/// GetWebhook.
pub async fn get(user: &User, webhook: &pb::Webhook) -> pb::Webhook {
    let request = pb::GetWebhookRequest {
        webhook_id: webhook.id.clone(),
    };
    let answer = user.client.webhook.clone().get_webhook(request).await;
    answer.unwrap().into_inner().webhook.unwrap()
}

/// UpdateWebhook.
pub async fn update(user: &User, request: pb::UpdateWebhookRequest) -> pb::Webhook {
    let answer = user.client.webhook.clone().update_webhook(request).await;
    answer.unwrap().into_inner().webhook.unwrap()
}

/// Disables or enables a webhook.
pub async fn set_disabled(user: &User, webhook: &pb::Webhook, disabled: bool) -> pb::Webhook {
    let request = pb::UpdateWebhookRequest {
        webhook_id: webhook.id.clone(),
        disabled: Some(disabled),
        ..Default::default()
    };
    update(user, request).await
}

/// ListWebhookDeliveries: the first page.
pub async fn deliveries(user: &User, webhook: &pb::Webhook) -> Vec<pb::WebhookDelivery> {
    let request = pb::ListWebhookDeliveriesRequest {
        webhook_id: webhook.id.clone(),
        page_size: 200,
        ..Default::default()
    };
    let mut client = user.client.webhook.clone();
    let answer = client.list_webhook_deliveries(request).await;
    answer.unwrap().into_inner().deliveries
}

/// Waits until the newest delivery has a property; returns it.
pub async fn wait_for_delivery(
    user: &User,
    webhook: &pb::Webhook,
    has: impl Fn(&pb::WebhookDelivery) -> bool,
) -> pb::WebhookDelivery {
    eventually("a delivery is recorded", async || {
        let found = deliveries(user, webhook).await;
        found.into_iter().find(|delivery| has(delivery))
    })
    .await
}

/// Renames a project: one event.
pub async fn rename(user: &User, project_id: &str, name: &str) -> pb::Project {
    let request = pb::UpdateProjectRequest {
        project_id: project_id.to_owned(),
        display_name: Some(name.to_owned()),
        ..Default::default()
    };
    let answer = user.client.project.clone().update_project(request).await;
    answer.unwrap().into_inner().project.unwrap()
}

/// A webhook that nothing is ever sent to by itself: whatever happens, its rows stay as they are.
pub async fn create_quiet(user: &User, project_id: &str, disabled: bool) -> pb::Webhook {
    let request = pb::CreateWebhookRequest {
        project_id: project_id.to_owned(),
        url: "https://hooks.invalid.example.com/".to_owned(),
        event_types: vec!["project.deleted".to_owned()],
        disabled,
        ..Default::default()
    };
    create_with(user, request).await.0
}

/// Adds a delivery to the database, in one of the states, as if it was sent now; returns its id.
pub async fn plant_delivery(
    database: &TestDatabase,
    webhook_id: &str,
    project_id: &str,
    revision: i64,
    state: &str,
) -> String {
    let id = WebhookDeliveryId::generate().to_string();
    let now = sluice::domain::now().to_rfc3339();
    let [id_value, webhook, project] =
        [&*id, webhook_id, project_id].map(|id| match database.url.starts_with("sqlite:") {
            true => format!("unhex('{}')", id.replace('-', "")),
            false => format!("'{id}'"),
        });
    let message_id = format!("evt_{}_{revision}", project_id.replace('-', ""));
    let statement = format!(
        "insert into webhook_deliveries
             (id, webhook_id, project_id, revision, event_type, message_id, state, attempts,
              status_code, error, latency_ms, create_time, last_attempt_time)
         values ({id_value}, {webhook}, {project}, {revision}, 'project.updated', '{message_id}',
                 '{state}', 1, 200, '', 5, '{now}', '{now}')"
    );
    database.execute(&statement).await;
    id
}
