use rstest::rstest;
use sluice::proto::v1 as pb;
use tokio::task::JoinSet;
use tonic::{Code, Response, Status};

use super::{
    calls::{get_me, new_session, refresh, refreshed, sign_in},
    mail_calls::{reset, reset_token},
};
use crate::harness::{
    Client, Engine, Pooled, Postgres, Sqlite, TestServer, User, eventually, refused,
};

const NEW: &str = "seven angry badgers rowing";

async fn change(
    user: &User,
    current: &str,
    new: &str,
) -> Result<Response<pb::ChangePasswordResponse>, Status> {
    let request = pb::ChangePasswordRequest {
        current_password: current.to_owned(),
        new_password: new.to_owned(),
    };
    user.client.auth.clone().change_password(request).await
}

#[rstest]
#[tokio::test]
async fn a_changed_password_ends_all_sessions_except_the_callers(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let (ada, grace) = (server.user().await, server.user().await);
    let other = new_session(&server, &ada).await;

    let answer = change(&ada, ada.password, NEW).await.unwrap().into_inner();

    let tokens = answer.tokens.unwrap();
    for token in [&tokens.access_token, &ada.tokens.access_token] {
        let client = Client::with_token(&server.channel, token);
        get_me(&client).await.unwrap();
    }
    refreshed(&server.channel, &tokens.refresh_token).await;
    let others = Client::with_token(&server.channel, &other.access_token);
    let class = (Code::Unauthenticated, "ACCESS_TOKEN_INVALID");
    assert_eq!(refused(get_me(&others).await).class(), class);
    for spent in [&other.refresh_token, &ada.tokens.refresh_token] {
        let refusal = refused(refresh(&server.channel, spent).await);
        let class = (Code::Unauthenticated, "REFRESH_TOKEN_INVALID");
        assert_eq!(refusal.class(), class);
    }
    get_me(&grace.client).await.unwrap();
}

#[rstest]
#[tokio::test]
async fn the_new_password_signs_in_and_the_old_one_does_not(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let ada = server.user().await;

    change(&ada, ada.password, NEW).await.unwrap();

    sign_in(&server.channel, &ada.email, NEW).await.unwrap();
    let refusal = refused(sign_in(&server.channel, &ada.email, ada.password).await);
    let class = (Code::Unauthenticated, "CREDENTIALS_INVALID");
    assert_eq!(refusal.class(), class);
}

#[rstest]
#[tokio::test]
async fn the_current_password_is_required(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let (ada, grace) = (server.user().await, server.user().await);
    let statement = "update users set password_hash = null where email = ";
    let statement = format!("{statement}'{}'", grace.email);
    server.database.execute(&statement).await;

    let class = (Code::Unauthenticated, "CREDENTIALS_INVALID");
    let wrong = refused(change(&ada, "wrong horse", NEW).await);
    assert_eq!(wrong.class(), class);
    let none = refused(change(&grace, grace.password, NEW).await);
    assert_eq!(format!("{none:?}"), format!("{wrong:?}"));

    sign_in(&server.channel, &ada.email, ada.password)
        .await
        .unwrap();
    refreshed(&server.channel, &ada.tokens.refresh_token).await;
}

#[rstest]
#[tokio::test]
async fn every_invalid_field_is_named_and_nothing_changes(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let ada = server.user().await;

    let long = "x".repeat(72);
    for (current, new, fields) in [
        ("", NEW, &["current_password"][..]),
        (&*long, NEW, &["current_password"]),
        (ada.password, "", &["new_password"]),
        (ada.password, "short", &["new_password"]),
        (ada.password, "password1", &["new_password"]),
        (ada.password, &*ada.email, &["new_password"]),
        (ada.password, &*long, &["new_password"]),
        ("a\0", "b\0", &["current_password", "new_password"]),
    ] {
        let refusal = refused(change(&ada, current, new).await);
        assert_eq!(refusal.fields(), fields, "{current:?} {new:?}");
    }

    refreshed(&server.channel, &ada.tokens.refresh_token).await;
}

#[rstest]
#[tokio::test]
async fn only_one_of_many_concurrent_changes_succeeds(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let ada = server.user().await;

    let mut calls = JoinSet::new();
    for number in 0..4 {
        let mut auth = ada.client.auth.clone();
        let new_password = format!("{NEW} {number}");
        let request = pb::ChangePasswordRequest {
            current_password: ada.password.to_owned(),
            new_password: new_password.clone(),
        };
        calls.spawn(async move { (new_password, auth.change_password(request).await) });
    }

    let mut succeeded = Vec::new();
    for (password, answer) in calls.join_all().await {
        match answer {
            Ok(answer) => succeeded.push((password, answer.into_inner().tokens.unwrap())),
            Err(status) => {
                let refusal = refused(Err::<Response<()>, _>(status));
                let lost = [
                    (Code::Aborted, "CONCURRENT_CHANGE"),
                    (Code::Unauthenticated, "CREDENTIALS_INVALID"),
                ];
                assert!(lost.contains(&refusal.class()), "{refusal:?}");
            }
        }
    }
    let [(password, tokens)] = &succeeded[..] else {
        panic!("exactly one succeeds: {succeeded:?}");
    };
    sign_in(&server.channel, &ada.email, password)
        .await
        .unwrap();
    refreshed(&server.channel, &tokens.refresh_token).await;
}

/// As in Zitadel's CVE-2023-22492, where a sign-in in progress survived a change of the
/// password.
#[rstest]
#[tokio::test]
async fn a_sign_in_in_progress_fails_when_the_password_changes(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start_with(engine, &["--bcrypt-cost=12"]).await;
    let (ada, grace) = (server.user().await, server.user().await);
    let (channel, email, password) = (server.channel.clone(), ada.email.clone(), ada.password);
    let in_progress = tokio::spawn(async move { sign_in(&channel, &email, password).await });
    eventually("the attempt is counted", async || {
        let counted = "select count(*) from guesses where failures > 0";
        (server.database.number(counted).await == 1).then_some(())
    })
    .await;

    let change = "update users set password_hash =
                      '$2b$10$fVH8e28OQRj9tqiDXs1e1uxpsjN0c7II7YPKXua2NAKYvM6iQk7dq'
                  where email = ";
    let change = format!("{change}'{}'", ada.email);
    server.database.execute(&change).await;

    let class = (Code::Unauthenticated, "CREDENTIALS_INVALID");
    assert_eq!(refused(in_progress.await.unwrap()).class(), class);
    sign_in(&server.channel, &grace.email, grace.password)
        .await
        .unwrap();
}

#[rstest]
#[tokio::test]
async fn a_changed_password_invalidates_reset_tokens(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let ada = server.user().await;
    let token = reset_token(&server, &ada).await;

    change(&ada, ada.password, NEW).await.unwrap();

    let refusal = refused(reset(&server.channel, &token, ada.password).await);
    let class = (Code::Unauthenticated, "MAIL_TOKEN_INVALID");
    assert_eq!(refusal.class(), class);
}
