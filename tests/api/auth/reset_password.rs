use rstest::rstest;
use tonic::Code;

use super::{
    calls::{exchange, get_me, key, key_of, refresh, session, sign_in},
    mail_calls::{
        NEW_PASSWORD, audited, is_verified, reset, reset_token, verification_token, verify,
    },
};
use crate::harness::{Client, Engine, Postgres, Sqlite, TestServer, refused};

#[rstest]
#[tokio::test]
async fn a_reset_replaces_the_password_ends_all_sessions_and_verifies_the_address(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let (ada, ben) = (server.user().await, server.user().await);
    let other = session(&server, &ada).await;
    let token = reset_token(&server, &ada).await;

    reset(&server.channel, &token, NEW_PASSWORD).await.unwrap();

    for tokens in [&ada.tokens, &other] {
        let client = Client::with_token(&server.channel, &tokens.access_token);
        let refusal = refused(get_me(&client).await);
        let ended = (Code::Unauthenticated, "ACCESS_TOKEN_INVALID");
        assert_eq!(refusal.class(), ended);
        let refusal = refused(refresh(&server.channel, &tokens.refresh_token).await);
        let ended = (Code::Unauthenticated, "REFRESH_TOKEN_INVALID");
        assert_eq!(refusal.class(), ended);
    }
    let refusal = refused(sign_in(&server.channel, &ada.email, ada.password).await);
    let wrong = (Code::Unauthenticated, "CREDENTIALS_INVALID");
    assert_eq!(refusal.class(), wrong);
    let answer = eventually_signed_in(&server, &ada.email).await;
    assert!(answer.user.unwrap().email_verified);
    assert!(!is_verified(&ben).await);

    let ada = Client::with_token(&server.channel, &answer.tokens.unwrap().access_token);
    let audited = audited(&ada).await;
    for action in ["RequestPasswordReset", "ResetPassword"] {
        let done = (action.to_owned(), "OK".to_owned());
        let times = audited.iter().filter(|entry| **entry == done).count();
        assert_eq!(times, 1, "{audited:?}");
    }
}

/// A sign-in with the new password, after the wait that wrong ones left.
async fn eventually_signed_in(
    server: &TestServer,
    email: &str,
) -> sluice::proto::v1::SignInResponse {
    let waiting = "update guesses set locked_until = update_time";
    server.database.execute(waiting).await;
    let answer = sign_in(&server.channel, email, NEW_PASSWORD).await;
    answer.unwrap().into_inner()
}

#[rstest]
#[tokio::test]
async fn a_rejected_password_does_not_use_up_the_token(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let ada = server.user().await;
    let token = reset_token(&server, &ada).await;

    // The last one is strong unless its owner's address is known.
    let own = &ada.email;
    for password in ["", "short", "password", &"x".repeat(72), own] {
        let refusal = refused(reset(&server.channel, &token, password).await);
        assert_eq!(refusal.fields(), ["new_password"], "{password}");
    }
    let refusal = refused(reset(&server.channel, " ", "short").await);
    assert_eq!(refusal.fields(), ["new_password", "token"]);

    get_me(&ada.client).await.unwrap();
    reset(&server.channel, &token, NEW_PASSWORD).await.unwrap();
}

#[rstest]
#[tokio::test]
async fn an_account_without_a_password_gets_one_and_is_verified(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let ada = server.user().await;
    let federated = "update users set password_hash = null";
    server.database.execute(federated).await;
    let token = reset_token(&server, &ada).await;

    reset(&server.channel, &token, NEW_PASSWORD).await.unwrap();

    let answer = sign_in(&server.channel, &ada.email, NEW_PASSWORD).await;
    assert!(answer.unwrap().into_inner().user.unwrap().email_verified);
}

#[rstest]
#[tokio::test]
async fn a_reset_deletes_api_keys_and_identities_of_an_unverified_account(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let (ada, ben) = (server.user().await, server.user().await);
    let (_, unproved) = key(&ada, key_of(&["projects:read"])).await;
    let (_, proved) = key(&ben, key_of(&["projects:read"])).await;
    let token = verification_token(&server, &ben).await;
    verify(&server.channel, &token).await.unwrap();
    let linked = "insert into identities (issuer, subject, user_id, create_time)
                  select 'https://issuer.example.com', email_key, id, create_time from users";
    server.database.execute(linked).await;

    for user in [&ada, &ben] {
        let token = reset_token(&server, user).await;
        reset(&server.channel, &token, NEW_PASSWORD).await.unwrap();
    }

    let refusal = refused(exchange(&server.channel, &unproved).await);
    let ended = (Code::Unauthenticated, "API_KEY_INVALID");
    assert_eq!(refusal.class(), ended);
    exchange(&server.channel, &proved).await.unwrap();
    let left = format!(
        "select count(*) from identities where subject = '{}'",
        ben.email
    );
    assert_eq!(server.database.number(&left).await, 1);
    let all = "select count(*) from identities";
    assert_eq!(server.database.number(all).await, 1);
}
