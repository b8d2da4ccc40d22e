use rstest::rstest;
use sluice::proto::v1 as pb;
use tonic::Code;

use super::{
    endpoint::Endpoint,
    fixture::{create, create_request, create_with, rename, server, wait_for_delivery},
};
use crate::{
    harness::{Client, Engine, Postgres, Sqlite, refused},
    project::fixtures::api_key_client,
};

/// The answers of all RPCs that name a webhook, to a caller.
async fn refusals(client: &Client, webhook_id: &str, delivery_id: &str) -> Vec<(Code, String)> {
    let mut client = client.webhook.clone();
    let id = || webhook_id.to_owned();
    let get = pb::GetWebhookRequest { webhook_id: id() };
    let update = pb::UpdateWebhookRequest {
        webhook_id: id(),
        disabled: Some(true),
        ..Default::default()
    };
    let delete = pb::DeleteWebhookRequest {
        webhook_id: id(),
        ..Default::default()
    };
    let rotate = pb::RotateWebhookSecretRequest {
        webhook_id: id(),
        ..Default::default()
    };
    let test = pb::TestWebhookRequest { webhook_id: id() };
    let list = pb::ListWebhookDeliveriesRequest {
        webhook_id: id(),
        ..Default::default()
    };
    let redeliver = pb::RedeliverWebhookRequest {
        delivery_id: delivery_id.to_owned(),
    };
    let all = [
        refused(client.get_webhook(get).await),
        refused(client.update_webhook(update).await),
        refused(client.delete_webhook(delete).await),
        refused(client.rotate_webhook_secret(rotate).await),
        refused(client.test_webhook(test).await),
        refused(client.list_webhook_deliveries(list).await),
        refused(client.redeliver_webhook(redeliver).await),
    ];
    let all = all.iter().map(|refusal| refusal.class());
    all.map(|(code, reason)| (code, reason.to_owned()))
        .collect()
}

async fn listed(client: &Client) -> Vec<String> {
    let request = pb::ListWebhooksRequest::default();
    let listed = client.webhook.clone().list_webhooks(request).await;
    let webhooks = listed.unwrap().into_inner().webhooks.into_iter();
    webhooks.map(|webhook| webhook.id).collect()
}

#[rstest]
#[tokio::test]
async fn the_webhook_of_another_account_is_like_an_unknown_one(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let (server, endpoint) = (server(engine).await, Endpoint::start().await);
    let (owner, stranger) = (server.user().await, server.user().await);
    let webhook = create(&owner, &endpoint).await;
    let (project, _) = owner.project().await;
    let delivery = wait_for_delivery(&owner, &webhook, |_| true).await;
    let unknown = "01890a5d-ac96-774b-bcce-b302099a8057";

    let foreign = refusals(&stranger.client, &webhook.id, &delivery.id).await;

    assert_eq!(foreign, refusals(&stranger.client, unknown, unknown).await);
    let not_found = (Code::NotFound, "RESOURCE_NOT_FOUND".to_owned());
    assert!(foreign.iter().all(|refusal| *refusal == not_found));
    assert!(listed(&stranger.client).await.is_empty());
    assert_eq!(super::fixture::get(&owner, &webhook).await, webhook);

    let request = pb::CreateWebhookRequest {
        project_id: project.id.clone(),
        ..create_request(&endpoint)
    };
    let refusal = refused(
        stranger
            .client
            .webhook
            .clone()
            .create_webhook(request)
            .await,
    );
    assert_eq!(refusal.class(), (Code::NotFound, "RESOURCE_NOT_FOUND"));
    let request = pb::ListWebhooksRequest {
        project_id: project.id,
        ..Default::default()
    };
    let refusal = refused(stranger.client.webhook.clone().list_webhooks(request).await);
    assert_eq!(refusal.class(), (Code::NotFound, "RESOURCE_NOT_FOUND"));
}

#[rstest]
#[tokio::test]
async fn a_webhook_gets_no_events_of_another_account(#[values(Sqlite, Postgres)] engine: Engine) {
    let (server, endpoint) = (server(engine).await, Endpoint::start().await);
    let (owner, stranger) = (server.user().await, server.user().await);
    create(&owner, &endpoint).await;
    stranger.project().await;
    let (project, _) = owner.project().await;

    let received = endpoint.wait_for(1).await;

    assert_eq!(received[0].project(), project.id);
}

