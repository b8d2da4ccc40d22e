use rstest::rstest;
use sluice::proto::v1 as pb;
use tokio::task::JoinSet;
use tonic::{Code, Response, Status};

use super::calls::{backdate, refreshed, sign_in};
use crate::harness::{Client, Engine, Pooled, Postgres, Sqlite, TestServer, refused};

const FIRST: &str = "01890a5d-ac96-774b-bcce-b302099a8057";
const SECOND: &str = "01890a5d-ac96-774b-bcce-b302099a8058";

fn ada(request_id: &str) -> pb::SignUpRequest {
    pb::SignUpRequest {
        email: "ada@example.com".to_owned(),
        password: "correct horse battery staple".to_owned(),
        display_name: "Ada Lovelace".to_owned(),
        request_id: request_id.to_owned(),
    }
}

async fn sign_up(
    server: &TestServer,
    request: pb::SignUpRequest,
) -> Result<Response<pb::SignUpResponse>, Status> {
    server.anonymous().auth.sign_up(request).await
}

async fn accounts(server: &TestServer) -> i64 {
    server.database.number("select count(*) from users").await
}

#[rstest]
#[tokio::test]
async fn a_repeated_request_returns_the_same_account_and_new_tokens(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
) {
    let server = TestServer::start(engine).await;

    let once = sign_up(&server, ada(FIRST)).await.unwrap().into_inner();
    let again = sign_up(&server, ada(FIRST)).await.unwrap().into_inner();

    assert_eq!(once.user, again.user);
    assert_eq!(accounts(&server).await, 1);
    let (once, again) = (once.tokens.unwrap(), again.tokens.unwrap());
    assert_ne!(once.refresh_token, again.refresh_token);
    for tokens in [once, again] {
        refreshed(&server.channel, &tokens.refresh_token).await;
    }
}

#[rstest]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_repetitions_of_a_request_create_one_account(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let replica = server.replica().await;

    let mut calls = JoinSet::new();
    for channel in [&server.channel, &replica].into_iter().cycle().take(10) {
        let mut client = Client::anonymous(channel);
        calls.spawn(async move { client.auth.sign_up(ada(FIRST)).await });
    }

    let answers = calls.join_all().await.into_iter();
    let mut users: Vec<_> = answers
        .map(|answer| answer.unwrap().into_inner().user.unwrap().id)
        .collect();
    users.dedup();
    assert_eq!(users.len(), 1);
    assert_eq!(accounts(&server).await, 1);
}

#[rstest]
#[tokio::test]
async fn the_same_request_id_with_another_body_is_refused(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    sign_up(&server, ada(FIRST)).await.unwrap();

    let others = [
        pb::SignUpRequest {
            email: "grace@example.com".to_owned(),
            ..ada(FIRST)
        },
        pb::SignUpRequest {
            password: "incorrect horse".to_owned(),
            ..ada(FIRST)
        },
        pb::SignUpRequest {
            display_name: "Ada King".to_owned(),
            ..ada(FIRST)
        },
    ];
    for other in others {
        let refusal = refused(sign_up(&server, other).await);
        assert_eq!(refusal.fields(), ["request_id"]);
    }

    assert_eq!(accounts(&server).await, 1);
    let password = ada("").password;
    let refusal = refused(sign_in(&server.channel, "grace@example.com", &password).await);
    let class = (Code::Unauthenticated, "CREDENTIALS_INVALID");
    assert_eq!(refusal.class(), class);
}

#[rstest]
#[tokio::test]
async fn a_new_request_id_is_a_new_request(#[values(Sqlite, Postgres, Pooled)] engine: Engine) {
    let server = TestServer::start(engine).await;
    sign_up(&server, ada(FIRST)).await.unwrap();

    for id in [SECOND, ""] {
        let refusal = refused(sign_up(&server, ada(id)).await);
        assert_eq!(refusal.class(), (Code::AlreadyExists, "EMAIL_TAKEN"));
    }
}

#[rstest]
#[tokio::test]
async fn a_refused_request_does_not_use_up_its_request_id(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    sign_up(&server, ada(FIRST)).await.unwrap();
    refused(sign_up(&server, ada(SECOND)).await);

    let grace = pb::SignUpRequest {
        email: "grace@example.com".to_owned(),
        ..ada(SECOND)
    };
    sign_up(&server, grace).await.unwrap();
}

#[rstest]
#[tokio::test]
async fn a_request_id_expires_after_a_day(#[values(Sqlite, Postgres, Pooled)] engine: Engine) {
    let server = TestServer::start(engine).await;
    sign_up(&server, ada(FIRST)).await.unwrap();
    let database = &server.database;

    backdate(database, "idempotent_creates", "create_time", "23 hours").await;
    sign_up(&server, ada(FIRST)).await.unwrap();

    backdate(database, "idempotent_creates", "create_time", "2 hours").await;
    let refusal = refused(sign_up(&server, ada(FIRST)).await);
    assert_eq!(refusal.class(), (Code::AlreadyExists, "EMAIL_TAKEN"));
    let grace = pb::SignUpRequest {
        email: "grace@example.com".to_owned(),
        ..ada(FIRST)
    };
    sign_up(&server, grace).await.unwrap();
}
