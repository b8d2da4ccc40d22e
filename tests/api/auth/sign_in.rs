use rstest::rstest;
use tokio::task::JoinSet;
use tonic::Code;

use super::calls::{get_me, refreshed, sign_in};
use crate::harness::{Client, Engine, Pooled, Postgres, Sqlite, TestServer, refused};

#[rstest]
#[tokio::test]
async fn sign_in_creates_a_session_and_keeps_the_others(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let ada = server.user().await;

    let answer = sign_in(&server.channel, &ada.email, ada.password)
        .await
        .unwrap()
        .into_inner();

    assert_eq!(answer.user.as_ref(), Some(&ada.user));
    let tokens = answer.tokens.unwrap();
    assert_eq!(tokens.token_type, "Bearer");
    assert_ne!(tokens.refresh_token, ada.tokens.refresh_token);
    let client = Client::with_token(&server.channel, &tokens.access_token);
    let me = get_me(&client).await.unwrap().into_inner().user;
    assert_eq!(me, Some(ada.user));
    for token in [&tokens.refresh_token, &ada.tokens.refresh_token] {
        refreshed(&server.channel, token).await;
    }
}

#[rstest]
#[tokio::test]
async fn an_address_matches_in_any_case(#[values(Sqlite, Postgres, Pooled)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let ada = server.user().await;

    for email in [ada.email.to_uppercase(), format!(" {} ", ada.email)] {
        let answer = sign_in(&server.channel, &email, ada.password).await;
        assert_eq!(answer.unwrap().into_inner().user.unwrap(), ada.user);
    }
}

/// Predecessor's defect G11: its answers told which addresses have accounts.
#[rstest]
#[tokio::test]
async fn an_unknown_address_and_a_wrong_password_get_the_same_answer(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let (ada, grace) = (server.user().await, server.user().await);
    let without_password = format!(
        "update users set password_hash = null where email = '{}'",
        grace.email
    );
    server.database.execute(&without_password).await;

    let wrong = refused(sign_in(&server.channel, &ada.email, "wrong horse").await);
    let class = (Code::Unauthenticated, "CREDENTIALS_INVALID");
    assert_eq!(wrong.class(), class);
    for (email, password) in [
        ("nobody@example.com", ada.password),
        (&*ada.email, "x"),
        (&*ada.email, "Correct horse battery staple"),
        (&*ada.email, "correct horse battery staple "),
        (&*grace.email, grace.password),
    ] {
        let refusal = refused(sign_in(&server.channel, email, password).await);
        assert_eq!(format!("{refusal:?}"), format!("{wrong:?}"));
    }
}

#[rstest]
#[tokio::test]
async fn the_password_of_another_user_is_refused(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let (ada, grace) = (server.user().await, server.user().await);
    store_predecessor_hash(&server, &grace.email).await;

    let refusal = refused(sign_in(&server.channel, &ada.email, ALPHABET).await);

    let class = (Code::Unauthenticated, "CREDENTIALS_INVALID");
    assert_eq!(refusal.class(), class);
}

const ALPHABET: &str = "abcdefghijklmnopqrstuvwxyz";

/// Stores a hash of the password `ALPHABET` as the predecessor did: a test vector of jBCrypt
/// with the version that bcrypt for Node writes.
async fn store_predecessor_hash(server: &TestServer, email: &str) {
    let hash = "$2b$10$fVH8e28OQRj9tqiDXs1e1uxpsjN0c7II7YPKXua2NAKYvM6iQk7dq";
    let statement = format!("update users set password_hash = '{hash}' where email = '{email}'");
    server.database.execute(&statement).await;
}

#[rstest]
#[tokio::test]
async fn a_password_hash_of_the_predecessor_verifies(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let ada = server.user().await;
    store_predecessor_hash(&server, &ada.email).await;

    let answer = sign_in(&server.channel, &ada.email, ALPHABET).await;
    assert_eq!(answer.unwrap().into_inner().user.unwrap(), ada.user);

    for password in [ada.password, &ALPHABET[1..]] {
        let refusal = refused(sign_in(&server.channel, &ada.email, password).await);
        assert_eq!(
            refusal.class(),
            (Code::Unauthenticated, "CREDENTIALS_INVALID")
        );
    }
}

/// Predecessor's defect G12: what follows the 72nd byte was ignored.
#[tokio::test]
async fn every_invalid_field_is_named() {
    let server = TestServer::start(Sqlite).await;
    let ada = server.user().await;

    let (long, longer) = ("x".repeat(72), "x".repeat(10_000));
    let endless = format!("{}@example.com", "a".repeat(243));
    for (email, password, fields) in [
        ("", ada.password, &["email"][..]),
        ("ada", ada.password, &["email"]),
        (&*endless, ada.password, &["email"]),
        (&*ada.email, "", &["password"]),
        (&*ada.email, &*long, &["password"]),
        (&*ada.email, &*longer, &["password"]),
        (&*ada.email, "pass\0word", &["password"]),
        ("ada\0@example.com", "", &["email", "password"]),
    ] {
        let refusal = refused(sign_in(&server.channel, email, password).await);
        assert_eq!(refusal.fields(), fields, "{email:?} {password:?}");
    }
}

#[rstest]
#[tokio::test]
async fn a_full_password_queue_refuses_sign_ins(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
    #[values("correct horse battery staple", "wrong horse")] password: &'static str,
) {
    let flags = ["--password-queue=1", "--bcrypt-cost=10"];
    let server = TestServer::start_with(engine, &flags).await;
    let mut users = Vec::new();
    for _ in 0..10 {
        users.push(server.user().await);
    }
    let ada = &users[0];

    let mut calls = JoinSet::new();
    for user in &users {
        let (channel, email) = (server.channel.clone(), user.email.clone());
        calls.spawn(async move { sign_in(&channel, &email, password).await });
    }

    let (mut rejected, mut checked) = (0, 0);
    for answer in calls.join_all().await {
        match answer {
            Ok(_) => {
                assert_eq!(password, ada.password);
                checked += 1;
            }
            Err(status) if status.code() == Code::Unauthenticated => {
                assert_ne!(password, ada.password);
                let refusal = refused(Err::<tonic::Response<()>, _>(status));
                assert_eq!(refusal.reason, "CREDENTIALS_INVALID");
                checked += 1;
            }
            Err(status) => {
                let refusal = refused(Err::<tonic::Response<()>, _>(status));
                let class = (Code::ResourceExhausted, "PASSWORD_QUEUE_FULL");
                assert_eq!(refusal.class(), class);
                let retry = refusal.details.retry_info().unwrap();
                assert!(!retry.retry_delay.unwrap().is_zero());
                rejected += 1;
            }
        }
    }
    assert!(
        rejected > 0 && checked > 0,
        "{rejected} rejected, {checked} checked"
    );
}
