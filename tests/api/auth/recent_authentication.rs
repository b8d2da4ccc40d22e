//! Calls that show or create a secret need a recent authentication of the session.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use rstest::rstest;
use serde_json::Value;
use sluice::proto::v1 as pb;
use tonic::{Code, Response, Status};

use super::{
    calls::{api_key_client, api_key_request, backdate, get_me, new_session, refreshed},
    mail_calls::{NEW_PASSWORD, audit_entries},
    second_factor_calls::{INVALID, REQUIRED, UNKNOWN_CODE, create, enrol},
};
use crate::{
    harness::{Client, Engine, Postgres, Sqlite, TestServer, User, refused},
    webhooks::fixture::create_quiet,
};

/// The error of an authentication that is too old.
const TOO_OLD: (Code, &str) = (Code::FailedPrecondition, "REAUTHENTICATION_REQUIRED");

/// The user with a session that began eleven minutes ago.
async fn with_old_session(server: &TestServer, user: User) -> User {
    backdate(&server.database, "sessions", "auth_time", "11 minutes").await;
    let tokens = refreshed(&server.channel, &user.tokens.refresh_token).await;
    User {
        client: Client::with_token(&server.channel, &tokens.access_token),
        tokens,
        ..user
    }
}

async fn reauthenticate(
    client: &Client,
    password: &str,
    code: &str,
) -> Result<Response<pb::ReauthenticateResponse>, Status> {
    let request = pb::ReauthenticateRequest {
        password: password.to_owned(),
        second_factor_code: code.to_owned(),
        ..Default::default()
    };
    client.auth.clone().reauthenticate(request).await
}

/// The results of all calls that need a recent authentication.
async fn sensitive_calls(client: &Client, user: &User, project: &str) -> Vec<Result<(), Status>> {
    let reveal = pb::RevealStreamKeyRequest {
        project_id: project.to_owned(),
    };
    let rotate = pb::RotateStreamKeyRequest {
        project_id: project.to_owned(),
        ..Default::default()
    };
    let factor = pb::CreateSecondFactorRequest {
        display_name: "Phone".to_owned(),
        password: user.password.to_owned(),
        ..Default::default()
    };
    let key = api_key_request(&["projects:read"]);
    let (mut auth, mut projects) = (client.auth.clone(), client.project.clone());
    vec![
        projects.reveal_stream_key(reveal).await.map(drop),
        projects.rotate_stream_key(rotate).await.map(drop),
        auth.create_api_key(key).await.map(drop),
        auth.create_second_factor(factor).await.map(drop),
    ]
}

fn class(result: Result<(), Status>) -> (Code, &'static str) {
    match refused(result.map(Response::new)).class() {
        TOO_OLD => TOO_OLD,
        other => panic!("{other:?}"),
    }
}

#[rstest]
#[tokio::test]
async fn an_old_session_gets_no_secret_until_it_is_authenticated_again(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let replica = server.replica().await;
    let ada = server.user().await;
    let (project, _) = ada.project().await;
    for result in sensitive_calls(&ada.client, &ada, &project.id).await {
        result.unwrap();
    }

    let ada = with_old_session(&server, ada).await;
    for result in sensitive_calls(&ada.client, &ada, &project.id).await {
        assert_eq!(class(result), TOO_OLD);
    }
    get_me(&ada.client).await.unwrap();

    let wrong = refused(reauthenticate(&ada.client, "wrong horse", "").await);
    let invalid = (Code::Unauthenticated, "CREDENTIALS_INVALID");
    assert_eq!(wrong.class(), invalid);
    let fields = refused(reauthenticate(&ada.client, "", "").await);
    assert_eq!(fields.fields(), ["password"]);
    let answer = reauthenticate(&ada.client, ada.password, "").await.unwrap();
    let answer = answer.into_inner();
    assert_eq!(answer.token_type, "Bearer");
    let refreshed = refreshed(&server.channel, &ada.tokens.refresh_token).await;
    for token in [&answer.access_token, &refreshed.access_token] {
        for channel in [&server.channel, &replica] {
            let client = Client::with_token(channel, token);
            for result in sensitive_calls(&client, &ada, &project.id).await {
                result.unwrap();
            }
        }
    }
    let entries = audit_entries(&ada.client).await;
    let entries = entries
        .iter()
        .filter(|(action, _)| action == "Reauthenticate");
    let results: Vec<_> = entries.map(|(_, result)| result.as_str()).collect();
    assert_eq!(results, ["CREDENTIALS_INVALID", "OK"]);
}

