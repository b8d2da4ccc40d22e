use std::time::Duration;

use rstest::rstest;
use sluice::domain::now;

use super::mail_calls::{RESET, request_reset};
use crate::harness::{Engine, Pooled, Postgres, Sqlite, TestServer, eventually, refused};

#[rstest]
#[tokio::test]
async fn an_unknown_address_gets_the_same_answer_and_no_message(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let ada = server.user().await;

    let known = request_reset(&server.channel, &ada.email).await.unwrap();
    let unknown = request_reset(&server.channel, "nobody@example.com").await;

    let unknown = unknown.unwrap();
    assert_eq!(unknown.get_ref(), known.get_ref());
    let names = |answer: &tonic::metadata::MetadataMap| {
        let mut names: Vec<_> = answer.keys().map(|key| format!("{key:?}")).collect();
        names.sort();
        names
    };
    assert_eq!(names(unknown.metadata()), names(known.metadata()));
    server.database.mail(&ada.email, RESET, 1).await;
    let to_nobody = server.database.mails("nobody@example.com", "");
    assert!(to_nobody.is_empty());
}

#[rstest]
#[tokio::test]
async fn an_address_matches_in_any_case_and_the_message_goes_to_the_stored_one(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let ada = server.user().await;

    let upper_case = format!(" {} ", ada.email.to_uppercase());
    request_reset(&server.channel, &upper_case).await.unwrap();

    server.database.mail(&ada.email, RESET, 1).await;
}

#[tokio::test]
async fn a_malformed_address_is_an_invalid_field() {
    let server = TestServer::start(Sqlite).await;

    for email in ["", "ada", "ada@", "Ada <ada@example.com>"] {
        let refusal = refused(request_reset(&server.channel, email).await);
        assert_eq!(refusal.fields(), ["email"], "{email}");
    }
}

#[rstest]
#[tokio::test]
async fn many_concurrent_requests_send_one_message(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let ada = server.user().await;

    let mut requests = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let (channel, email) = (server.channel.clone(), ada.email.clone());
        requests.spawn(async move { request_reset(&channel, &email).await.unwrap() });
    }
    requests.join_all().await;

    server.database.mail(&ada.email, RESET, 1).await;
}

/// Otherwise the response would be faster while an earlier message waits, and reveal that
/// the address has an account.
#[rstest]
#[tokio::test]
async fn a_request_is_written_even_while_an_earlier_one_waits(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    // No mail server listens there, so that the message waits.
    let server = TestServer::start_with(engine, &["--mail=smtp://127.0.0.1:1"]).await;
    // The next attempt is 90 seconds away during an attempt, less than 40 after a failure.
    let minute = (now() + Duration::from_secs(60)).to_rfc3339();
    let waiting = format!(
        "select count(*) from outbox where attempts = 1 and next_attempt_time < '{minute}'"
    );
    let ada = server.user().await;
    request_reset(&server.channel, &ada.email).await.unwrap();
    eventually("the verification and the reset wait", async || {
        (server.database.number(&waiting).await == 2).then_some(())
    })
    .await;

    let written = async || match engine {
        Sqlite => {
            let log = server.database.directory.path().join("sluice.db-wal");
            format!("{:?}", std::fs::read(log).unwrap())
        }
        Postgres | Pooled => {
            let version = "select xmin::text::bigint from outbox where kind = 'password_reset'";
            server.database.number(version).await.to_string()
        }
    };
    let before = written().await;
    request_reset(&server.channel, &ada.email).await.unwrap();

    assert!(written().await != before);
    let rows = "select count(*) from outbox where kind = 'password_reset'";
    assert_eq!(server.database.number(rows).await, 1);
}
