use rstest::rstest;
use sluice::proto::v1 as pb;
use tonic::Code;

use crate::harness::{Client, Engine, Postgres, Sqlite, TestServer, refused};

fn ada() -> pb::SignUpRequest {
    pb::SignUpRequest {
        email: "Ada@Example.com".to_owned(),
        password: "correct horse battery staple".to_owned(),
        display_name: "Ada Lovelace".to_owned(),
        request_id: String::new(),
    }
}

#[rstest]
#[tokio::test]
async fn sign_up_makes_an_account_and_signs_it_in(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;

    let answer = server
        .anonymous()
        .auth
        .sign_up(ada())
        .await
        .unwrap()
        .into_inner();

    let user = answer.user.unwrap();
    assert_eq!(user.email, "Ada@Example.com");
    assert_eq!(user.display_name, "Ada Lovelace");
    assert!(!user.email_verified);
    let tokens = answer.tokens.unwrap();
    assert_eq!(tokens.token_type, "Bearer");
    let mut ada = Client::with_token(&server.channel, &tokens.access_token);
    let me = ada
        .auth
        .get_me(pb::GetMeRequest {})
        .await
        .unwrap()
        .into_inner()
        .user
        .unwrap();
    assert_eq!(me, user);
}

/// Predecessor's defect G13: looked up as typed, stored in lower case, answered 500.
#[rstest]
#[tokio::test]
async fn a_taken_address_is_refused_in_any_case(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    server.anonymous().auth.sign_up(ada()).await.unwrap();

    let again = pb::SignUpRequest {
        email: "aDA@example.COM".to_owned(),
        ..ada()
    };
    let refusal = refused(server.anonymous().auth.sign_up(again).await);

    assert_eq!(refusal.class(), (Code::AlreadyExists, "EMAIL_TAKEN"));
}
