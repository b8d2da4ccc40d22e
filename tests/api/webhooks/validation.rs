use rstest::rstest;
use sluice::proto::v1 as pb;
use tonic::Code;

use super::{
    endpoint::Endpoint,
    fixture::{create_request, create_with, server},
};
use crate::harness::{Sqlite, refused};

#[tokio::test]
async fn all_invalid_fields_of_a_webhook_are_named() {
    let server = server(Sqlite).await;
    let user = server.user().await;
    let request = pb::CreateWebhookRequest {
        project_id: "x".to_owned(),
        url: "ftp://example.com/".to_owned(),
        description: "a".repeat(101),
        event_types: vec!["stream.exploded".to_owned()],
        disabled: false,
        request_id: "x".to_owned(),
        organization_id: "x".to_owned(),
    };
    let refusal = refused(user.client.webhook.clone().create_webhook(request).await);
    assert_eq!(refusal.class(), (Code::InvalidArgument, "FIELDS_INVALID"));
    let all = [
        "description",
        "event_types",
        "organization_id",
        "project_id",
        "request_id",
        "url",
    ];
    assert_eq!(refusal.fields(), all);

    let request = pb::UpdateWebhookRequest {
        webhook_id: "x".to_owned(),
        url: Some(String::new()),
        description: Some("\u{200b}".to_owned()),
        event_types: Some(pb::WebhookEventTypes {
            types: vec!["events.gap".to_owned()],
        }),
        request_id: "x".to_owned(),
        ..Default::default()
    };
    let refusal = refused(user.client.webhook.clone().update_webhook(request).await);
    let all = [
        "description",
        "event_types.types",
        "request_id",
        "url",
        "webhook_id",
    ];
    assert_eq!(refusal.fields(), all);
}

#[rstest]
#[case("https://user:password@example.com/")]
#[case("https://example.com/#fragment")]
#[case("https://example.com:99999/")]
#[case("https://")]
#[tokio::test]
async fn an_unusable_url_is_refused(#[case] url: &str) {
    let server = server(Sqlite).await;
    let user = server.user().await;
    let request = pb::CreateWebhookRequest {
        url: url.to_owned(),
        ..Default::default()
    };
    let refusal = refused(user.client.webhook.clone().create_webhook(request).await);
    assert_eq!(refusal.fields(), ["url"]);
}

#[tokio::test]
async fn the_grace_of_a_secret_is_at_most_a_week() {
    let (server, endpoint) = (server(Sqlite).await, Endpoint::start().await);
    let user = server.user().await;
    let (webhook, _) = create_with(&user, create_request(&endpoint)).await;
    for seconds in [-1, 7 * 24 * 60 * 60 + 1] {
        let request = pb::RotateWebhookSecretRequest {
            webhook_id: webhook.id.clone(),
            grace: Some(prost_types::Duration { seconds, nanos: 0 }),
            ..Default::default()
        };
        let mut client = user.client.webhook.clone();
        let refusal = refused(client.rotate_webhook_secret(request).await);
        assert_eq!(refusal.fields(), ["grace"]);
    }
}
