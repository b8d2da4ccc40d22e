use rstest::rstest;
use sluice::{domain::Scope, proto::v1 as pb};
use tonic::{Response, Status};

use super::calls::{api_key_request, new_api_key};
use crate::harness::{Engine, Postgres, Sqlite, TestServer, User, refused};

async fn list(
    user: &User,
    page_size: i32,
    page_token: &str,
) -> Result<Response<pb::ListApiKeysResponse>, Status> {
    let request = pb::ListApiKeysRequest {
        page_size,
        page_token: page_token.to_owned(),
        ..Default::default()
    };
    user.client.auth.clone().list_api_keys(request).await
}

async fn page(user: &User, size: i32, token: &str) -> (Vec<pb::ApiKey>, String) {
    let answer = list(user, size, token).await.unwrap().into_inner();
    (answer.api_keys, answer.next_page_token)
}

/// A user with some keys, the newest first; every other one is restricted.
async fn user_with_keys(server: &TestServer, number: usize) -> (User, Vec<pb::ApiKey>) {
    let user = server.user().await;
    let (project, _) = user.project().await;
    let mut keys = Vec::new();
    for at in 0..number {
        let request = pb::CreateApiKeyRequest {
            display_name: format!("Key {at}"),
            project_ids: vec![project.id.clone(); at % 2],
            ..api_key_request(&["projects:read"])
        };
        keys.insert(0, new_api_key(&user, request).await.0);
    }
    (user, keys)
}

#[rstest]
#[tokio::test]
async fn keys_are_listed_newest_first_in_pages(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let (ada, keys) = user_with_keys(&server, 5).await;

    let (first, token) = page(&ada, 2, "").await;
    let (second, token) = page(&ada, 2, &token).await;
    // A newer key does not shift the next page.
    new_api_key(&ada, api_key_request(&["projects:read"])).await;
    let (third, end) = page(&ada, 2, &token).await;

    assert_eq!(first, keys[..2]);
    assert_eq!(second, keys[2..4]);
    assert_eq!(third, keys[4..]);
    assert_eq!(end, "");
}

#[rstest]
#[tokio::test]
async fn a_full_last_page_has_no_next_page_token(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let (ada, keys) = user_with_keys(&server, 2).await;

    for size in [0, 2, 3, 200, i32::MAX] {
        assert_eq!(page(&ada, size, "").await, (keys.clone(), String::new()));
    }
}

#[rstest]
#[tokio::test]
async fn keys_of_other_users_are_not_listed(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let (_ada, _) = user_with_keys(&server, 2).await;
    server.operator(&[Scope::StreamsPublish]).await;
    let grace = server.user().await;

    assert_eq!(page(&grace, 0, "").await, (vec![], String::new()));
}

#[rstest]
#[tokio::test]
async fn every_invalid_field_is_named(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let (ada, _) = user_with_keys(&server, 2).await;
    let (grace, _) = user_with_keys(&server, 2).await;
    let (_, own) = page(&ada, 1, "").await;
    let (_, hers) = page(&grace, 1, "").await;
    ada.project().await;
    let request = pb::ListProjectsRequest {
        page_size: 1,
        page_token: String::new(),
        ..Default::default()
    };
    let answer = ada.client.project.clone().list_projects(request).await;
    let of_projects = answer.unwrap().into_inner().next_page_token;
    assert!(![&own, &hers, &of_projects].contains(&&String::new()));

    for size in [-1, i32::MIN] {
        assert_eq!(
            refused(list(&ada, size, &own).await).fields(),
            ["page_size"]
        );
    }
    let flipped = own.replacen(&own[..1], if own.starts_with('A') { "B" } else { "A" }, 1);
    for token in ["x", &hers, &of_projects, &flipped, &own[1..], "é\0"] {
        let refusal = refused(list(&ada, 1, token).await);
        assert_eq!(refusal.fields(), ["page_token"], "{token}");
    }
    let refusal = refused(list(&ada, -1, "x").await);
    assert_eq!(refusal.fields(), ["page_size", "page_token"]);
}
