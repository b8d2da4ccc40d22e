use rstest::rstest;
use sluice::proto::v1 as pb;
use tonic::Code;

use super::{
    calls::{api_key_client, api_key_request, backdate},
    mail_calls::{
        INVALID, VERIFY, audit_entries, is_verified, let_a_minute_pass, request_verification,
        reset_token, verification_token, verify,
    },
};
use crate::harness::{Engine, Postgres, Sqlite, TestServer, refused};

#[rstest]
#[tokio::test]
async fn a_new_account_gets_a_message_whose_token_verifies_its_address(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let (ada, ben) = (server.user().await, server.user().await);
    assert!(!is_verified(&ada).await);

    let mail = server.database.mail(&ada.email, VERIFY, 1).await;
    verify(&ada.client, &mail.token()).await.unwrap();

    assert!(is_verified(&ada).await);
    assert!(!is_verified(&ben).await);
    let last = audit_entries(&ada.client).await.pop().unwrap();
    assert_eq!(last, ("VerifyEmail".to_owned(), "OK".to_owned()));
}

#[rstest]
#[tokio::test]
async fn a_verification_token_works_once(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let ada = server.user().await;
    let token = verification_token(&server, &ada).await;
    verify(&ada.client, &token).await.unwrap();

    let refusal = refused(verify(&ada.client, &token).await);

    assert_eq!(refusal.class(), INVALID);
}

#[rstest]
#[tokio::test]
async fn an_invalid_verification_token_verifies_nothing(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let ada = server.user().await;
    let right = verification_token(&server, &ada).await;

    let other = reset_token(&server, &ada).await;
    let guess = format!("slm_{}", "0".repeat(64));
    let upper = right.to_uppercase();
    for token in [&*other, &guess, &upper, "slm_", "x", &right[..67]] {
        let refusal = refused(verify(&ada.client, token).await);
        assert_eq!(refusal.class(), INVALID, "{token}");
    }
    for token in ["", "  "] {
        let refusal = refused(verify(&ada.client, token).await);
        assert_eq!(refusal.fields(), ["token"]);
    }

    assert!(!is_verified(&ada).await);
}

#[rstest]
#[tokio::test]
async fn a_verification_token_works_for_a_day(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let (ada, ben) = (server.user().await, server.user().await);
    let early = verification_token(&server, &ada).await;
    let late = verification_token(&server, &ben).await;

    let database = &server.database;
    backdate(database, "mail_tokens", "expire_time", "86340 seconds").await;
    verify(&ada.client, &early).await.unwrap();
    backdate(database, "mail_tokens", "expire_time", "60 seconds").await;
    let refusal = refused(verify(&ben.client, &late).await);

    assert_eq!(refusal.class(), INVALID);
    assert!(is_verified(&ada).await);
    assert!(!is_verified(&ben).await);
}

#[rstest]
#[tokio::test]
async fn a_token_does_not_verify_another_address(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let ada = server.user().await;
    let token = verification_token(&server, &ada).await;
    let moved = "update users set email = 'new@example.com', email_key = 'new@example.com'";
    server.database.execute(moved).await;

    let refusal = refused(verify(&ada.client, &token).await);

    assert_eq!(refusal.class(), INVALID);
    assert!(!is_verified(&ada).await);
}

#[rstest]
#[tokio::test]
async fn every_requested_token_works_until_one_is_used(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let ada = server.user().await;
    let first = verification_token(&server, &ada).await;

    let_a_minute_pass(&server).await;
    request_verification(&ada).await;
    let second = server.database.mail(&ada.email, VERIFY, 2).await.token();

    verify(&ada.client, &first).await.unwrap();
    let refusal = refused(verify(&ada.client, &second).await);
    assert_eq!(refusal.class(), INVALID);
    assert!(is_verified(&ada).await);
}

#[rstest]
#[tokio::test]
async fn no_second_message_is_sent_within_a_minute(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let ada = server.user().await;
    let token = verification_token(&server, &ada).await;

    for _ in 0..3 {
        request_verification(&ada).await;
        server.database.mail(&ada.email, VERIFY, 1).await;
    }

    verify(&ada.client, &token).await.unwrap();
}

#[rstest]
#[tokio::test]
async fn a_verified_account_gets_no_further_message(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let ada = server.user().await;
    let token = verification_token(&server, &ada).await;
    verify(&ada.client, &token).await.unwrap();

    request_verification(&ada).await;

    server.database.mail(&ada.email, VERIFY, 1).await;
}

/// Else the owner of a mailbox who opens the link would verify an account that somebody else has made
/// with the address.
#[rstest]
#[tokio::test]
async fn only_the_user_of_the_account_can_verify_its_address(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let (ada, ben) = (server.user().await, server.user().await);
    let token = verification_token(&server, &ada).await;

    let refusal = refused(verify(&server.anonymous(), &token).await);
    let missing = (Code::Unauthenticated, "ACCESS_TOKEN_MISSING");
    assert_eq!(refusal.class(), missing);
    let refusal = refused(verify(&ben.client, &token).await);
    assert_eq!(refusal.class(), INVALID);
    let program = api_key_client(&server, &ada, api_key_request(&["projects:read"])).await;
    let refusal = refused(verify(&program, &token).await);
    let no_session = (Code::PermissionDenied, "SESSION_REQUIRED");
    assert_eq!(refusal.class(), no_session);

    assert!(!is_verified(&ada).await);
    assert!(!is_verified(&ben).await);
    verify(&ada.client, &token).await.unwrap();
    assert!(is_verified(&ada).await);
}

#[tokio::test]
async fn only_a_signed_in_user_can_request_a_verification() {
    let server = TestServer::start(Sqlite).await;
    let ada = server.user().await;
    let request = pb::RequestEmailVerificationRequest {};

    let mut anonymous = server.anonymous().auth;
    let refusal = refused(anonymous.request_email_verification(request).await);
    let missing = (Code::Unauthenticated, "ACCESS_TOKEN_MISSING");
    assert_eq!(refusal.class(), missing);

    let mut program = api_key_client(&server, &ada, api_key_request(&["projects:read"]))
        .await
        .auth;
    let refusal = refused(program.request_email_verification(request).await);
    let no_session = (Code::PermissionDenied, "SESSION_REQUIRED");
    assert_eq!(refusal.class(), no_session);
}
