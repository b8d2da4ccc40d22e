use rstest::rstest;
use sluice::proto::v1 as pb;
use tonic::{Code, Response, Status};

use super::calls::{new_session, refresh, refreshed};
use crate::harness::{Client, Engine, Postgres, Sqlite, TestServer, refused};

async fn sign_out(
    client: &Client,
    scope: impl Into<i32>,
) -> Result<Response<pb::SignOutResponse>, Status> {
    let request = pb::SignOutRequest {
        scope: scope.into(),
    };
    client.auth.clone().sign_out(request).await
}

#[rstest]
#[case::by_default(pb::SignOutScope::Unspecified, [true, false, false])]
#[case::the_current_one(pb::SignOutScope::Current, [true, false, false])]
#[case::the_others(pb::SignOutScope::Others, [false, true, true])]
#[case::all(pb::SignOutScope::All, [true, true, true])]
#[tokio::test]
async fn sign_out_ends_the_sessions_of_its_scope_and_no_others(
    #[values(Sqlite, Postgres)] engine: Engine,
    #[case] scope: pb::SignOutScope,
    #[case] ended: [bool; 3],
) {
    let server = TestServer::start(engine).await;
    let (ada, grace) = (server.user().await, server.user().await);
    let second = new_session(&server, &ada).await;
    let third = new_session(&server, &ada).await;

    sign_out(&ada.client, scope).await.unwrap();

    for (tokens, ended) in [&ada.tokens, &second, &third].into_iter().zip(ended) {
        let answer = refresh(&server.channel, &tokens.refresh_token).await;
        if ended {
            let class = (Code::Unauthenticated, "REFRESH_TOKEN_INVALID");
            assert_eq!(refused(answer).class(), class);
        } else {
            answer.unwrap();
        }
    }
    refreshed(&server.channel, &grace.tokens.refresh_token).await;
}

/// Predecessor's defect G9: a token worked for seven days, and signing out only discarded it.
#[rstest]
#[tokio::test]
async fn an_ended_session_cannot_be_refreshed(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let ada = server.user().await;
    let second = refreshed(&server.channel, &ada.tokens.refresh_token).await;

    sign_out(&ada.client, pb::SignOutScope::Current)
        .await
        .unwrap();

    let server = server.restart().await;
    for token in [&ada.tokens.refresh_token, &second.refresh_token] {
        let refusal = refused(refresh(&server.channel, token).await);
        let class = (Code::Unauthenticated, "REFRESH_TOKEN_INVALID");
        assert_eq!(refusal.class(), class);
    }
}

#[rstest]
#[tokio::test]
async fn signing_out_twice_is_refused_as_an_invalid_token(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let ada = server.user().await;
    sign_out(&ada.client, pb::SignOutScope::Current)
        .await
        .unwrap();

    let refusal = refused(sign_out(&ada.client, pb::SignOutScope::Current).await);
    let class = (Code::Unauthenticated, "ACCESS_TOKEN_INVALID");
    assert_eq!(refusal.class(), class);
}

#[rstest]
#[tokio::test]
async fn an_unknown_scope_is_an_invalid_field_and_ends_nothing(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let ada = server.user().await;

    for unknown in [-1, 4, i32::MAX] {
        let refusal = refused(sign_out(&ada.client, unknown).await);
        assert_eq!(refusal.fields(), ["scope"]);
    }

    refreshed(&server.channel, &ada.tokens.refresh_token).await;
}
