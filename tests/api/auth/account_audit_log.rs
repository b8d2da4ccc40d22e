use rstest::rstest;
use sluice::proto::v1 as pb;
use tonic::{Code, Response, Status};

use super::calls::{
    api_key_client, api_key_request, backdate, comparable, new_api_key, new_session, refresh,
    refreshed, sign_in,
};
use crate::harness::{Client, Engine, Postgres, Sqlite, TestServer, User, eventually, refused};

async fn list(
    client: &Client,
    page_size: i32,
    page_token: &str,
) -> Result<Response<pb::ListAuditEventsResponse>, Status> {
    let request = pb::ListAuditEventsRequest {
        page_size,
        page_token: page_token.to_owned(),
        ..Default::default()
    };
    client.auth.clone().list_audit_events(request).await
}

async fn events(user: &User) -> Vec<pb::AuditEvent> {
    list(&user.client, 0, "")
        .await
        .unwrap()
        .into_inner()
        .audit_events
}

/// Action and result of all events, oldest first.
async fn recorded_actions(user: &User) -> Vec<(String, String)> {
    let events = events(user).await.into_iter().rev();
    events.map(|event| (event.action, event.result)).collect()
}

async fn sessions(user: &User) -> Vec<pb::Session> {
    let request = pb::ListSessionsRequest::default();
    let answer = user.client.auth.clone().list_sessions(request).await;
    answer.unwrap().into_inner().sessions
}

#[rstest]
#[tokio::test]
async fn account_actions_are_recorded_with_their_results(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let ada = server.user().await;
    let mut auth = ada.client.auth.clone();

    refused(sign_in(&server.channel, &ada.email, "wrong horse").await);
    let second = new_session(&server, &ada).await;
    let third = refreshed(&server.channel, &second.refresh_token).await;
    refreshed(&server.channel, &third.refresh_token).await;
    refused(refresh(&server.channel, &second.refresh_token).await);
    let (created, _) = new_api_key(&ada, api_key_request(&["projects:read"])).await;
    let request = pb::RevokeApiKeyRequest {
        api_key_id: created.id,
        ..Default::default()
    };
    auth.revoke_api_key(request).await.unwrap();
    new_session(&server, &ada).await;
    let request = pb::RevokeSessionRequest {
        session_id: sessions(&ada).await[0].id.clone(),
        ..Default::default()
    };
    auth.revoke_session(request).await.unwrap();
    for current in ["wrong horse", ada.password] {
        let request = pb::ChangePasswordRequest {
            current_password: current.to_owned(),
            new_password: "seven angry badgers rowing".to_owned(),
        };
        let _ = auth.change_password(request).await;
    }
    let request = pb::SignOutRequest {
        scope: pb::SignOutScope::Others.into(),
    };
    auth.sign_out(request).await.unwrap();

    let recorded = recorded_actions(&ada).await;
    let recorded: Vec<_> = recorded
        .iter()
        .map(|(a, b)| (a.as_str(), b.as_str()))
        .collect();
    assert_eq!(
        recorded,
        [
            ("SignUp", "OK"),
            ("SignIn", "OK"),
            ("SignIn", "CREDENTIALS_INVALID"),
            ("SignIn", "OK"),
            ("RefreshTokens", "REFRESH_TOKEN_REUSED"),
            ("CreateApiKey", "OK"),
            ("RevokeApiKey", "OK"),
            ("SignIn", "OK"),
            ("RevokeSession", "OK"),
            ("ChangePassword", "CREDENTIALS_INVALID"),
            ("ChangePassword", "OK"),
            ("SignOut", "OK"),
        ]
    );
}

#[rstest]
#[tokio::test]
async fn an_event_has_its_session_resource_time_and_peer_address(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let ada = server.user().await;
    let own = sessions(&ada).await[0].id.clone();
    let (created, _) = new_api_key(&ada, api_key_request(&["projects:read"])).await;

    let [create_key, sign_in, sign_up] = &events(&ada).await[..] else {
        panic!("three events");
    };

    assert_eq!(create_key.resource_id, created.id);
    assert_eq!(create_key.session_id, own);
    assert_eq!(create_key.api_key_id, "");
    assert_eq!(sign_in.session_id, own);
    assert_eq!((&*sign_up.session_id, &*sign_up.resource_id), ("", ""));
    for event in [create_key, sign_in, sign_up] {
        assert_eq!(event.peer_address, "127.0.0.1");
        assert!(event.user_agent.contains("tonic"), "{event:?}");
        assert!(comparable(event.create_time) >= comparable(ada.user.create_time));
        assert_eq!(event.id.len(), 36);
    }
}

#[rstest]
#[tokio::test]
async fn events_are_listed_newest_first_in_pages_to_their_user_only(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let (ada, grace) = (server.user().await, server.user().await);
    for _ in 0..3 {
        new_session(&server, &ada).await;
    }
    let all = events(&ada).await;
    assert_eq!(all.len(), 5);
    assert!(all.is_sorted_by(|newer, older| newer.id > older.id));

    let first = list(&ada.client, 3, "").await.unwrap().into_inner();
    let token = first.next_page_token;
    let second = list(&ada.client, 3, &token).await.unwrap().into_inner();
    assert_eq!([first.audit_events, second.audit_events].concat(), all);
    assert_eq!(second.next_page_token, "");

    assert_eq!(events(&grace).await.len(), 2);
    let refusal = refused(list(&grace.client, 3, &token).await);
    assert_eq!(refusal.fields(), ["page_token"]);
    let program = api_key_client(&server, &ada, api_key_request(&["projects:read"])).await;
    let refusal = refused(list(&program, 0, "").await);
    assert_eq!(
        refusal.class(),
        (Code::PermissionDenied, "SESSION_REQUIRED")
    );
}

#[rstest]
#[tokio::test]
async fn a_sign_in_attempt_without_an_account_is_recorded_for_the_operator(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;

    refused(sign_in(&server.channel, "nobody@example.com", "wrong horse").await);

    let recorded = "select count(*) from audit_events
                    where action = 'SignIn' and result = 'CREDENTIALS_INVALID'";
    assert_eq!(server.database.number(recorded).await, 1);
}

#[rstest]
#[tokio::test]
async fn events_outlive_the_account_and_are_purged_after_the_retention(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start_with(engine, &["--audit-retention=30days"]).await;
    let ada = server.user().await;
    let request = pb::DeleteMeRequest {
        password: ada.password.to_owned(),
    };
    ada.client.auth.clone().delete_me(request).await.unwrap();
    let count = "select count(*) from audit_events";
    assert_eq!(server.database.number(count).await, 3);

    let aged = "update audit_events set create_time = '2020-01-01T00:00:00.000000+00:00'
                where action <> 'DeleteMe'";
    server.database.execute(aged).await;
    // The purge runs when the server starts.
    let server = server.restart().await;

    eventually("events older than the retention are purged", async || {
        (server.database.number(count).await == 1).then_some(())
    })
    .await;
}

/// Anyone can cause many of them.
#[rstest]
#[tokio::test]
async fn refusals_without_an_account_are_kept_for_a_week(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let ada = server.user().await;
    for email in ["nobody@example.com", &ada.email] {
        refused(sign_in(&server.channel, email, "wrong horse").await);
    }
    let count = "select count(*) from audit_events";
    assert_eq!(server.database.number(count).await, 4);

    backdate(&server.database, "audit_events", "create_time", "8 days").await;
    let server = server.restart().await;

    eventually("the event without an account is purged", async || {
        (server.database.number(count).await == 3).then_some(())
    })
    .await;
}
