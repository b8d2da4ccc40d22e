use rstest::rstest;
use sluice::proto::v1 as pb;
use tonic::Code;

use super::mail_calls::request_reset;
use crate::harness::{Engine, Postgres, Sqlite, TestServer, refused};

const DISABLED: (Code, &str) = (Code::FailedPrecondition, "MAIL_DISABLED");

#[rstest]
#[tokio::test]
async fn with_mail_disabled_known_and_unknown_addresses_get_the_same_error(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start_with(engine, &["--mail=off"]).await;
    let ada = server.user().await;

    for email in [&*ada.email, "nobody@example.com"] {
        let refusal = refused(request_reset(&server.channel, email).await);
        assert_eq!(refusal.class(), DISABLED);
    }
    let request = pb::RequestEmailVerificationRequest {};
    let mut auth = ada.client.auth.clone();
    let refusal = refused(auth.request_email_verification(request).await);
    assert_eq!(refusal.class(), DISABLED);
    let waiting = "select count(*) from outbox";
    assert_eq!(server.database.number(waiting).await, 0);
}

#[tokio::test]
async fn in_production_mail_is_disabled_by_default() {
    let production = [
        "--env=production",
        "--jwt-secret=c1f0a9e6b37d58422e6b1d07f98a3c54",
        "--sealing-keys=S0ypXl2hVd1m6tFv0RwqO3eJ8nZbT4kUaG7cHs5yI9Q=",
        "--bcrypt-cost=10",
    ];
    let server = TestServer::start_with(Sqlite, &production).await;

    let refusal = refused(request_reset(&server.channel, "ada@example.com").await);

    assert_eq!(refusal.class(), DISABLED);
}
