//! Stored password hashes and their cost.

use rstest::rstest;
use sluice::proto::v1 as pb;
use tokio::task::JoinSet;
use tonic::Code;

use super::calls::sign_in;
use crate::harness::{Engine, Postgres, Sqlite, TestServer, User, refused};

async fn hashes_of_cost(server: &TestServer, user: &User, cost: &str) -> i64 {
    let email = &user.email;
    let query = format!(
        "select count(*) from users where email = '{email}' and password_hash like '$2b${cost}$%'"
    );
    server.database.number(&query).await
}

#[rstest]
#[tokio::test]
async fn a_raised_bcrypt_cost_applies_at_the_next_sign_in(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let ada = server.user().await;
    assert_eq!(hashes_of_cost(&server, &ada, "04").await, 1);

    let server = TestServer::start_on(server.database, &["--bcrypt-cost=6"]).await;
    let refusal = refused(sign_in(&server.channel, &ada.email, "wrong horse").await);
    let class = (Code::Unauthenticated, "CREDENTIALS_INVALID");
    assert_eq!(refusal.class(), class);
    assert_eq!(hashes_of_cost(&server, &ada, "04").await, 1);

    for _ in 0..2 {
        sign_in(&server.channel, &ada.email, ada.password)
            .await
            .unwrap();
        assert_eq!(hashes_of_cost(&server, &ada, "06").await, 1);
    }
}

#[rstest]
#[tokio::test]
async fn a_lowered_bcrypt_cost_leaves_stored_hashes_unchanged(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start_with(engine, &["--bcrypt-cost=6"]).await;
    let ada = server.user().await;

    let server = TestServer::start_on(server.database, &["--bcrypt-cost=4"]).await;
    sign_in(&server.channel, &ada.email, ada.password)
        .await
        .unwrap();

    assert_eq!(hashes_of_cost(&server, &ada, "06").await, 1);
}

#[rstest]
#[tokio::test]
async fn concurrent_sign_ins_all_succeed_while_the_hash_is_renewed(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let ada = server.user().await;
    let server = TestServer::start_on(server.database, &["--bcrypt-cost=8"]).await;
    let replica = server.replica().await;

    let mut calls = JoinSet::new();
    for channel in [&server.channel, &replica].into_iter().cycle().take(12) {
        let (channel, email, password) = (channel.clone(), ada.email.clone(), ada.password);
        calls.spawn(async move { sign_in(&channel, &email, password).await });
    }

    for answer in calls.join_all().await {
        answer.unwrap();
    }
    assert_eq!(hashes_of_cost(&server, &ada, "08").await, 1);
}

/// Estimating the strength of this password takes as long as a hash. Callers without an
/// account must not get that for free, and other calls must not wait for it.
#[tokio::test]
async fn strength_checks_of_new_passwords_use_the_password_queue() {
    let server = TestServer::start_with(Sqlite, &["--password-queue=1"]).await;

    let mut calls = JoinSet::new();
    for number in 0..40 {
        let mut auth = server.anonymous().auth;
        let request = pb::SignUpRequest {
            email: format!("{number}@example.com"),
            password: "4@8({[<3691!|70$5+%24@8({[<3691!|70$5+%2".to_owned(),
            display_name: String::new(),
            request_id: String::new(),
        };
        calls.spawn(async move { auth.sign_up(request).await });
    }

    let (mut rejected, mut estimated) = (0, 0);
    for answer in calls.join_all().await {
        let refusal = refused(answer);
        match refusal.class() {
            (Code::ResourceExhausted, "PASSWORD_QUEUE_FULL") => rejected += 1,
            _ => {
                assert_eq!(refusal.fields(), ["display_name"]);
                estimated += 1;
            }
        }
    }
    assert!(
        rejected > 0 && estimated > 0,
        "{rejected} rejected, {estimated} estimated"
    );
}