#[rstest]
#[tokio::test]
async fn a_restricted_api_key_has_access_to_the_webhooks_of_its_projects_only(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let (server, endpoint) = (server(engine).await, Endpoint::start().await);
    let owner = server.user().await;
    let (mine, _) = owner.project().await;
    let (other, _) = owner.project().await;
    let of_project = |id: &str| pb::CreateWebhookRequest {
        project_id: id.to_owned(),
        ..create_request(&endpoint)
    };
    let of_all = create(&owner, &endpoint).await;
    let (of_other, _) = create_with(&owner, of_project(&other.id)).await;
    let scopes = [
        "webhooks:read",
        "webhooks:write",
        "projects:read",
        "streams:read",
    ];
    let key = api_key_client(&server, &owner, &scopes, vec![mine.id.clone()]).await;

    let created = key
        .webhook
        .clone()
        .create_webhook(of_project(&mine.id))
        .await;
    let created = created.unwrap().into_inner().webhook.unwrap();

    assert_eq!(listed(&key).await, [created.id]);
    let delivery = "01890a5d-ac96-774b-bcce-b302099a8057";
    for id in [&of_all.id, &of_other.id] {
        let not_found = (Code::NotFound, "RESOURCE_NOT_FOUND".to_owned());
        let refusals = refusals(&key, id, delivery).await;
        assert!(refusals.iter().all(|refusal| *refusal == not_found));
    }
    let refusal = refused(
        key.webhook
            .clone()
            .create_webhook(of_project(&other.id))
            .await,
    );
    assert_eq!(refusal.class(), (Code::NotFound, "RESOURCE_NOT_FOUND"));
    let request = create_request(&endpoint);
    let refusal = refused(key.webhook.clone().create_webhook(request).await);
    assert_eq!(
        refusal.class(),
        (Code::PermissionDenied, "API_KEY_RESTRICTED")
    );
}

/// Otherwise a key could read through an endpoint what it may not read itself.
#[rstest]
#[tokio::test]
async fn a_key_needs_to_read_projects_and_streams_to_have_them_sent(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let (server, endpoint) = (server(engine).await, Endpoint::start().await);
    let owner = server.user().await;
    let webhook = create(&owner, &endpoint).await;
    for scopes in [
        vec!["webhooks:write", "projects:read"],
        vec!["webhooks:write", "streams:read"],
    ] {
        let key = api_key_client(&server, &owner, &scopes, vec![]).await;
        let request = create_request(&endpoint);
        let refusal = refused(key.webhook.clone().create_webhook(request).await);
        assert_eq!(refusal.class(), (Code::PermissionDenied, "SCOPE_MISSING"));
        let request = pb::UpdateWebhookRequest {
            webhook_id: webhook.id.clone(),
            url: Some(endpoint.url()),
            ..Default::default()
        };
        let refusal = refused(key.webhook.clone().update_webhook(request).await);
        assert_eq!(refusal.class(), (Code::PermissionDenied, "SCOPE_MISSING"));
    }
}

#[rstest]
#[tokio::test]
async fn nothing_is_sent_for_a_suspended_account_until_it_is_resumed(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let (server, endpoint) = (server(engine).await, Endpoint::start().await);
    let (owner, other) = (server.user().await, server.user().await);
    let witness = Endpoint::start().await;
    create(&owner, &endpoint).await;
    create(&other, &witness).await;
    let (project, _) = owner.project().await;
    endpoint.wait_for(1).await;
    let set = |time: &str| {
        let id = owner.user.id.replace('-', "");
        match engine {
            Sqlite => format!("update users set suspend_time = {time} where id = unhex('{id}')"),
            _ => format!("update users set suspend_time = {time} where id = '{id}'"),
        }
    };

    server.database.execute(&set("create_time")).await;
    rename(&owner, &project.id, "While suspended").await;
    // The events of others go on meanwhile.
    let (theirs, _) = other.project().await;
    for number in 0..3 {
        rename(&other, &theirs.id, &format!("Show {number}")).await;
    }
    witness.wait_for(4).await;
    assert_eq!(endpoint.received().len(), 1);

    server.database.execute(&set("null")).await;
    let received = endpoint.wait_for(2).await;
    assert_eq!(received[1].revision(), 2);
}
