//! How passwords are kept.

use rstest::rstest;
use tonic::Code;

use super::steps::sign_in;
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
async fn a_raised_cost_counts_from_the_next_sign_in_on(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let ada = server.user().await;
    assert_eq!(hashes_of_cost(&server, &ada, "04").await, 1);

    let server = TestServer::over(server.database, &["--bcrypt-cost=6"]).await;
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
