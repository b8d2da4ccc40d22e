use rstest::rstest;
use sluice::proto::v1 as pb;
use tonic::Code;

use super::fixture::{list, receive, start, total};
use crate::harness::{Client, Engine, Postgres, Sqlite, eventually, exchange, refused};

#[rstest]
#[tokio::test]
async fn another_user_sees_no_usage_of_a_project(#[values(Sqlite, Postgres)] engine: Engine) {
    let fixture = start(engine).await;
    let stream = fixture.live("c1").await;
    receive(&fixture, &stream, "c1", 7000).await;
    eventually("the bytes are recorded", async || {
        (total(&fixture.owner.client).await.bytes_received == 7000).then_some(())
    })
    .await;
    let stranger = fixture.server.user().await;

    assert_eq!(
        total(&stranger.client).await,
        pb::Usage {
            stream_time: Some(prost_types::Duration::default()),
            ..Default::default()
        }
    );
    let records = list(&stranger.client, pb::ListUsageRequest::default()).await;
    assert_eq!(records, pb::ListUsageResponse::default());
    let of_project = pb::GetUsageRequest {
        project_id: fixture.project.id.clone(),
        ..Default::default()
    };
    let refusal = refused(stranger.client.usage.clone().get_usage(of_project).await);
    assert_eq!(refusal.class(), (Code::NotFound, "RESOURCE_NOT_FOUND"));
}

#[rstest]
#[tokio::test]
async fn a_restricted_key_sees_the_usage_of_its_projects_only(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = start(engine).await;
    let (other, other_key) = fixture.owner.project().await;
    let (first, second) = (
        fixture.live("c1").await,
        fixture.node.live(&other_key, "c2").await,
    );
    receive(&fixture, &first, "c1", 7000).await;
    receive(&fixture, &second, "c2", 500).await;
    eventually("the bytes are recorded", async || {
        (total(&fixture.owner.client).await.bytes_received == 7500).then_some(())
    })
    .await;

    let key = restricted_key(&fixture.owner.client, &other.id, "usage:read").await;
    let token = exchange(&fixture.server.channel, &key).await;
    let program = Client::with_token(&fixture.server.channel, &token);

    assert_eq!(total(&program).await.bytes_received, 500);
    let records = list(&program, pb::ListUsageRequest::default())
        .await
        .records;
    assert!(!records.is_empty());
    assert!(records.iter().all(|record| record.project_id == other.id));
}

#[rstest]
#[tokio::test]
async fn a_key_without_the_scope_is_refused(#[values(Sqlite)] engine: Engine) {
    let fixture = start(engine).await;
    let key = restricted_key(&fixture.owner.client, &fixture.project.id, "streams:read").await;
    let token = exchange(&fixture.server.channel, &key).await;
    let program = Client::with_token(&fixture.server.channel, &token);

    let request = pb::GetUsageRequest::default();
    let refusal = refused(program.usage.clone().get_usage(request).await);

    assert_eq!(refusal.class(), (Code::PermissionDenied, "SCOPE_MISSING"));
    assert!(refusal.message.contains("usage:read"), "{refusal:?}");
}

/// The secret of a new API key for one project.
async fn restricted_key(client: &Client, project_id: &str, scope: &str) -> String {
    let request = pb::CreateApiKeyRequest {
        display_name: "accounting".to_owned(),
        scopes: vec![scope.to_owned()],
        project_ids: vec![project_id.to_owned()],
        ..Default::default()
    };
    let answer = client.auth.clone().create_api_key(request).await.unwrap();
    answer.into_inner().secret
}
