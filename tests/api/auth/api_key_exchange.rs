use prost_types::Timestamp;
use rstest::rstest;
use sluice::{domain::Scope, proto::v1 as pb};
use tonic::Code;

use super::calls::{
    api_key_client, api_key_request, backdate, exchange_api_key, expiring_api_key_request,
    new_api_key, session_rpc_refusals,
};
use crate::harness::{Client, Engine, Postgres, Sqlite, TestServer, eventually, refused};

const INVALID: (Code, &str) = (Code::Unauthenticated, "API_KEY_INVALID");

#[rstest]
#[tokio::test]
async fn an_api_key_can_be_exchanged_repeatedly_for_a_token_with_its_scopes(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let ada = server.user().await;
    let (made, secret) =
        new_api_key(&ada, api_key_request(&["streams:read", "projects:read"])).await;

    for secret in [secret.clone(), format!(" {secret}\n")] {
        let answer = exchange_api_key(&server.channel, &secret)
            .await
            .unwrap()
            .into_inner();
        assert_eq!(answer.token_type, "Bearer");
        assert_eq!(answer.scopes, ["projects:read", "streams:read"]);
        let until = answer.access_token_expire_time.unwrap().seconds;
        assert!(until > made.create_time.unwrap().seconds);
        let lifetime = answer.access_token_lifetime.unwrap().seconds;
        let left = until - sluice::domain::now().timestamp();
        assert!(
            lifetime > 0 && (lifetime - left).abs() <= 5,
            "{lifetime} {left}"
        );
        let mut client = Client::with_token(&server.channel, &answer.access_token);
        let request = pb::ListProjectsRequest::default();
        client.project.list_projects(request).await.unwrap();
    }

    let mut auth = ada.client.auth.clone();
    let answer = auth.list_api_keys(pb::ListApiKeysRequest::default()).await;
    let listed = &answer.unwrap().into_inner().api_keys[0];
    assert_eq!(listed.id, made.id);
    assert!(listed.last_used_time.is_some());
}

#[rstest]
#[tokio::test]
async fn an_api_key_acts_for_its_user(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let (ada, grace) = (server.user().await, server.user().await);
    let (own, _) = ada.project().await;
    grace.project().await;

    let mut program = api_key_client(&server, &ada, api_key_request(&["projects:read"])).await;
    let request = pb::ListProjectsRequest::default();
    let answer = program.project.list_projects(request).await.unwrap();

    assert_eq!(answer.into_inner().projects, [own]);
}

#[rstest]
#[tokio::test]
async fn every_invalid_api_key_gets_the_same_response(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let ada = server.user().await;
    let (first, secret) = new_api_key(&ada, api_key_request(&["projects:read"])).await;
    let (second, _) = new_api_key(&ada, api_key_request(&["projects:read"])).await;

    let bare = |key: &pb::ApiKey| key.id.replace('-', "");
    let last = if secret.ends_with('0') { "1" } else { "0" };
    let unknown = refused(exchange_api_key(&server.channel, "slk_1_2").await);
    assert_eq!(unknown.class(), INVALID);
    for wrong in [
        "x",
        "é\0",
        &"x".repeat(10_000),
        &secret[4..],
        &secret[..secret.len() - 1],
        &format!("{}{last}", &secret[..secret.len() - 1]),
        &format!("{secret}0"),
        &secret.to_uppercase(),
        &secret.replace(&bare(&first), &bare(&second)),
        &format!("slk_{}_", bare(&first)),
        &ada.tokens.access_token,
        &ada.tokens.refresh_token,
    ] {
        let refusal = refused(exchange_api_key(&server.channel, wrong).await);
        assert_eq!(format!("{refusal:?}"), format!("{unknown:?}"), "{wrong}");
    }
}

#[tokio::test]
async fn an_empty_key_is_an_invalid_field() {
    let server = TestServer::start(Sqlite).await;

    for empty in ["", "  "] {
        let refusal = refused(exchange_api_key(&server.channel, empty).await);
        assert_eq!(refusal.fields(), ["secret"]);
    }
}

#[rstest]
#[tokio::test]
async fn a_key_works_until_it_expires(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let ada = server.user().await;
    let mut keys = Vec::new();
    let now = ada.user.create_time.unwrap().seconds;
    // In an hour, and in the last second of the year 9999.
    for seconds in [now + 3600, 253_402_300_799] {
        let request = pb::CreateApiKeyRequest {
            expire_time: Some(Timestamp { seconds, nanos: 0 }),
            ..api_key_request(&["projects:read"])
        };
        keys.push(new_api_key(&ada, request).await.1);
    }
    for secret in &keys {
        exchange_api_key(&server.channel, secret).await.unwrap();
    }

    backdate(&server.database, "api_keys", "expire_time", "70 minutes").await;

    let refusal = refused(exchange_api_key(&server.channel, &keys[0]).await);
    assert_eq!(refusal.class(), INVALID);
    exchange_api_key(&server.channel, &keys[1]).await.unwrap();
}

#[rstest]
#[tokio::test]
async fn an_access_token_expires_with_its_api_key(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let ada = server.user().await;
    let request = expiring_api_key_request(&["projects:read"], 6);
    let (key, secret) = new_api_key(&ada, request).await;

    let answer = exchange_api_key(&server.channel, &secret).await.unwrap();

    let token = answer.into_inner();
    assert_eq!(token.access_token_expire_time, key.expire_time);
    let client = Client::with_token(&server.channel, &token.access_token);
    let list = async || {
        let mut projects = client.project.clone();
        projects
            .list_projects(pb::ListProjectsRequest::default())
            .await
    };
    list().await.unwrap();
    let refusal = eventually("the token expires", async || {
        let answer = list().await;
        answer.is_err().then(|| refused(answer))
    })
    .await;
    let class = (Code::Unauthenticated, "ACCESS_TOKEN_EXPIRED");
    assert_eq!(refusal.class(), class);
}

#[rstest]
#[tokio::test]
async fn api_keys_cannot_call_session_rpcs(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let ada = server.user().await;
    let all = Scope::USER_SCOPES.map(Scope::as_str);
    let program = api_key_client(&server, &ada, api_key_request(&all)).await;
    let operator = server.operator(&Scope::OPERATOR_SCOPES).await;

    for client in [program, operator] {
        for refusal in session_rpc_refusals(&client).await {
            let class = (Code::PermissionDenied, "SESSION_REQUIRED");
            assert_eq!(refusal.class(), class);
        }
    }
    let keys = "select count(*) from api_keys";
    assert_eq!(server.database.number(keys).await, 2);
}
