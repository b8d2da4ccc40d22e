//! A request of AuthService with a `request_id` has one effect, however often it is sent.

use std::slice;

use prost_types::Timestamp;
use rstest::rstest;
use sluice::proto::v1 as pb;
use tonic::Code;
use uuid::Uuid;

use super::calls::{api_key_request, create_api_key, exchange_api_key, new_api_key, new_session};
use crate::harness::{Engine, Pooled, Postgres, Sqlite, TestServer, User, refused};

const NOT_FOUND: (Code, &str) = (Code::NotFound, "RESOURCE_NOT_FOUND");

fn request_id() -> String {
    Uuid::now_v7().to_string()
}

fn repeatable_key() -> pb::CreateApiKeyRequest {
    pb::CreateApiKeyRequest {
        request_id: request_id(),
        ..api_key_request(&["projects:read"])
    }
}

async fn api_keys(user: &User) -> Vec<pb::ApiKey> {
    let request = pb::ListApiKeysRequest::default();
    let answer = user.client.auth.clone().list_api_keys(request).await;
    answer.unwrap().into_inner().api_keys
}

#[rstest]
#[tokio::test]
async fn a_repeated_create_returns_the_same_api_key_and_secret(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let ada = server.user().await;
    let (project, _) = ada.project().await;
    let request = pb::CreateApiKeyRequest {
        project_ids: vec![project.id],
        ..repeatable_key()
    };

    let once = new_api_key(&ada, request.clone()).await;
    let again = new_api_key(&ada, request).await;

    assert_eq!(again, once);
    let (key, secret) = once;
    assert_eq!(api_keys(&ada).await, [key]);
    exchange_api_key(&server.channel, &secret).await.unwrap();
}

#[rstest]
#[tokio::test]
async fn concurrent_repetitions_create_one_api_key(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let ada = server.user().await;
    let request = repeatable_key();

    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let request = request.clone();
        let mut auth = ada.client.auth.clone();
        calls.spawn(async move { auth.create_api_key(request).await });
    }
    let mut secrets: Vec<_> = calls
        .join_all()
        .await
        .into_iter()
        .map(|answer| answer.unwrap().into_inner().secret)
        .collect();

    secrets.dedup();
    assert_eq!(secrets.len(), 1);
    assert_eq!(api_keys(&ada).await.len(), 1);
}

#[rstest]
#[tokio::test]
async fn a_repeated_create_does_not_restore_a_revoked_api_key(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let mut ada = server.user().await;
    let request = repeatable_key();
    let (key, _) = new_api_key(&ada, request.clone()).await;
    let revocation = pb::RevokeApiKeyRequest {
        api_key_id: key.id,
        ..Default::default()
    };
    ada.client.auth.revoke_api_key(revocation).await.unwrap();

    let refusal = refused(create_api_key(&ada, request).await);

    assert_eq!(refusal.class(), NOT_FOUND);
    assert_eq!(api_keys(&ada).await, []);
}

/// The secret of a repeatable create is stored sealed, not as text, and no longer than its id.
#[rstest]
#[tokio::test]
async fn the_stored_secret_is_sealed(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let ada = server.user().await;
    let (_, secret) = new_api_key(&ada, repeatable_key()).await;
    new_api_key(&ada, api_key_request(&["projects:read"])).await;

    let sealed = "select count(*) from idempotent_creates where length(secret_sealed) > 60";
    assert_eq!(server.database.number(sealed).await, 1);
    let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
    let as_hex = match engine {
        Sqlite => "lower(hex(secret_sealed))",
        Postgres | Pooled => "encode(secret_sealed, 'hex')",
    };
    let clear = format!("select count(*) from idempotent_creates where {as_hex} like '%{hex}%'");
    assert_eq!(server.database.number(&clear).await, 0);
}