/// The results of all calls that change a webhook; the last one deletes it.
async fn webhook_changes(client: &Client, webhook: &pb::Webhook) -> Vec<Result<(), Status>> {
    let mut client = client.webhook.clone();
    let webhook_id = webhook.id.clone();
    let create = pb::CreateWebhookRequest {
        project_id: webhook.project_id.clone(),
        url: "https://elsewhere.example.com/".to_owned(),
        disabled: true,
        ..Default::default()
    };
    let update = pb::UpdateWebhookRequest {
        webhook_id: webhook_id.clone(),
        url: Some("https://elsewhere.example.com/".to_owned()),
        ..Default::default()
    };
    let rotate = pb::RotateWebhookSecretRequest {
        webhook_id: webhook_id.clone(),
        ..Default::default()
    };
    let delete = pb::DeleteWebhookRequest {
        webhook_id,
        ..Default::default()
    };
    vec![
        client.create_webhook(create).await.map(drop),
        client.update_webhook(update).await.map(drop),
        client.rotate_webhook_secret(rotate).await.map(drop),
        client.delete_webhook(delete).await.map(drop),
    ]
}

#[rstest]
#[tokio::test]
async fn an_old_session_changes_no_webhook_until_it_is_authenticated_again(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let ada = server.user().await;
    let (project, _) = ada.project().await;
    let webhook = create_quiet(&ada, &project.id, true).await;
    let another = create_quiet(&ada, &project.id, true).await;
    let scopes = ["webhooks:write", "projects:read", "streams:read"];
    let program = api_key_client(&server, &ada, api_key_request(&scopes)).await;
    let ada = with_old_session(&server, ada).await;

    for result in webhook_changes(&ada.client, &webhook).await {
        assert_eq!(class(result), TOO_OLD);
    }
    let mut client = ada.client.webhook.clone();
    let listed = client.list_webhooks(pb::ListWebhooksRequest::default());
    let listed = listed.await.unwrap().into_inner().webhooks;
    assert_eq!(listed, [another.clone(), webhook.clone()]);

    for result in webhook_changes(&program, &another).await {
        result.unwrap();
    }
    let answer = reauthenticate(&ada.client, ada.password, "").await.unwrap();
    let token = answer.into_inner().access_token;
    let client = Client::with_token(&server.channel, &token);
    for result in webhook_changes(&client, &webhook).await {
        result.unwrap();
    }
}

/// Another session of the user stays as old as it was.
#[rstest]
#[tokio::test]
async fn an_authentication_counts_for_its_own_session(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let ada = server.user().await;
    let (project, _) = ada.project().await;
    let other = new_session(&server, &ada).await;
    let ada = with_old_session(&server, ada).await;
    reauthenticate(&ada.client, ada.password, "").await.unwrap();

    let other = refreshed(&server.channel, &other.refresh_token).await;
    let other = Client::with_token(&server.channel, &other.access_token);

    for result in sensitive_calls(&other, &ada, &project.id).await {
        assert_eq!(class(result), TOO_OLD);
    }
}

