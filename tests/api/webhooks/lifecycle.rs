use rstest::rstest;
use sluice::proto::v1 as pb;
use tonic::Code;

use super::{
    endpoint::{Answer, Endpoint},
    fixture::{
        create, create_request, create_with, get, rename, server, server_with, set_disabled,
        update, wait_for_delivery,
    },
};
use crate::harness::{Engine, Postgres, Sqlite, TestServer, eventually, refused};

const ROWS: [&str; 3] = ["webhooks", "webhook_cursors", "webhook_deliveries"];

async fn wait_until_empty(server: &TestServer) {
    for table in ROWS {
        let sql = format!("select count(*) from {table}");
        eventually("the rows of webhooks are deleted", async || {
            (server.database.number(&sql).await == 0).then_some(())
        })
        .await;
    }
}

#[rstest]
#[tokio::test]
async fn an_update_changes_only_the_fields_that_it_has(#[values(Sqlite, Postgres)] engine: Engine) {
    let (server, endpoint) = (server(engine).await, Endpoint::start().await);
    let user = server.user().await;
    let request = pb::CreateWebhookRequest {
        description: " Alerts ".to_owned(),
        event_types: vec!["stream.live".to_owned(), "stream.ended".to_owned()],
        ..create_request(&endpoint)
    };
    let (webhook, _) = create_with(&user, request).await;
    assert_eq!(webhook.description, "Alerts");
    assert_eq!(webhook.event_types, ["stream.live", "stream.ended"]);
    assert_eq!(get(&user, &webhook).await, webhook);

    let request = pb::UpdateWebhookRequest {
        webhook_id: webhook.id.clone(),
        description: Some(String::new()),
        event_types: Some(pb::WebhookEventTypes::default()),
        etag: webhook.etag.clone(),
        ..Default::default()
    };
    let updated = update(&user, request.clone()).await;

    assert_eq!((&*updated.description, &updated.url), ("", &webhook.url));
    assert!(updated.event_types.is_empty() && !updated.disabled);
    assert_ne!(updated.etag, webhook.etag);
    let refusal = refused(user.client.webhook.clone().update_webhook(request).await);
    assert_eq!(refusal.class(), (Code::Aborted, "ETAG_MISMATCH"));
}

#[rstest]
#[tokio::test]
async fn a_disabled_webhook_gets_nothing_and_goes_on_where_it_was(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let (server, endpoint) = (server(engine).await, Endpoint::start().await);
    let (user, witness) = (server.user().await, Endpoint::start().await);
    let webhook = create(&user, &endpoint).await;
    create(&user, &witness).await;
    let (project, _) = user.project().await;
    wait_for_delivery(&user, &webhook, |one| one.revision == 1).await;

    set_disabled(&user, &webhook, true).await;
    for number in 0..3 {
        rename(&user, &project.id, &format!("Show {number}")).await;
    }
    witness.wait_for(4).await;
    assert_eq!(endpoint.received().len(), 1);

    set_disabled(&user, &webhook, false).await;
    let received = endpoint.wait_for(4).await;
    let revisions: Vec<_> = received.iter().map(|one| one.revision()).collect();
    assert_eq!(revisions, [1, 2, 3, 4]);
}

#[rstest]
#[tokio::test]
async fn another_endpoint_gets_at_once_what_the_first_one_has_not_taken(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = server_with(engine, &["--webhook-retry-delay=1h"]).await;
    let user = server.user().await;
    let (old, new) = (
        Endpoint::answering(Answer::status(500)).await,
        Endpoint::start().await,
    );
    let webhook = create(&user, &old).await;
    user.project().await;
    wait_for_delivery(&user, &webhook, |one| one.attempts == 1).await;

    let request = pb::UpdateWebhookRequest {
        webhook_id: webhook.id.clone(),
        url: Some(new.url()),
        ..Default::default()
    };
    update(&user, request).await;

    assert_eq!(new.wait_for(1).await[0].id(), old.received()[0].id());
}

#[rstest]
#[tokio::test]
async fn a_deleted_webhook_is_not_found_and_its_rows_are_deleted(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let (server, endpoint) = (server(engine).await, Endpoint::start().await);
    let user = server.user().await;
    let webhook = create(&user, &endpoint).await;
    user.project().await;
    wait_for_delivery(&user, &webhook, |_| true).await;

    let request = pb::DeleteWebhookRequest {
        webhook_id: webhook.id.clone(),
        ..Default::default()
    };
    let mut client = user.client.webhook.clone();
    client.delete_webhook(request).await.unwrap();

    let request = pb::GetWebhookRequest {
        webhook_id: webhook.id,
    };
    let refusal = refused(client.get_webhook(request).await);
    assert_eq!(refusal.class(), (Code::NotFound, "RESOURCE_NOT_FOUND"));
    wait_until_empty(&server).await;
}

#[rstest]
#[tokio::test]
async fn the_deletion_of_a_project_is_its_last_event_and_removes_its_webhooks(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let (server, endpoint) = (server(engine).await, Endpoint::start().await);
    let user = server.user().await;
    let (project, _) = user.project().await;
    let request = pb::CreateWebhookRequest {
        project_id: project.id.clone(),
        ..create_request(&endpoint)
    };
    let (webhook, _) = create_with(&user, request).await;

    let request = pb::DeleteProjectRequest {
        project_id: project.id,
        ..Default::default()
    };
    let mut projects = user.client.project.clone();
    projects.delete_project(request).await.unwrap();

    let request = pb::GetWebhookRequest {
        webhook_id: webhook.id,
    };
    let refusal = refused(user.client.webhook.clone().get_webhook(request).await);
    assert_eq!(refusal.class(), (Code::NotFound, "RESOURCE_NOT_FOUND"));
    let received = endpoint.wait_for(1).await;
    assert_eq!(received[0].event_type(), "project.deleted");
    wait_until_empty(&server).await;
}

#[rstest]
#[tokio::test]
async fn the_deletion_of_an_account_removes_its_webhooks(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let (server, endpoint) = (server(engine).await, Endpoint::start().await);
    let user = server.user().await;
    let webhook = create(&user, &endpoint).await;
    user.project().await;
    wait_for_delivery(&user, &webhook, |_| true).await;

    let request = pb::DeleteMeRequest {
        password: user.password.to_owned(),
    };
    user.client.auth.clone().delete_me(request).await.unwrap();

    wait_until_empty(&server).await;
    assert_eq!(endpoint.received().len(), 1);
}

#[rstest]
#[tokio::test]
async fn an_account_has_a_maximum_number_of_webhooks(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = server_with(engine, &["--max-webhooks=2"]).await;
    let (user, endpoint) = (server.user().await, Endpoint::start().await);
    let first = create(&user, &endpoint).await;
    create(&user, &endpoint).await;

    let request = create_request(&endpoint);
    let refusal = refused(user.client.webhook.clone().create_webhook(request).await);
    let limit = (Code::FailedPrecondition, "WEBHOOK_LIMIT_REACHED");
    assert_eq!(refusal.class(), limit);

    let request = pb::DeleteWebhookRequest {
        webhook_id: first.id,
        ..Default::default()
    };
    let mut client = user.client.webhook.clone();
    client.delete_webhook(request).await.unwrap();
    create(&user, &endpoint).await;
}