#[rstest]
#[tokio::test]
async fn a_repeated_revocation_succeeds_but_another_one_finds_nothing(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let mut ada = server.user().await;
    let (key, _) = new_api_key(&ada, api_key_request(&["projects:read"])).await;
    new_session(&server, &ada).await;
    let sessions = pb::ListSessionsRequest::default();
    let sessions = ada.client.auth.list_sessions(sessions).await.unwrap();
    let sessions = sessions.into_inner().sessions;
    let other = sessions.into_iter().find(|session| !session.current);
    let of_key = pb::RevokeApiKeyRequest {
        api_key_id: key.id,
        request_id: request_id(),
    };
    let of_session = pb::RevokeSessionRequest {
        session_id: other.unwrap().id,
        request_id: request_id(),
    };

    let auth = &mut ada.client.auth;
    for _ in 0..2 {
        auth.revoke_api_key(of_key.clone()).await.unwrap();
        auth.revoke_session(of_session.clone()).await.unwrap();
    }

    let of_key = pb::RevokeApiKeyRequest {
        request_id: String::new(),
        ..of_key
    };
    let of_session = pb::RevokeSessionRequest {
        request_id: request_id(),
        ..of_session
    };
    assert_eq!(
        refused(auth.revoke_api_key(of_key).await).class(),
        NOT_FOUND
    );
    let refusal = refused(auth.revoke_session(of_session).await);
    assert_eq!(refusal.class(), NOT_FOUND);
}

#[rstest]
#[tokio::test]
async fn a_repeated_update_of_the_account_does_not_undo_a_later_one(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let mut ada = server.user().await;
    let rename = |name: &str, request_id: String| pb::UpdateMeRequest {
        display_name: Some(name.to_owned()),
        request_id,
    };
    let first = rename("First", request_id());

    let auth = &mut ada.client.auth;
    auth.update_me(first.clone()).await.unwrap();
    let second = auth.update_me(rename("Second", String::new())).await;
    let again = auth.update_me(first).await.unwrap();

    assert_eq!(again.into_inner().user, second.unwrap().into_inner().user);
}

#[rstest]
#[tokio::test]
async fn lists_of_an_account_are_filtered_by_creation_time(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let mut ada = server.user().await;
    let (first, _) = new_api_key(&ada, api_key_request(&["projects:read"])).await;
    let (second, _) = new_api_key(&ada, api_key_request(&["projects:read"])).await;
    new_session(&server, &ada).await;
    let auth = &mut ada.client.auth;

    let request = pb::ListApiKeysRequest {
        created_after: first.create_time,
        ..Default::default()
    };
    let keys = auth.list_api_keys(request).await.unwrap().into_inner();
    assert_eq!(keys.api_keys, slice::from_ref(&second));
    let request = pb::ListApiKeysRequest {
        created_before: second.create_time,
        ..Default::default()
    };
    let keys = auth.list_api_keys(request).await.unwrap().into_inner();
    assert_eq!(keys.api_keys, slice::from_ref(&first));

    let request = pb::ListSessionsRequest {
        created_after: second.create_time,
        ..Default::default()
    };
    let newer = auth.list_sessions(request).await.unwrap().into_inner();
    let current: Vec<_> = newer.sessions.iter().map(|one| one.current).collect();
    assert_eq!(current, [false]);

    let actions = async |created_after: Option<Timestamp>, created_before| {
        let request = pb::ListAuditEventsRequest {
            created_after,
            created_before,
            ..Default::default()
        };
        let answer = ada.client.auth.clone().list_audit_events(request).await;
        let events = answer.unwrap().into_inner().audit_events;
        events
            .into_iter()
            .map(|event| event.action)
            .collect::<Vec<_>>()
    };
    assert_eq!(actions(second.create_time, None).await, ["SignIn"]);
    let until_second = actions(None, second.create_time).await;
    assert_eq!(until_second[0], "CreateApiKey");
    let of_keys = until_second
        .iter()
        .filter(|action| *action == "CreateApiKey");
    assert_eq!(of_keys.count(), 1);
}