#[rstest]
#[tokio::test]
async fn an_api_key_is_limited_by_its_scopes_only(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let ada = server.user().await;
    let (project, _) = ada.project().await;
    let program = api_key_client(&server, &ada, api_key_request(&["projects:write"])).await;
    backdate(&server.database, "sessions", "auth_time", "11 minutes").await;
    backdate(&server.database, "api_keys", "create_time", "11 minutes").await;

    let results = sensitive_calls(&program, &ada, &project.id).await;

    for (result, is_allowed) in results.into_iter().zip([true, true, false, false]) {
        match is_allowed {
            true => result.unwrap(),
            false => {
                let refusal = refused(result.map(Response::new));
                let of_users = (Code::PermissionDenied, "SESSION_REQUIRED");
                assert_eq!(refusal.class(), of_users);
            }
        }
    }
}

#[rstest]
#[tokio::test]
async fn a_user_with_a_second_factor_proves_it_also_before_changing_the_password(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let ada = server.user().await;
    let (mut authenticator, codes) = enrol(&ada).await;
    let mut ada = with_old_session(&server, ada).await;
    let change = pb::ChangePasswordRequest {
        current_password: ada.password.to_owned(),
        new_password: NEW_PASSWORD.to_owned(),
    };
    let delete = pb::DeleteMeRequest {
        password: ada.password.to_owned(),
    };

    let refusal = refused(ada.client.auth.change_password(change.clone()).await);
    assert_eq!(refusal.class(), TOO_OLD);
    let refusal = refused(ada.client.auth.delete_me(delete).await);
    assert_eq!(refusal.class(), TOO_OLD);
    for (code, expected) in [("", REQUIRED), (UNKNOWN_CODE, INVALID)] {
        let refusal = refused(reauthenticate(&ada.client, ada.password, code).await);
        assert_eq!(refusal.class(), expected);
    }

    let answer = reauthenticate(&ada.client, "", &authenticator.next_code()).await;
    let token = answer.unwrap().into_inner().access_token;
    let recent = User {
        client: Client::with_token(&server.channel, &token),
        ..ada
    };
    create(&recent, recent.password, &codes[0]).await.unwrap();
    let mut auth = recent.client.auth.clone();
    auth.change_password(change).await.unwrap();
}

#[rstest]
#[tokio::test]
async fn without_a_second_factor_the_current_password_is_proof_enough(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let ada = server.user().await;
    let mut ada = with_old_session(&server, ada).await;

    let change = pb::ChangePasswordRequest {
        current_password: ada.password.to_owned(),
        new_password: NEW_PASSWORD.to_owned(),
    };
    ada.client.auth.change_password(change).await.unwrap();
}

#[tokio::test]
async fn the_age_is_a_setting_and_zero_means_any() {
    for (age, is_allowed) in [("0s", true), ("12min", true), ("10min", false)] {
        let flag = format!("--recent-authentication={age}");
        let server = TestServer::start_with(Sqlite, &[&flag]).await;
        let ada = server.user().await;
        let (project, _) = ada.project().await;
        let ada = with_old_session(&server, ada).await;
        for result in sensitive_calls(&ada.client, &ada, &project.id).await {
            assert_eq!(result.is_ok(), is_allowed, "{age}: {result:?}");
        }
    }
}

/// OpenID Connect Core section 2, RFC 9068 section 2.2.1.
#[rstest]
#[tokio::test]
async fn the_access_token_of_a_session_has_the_time_of_its_authentication(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let ada = server.user().await;
    let claims = |token: &str| -> Value {
        let payload = token.split('.').nth(1).unwrap();
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
    };

    let first = claims(&ada.tokens.access_token);
    assert_eq!(first["auth_time"], first["iat"]);
    let ada = with_old_session(&server, ada).await;
    let old = claims(&ada.tokens.access_token);
    let age = first["auth_time"].as_i64().unwrap() - old["auth_time"].as_i64().unwrap();
    assert!((659..=661).contains(&age), "{age}");
    let answer = reauthenticate(&ada.client, ada.password, "").await.unwrap();
    let new = claims(&answer.into_inner().access_token);
    assert_eq!(new["auth_time"], new["iat"]);
    assert_eq!(new["sid"], first["sid"]);
}
