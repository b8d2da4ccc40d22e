//! Messages that tell users of changes of their accounts.

use rstest::rstest;
use sluice::proto::v1 as pb;
use tonic::Request;

use super::{
    calls::{api_key_request, backdate, new_api_key, new_session},
    mail_calls::{NEW_PASSWORD, let_a_minute_pass, reset, reset_token, verified_user},
    second_factor_calls::{delete, enrol},
};
use crate::harness::{Engine, Postgres, Sqlite, TestServer, User, eventually};

/// Words in the subjects of notices.
const SIGN_IN: &str = "New sign-in";
const API_KEY: &str = "New API key";
const NEW_FACTOR: &str = "New second factor";
const REMOVED_FACTOR: &str = "Second factor of your account removed";
const PASSWORD: &str = "Password of your account changed";
const ALL: [&str; 5] = [SIGN_IN, API_KEY, NEW_FACTOR, REMOVED_FACTOR, PASSWORD];

/// A server behind a proxy on this machine.
async fn behind_a_proxy(engine: Engine) -> TestServer {
    TestServer::start_with(engine, &["--trusted-proxies=127.0.0.1"]).await
}

/// SignIn from an address.
async fn sign_in_from(server: &TestServer, user: &User, address: &str) {
    let mut request = Request::new(pb::SignInRequest {
        email: user.email.clone(),
        password: user.password.to_owned(),
        ..Default::default()
    });
    let address = address.parse().unwrap();
    request.metadata_mut().insert("x-forwarded-for", address);
    server.anonymous().auth.sign_in(request).await.unwrap();
}

#[rstest]
#[tokio::test]
async fn a_sign_in_from_a_new_network_is_told_once(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = behind_a_proxy(engine).await;
    let ada = verified_user(&server).await;
    let database = &server.database;

    sign_in_from(&server, &ada, "203.0.113.5").await;
    let mail = database.mail(&ada.email, SIGN_IN, 1).await;
    assert!(mail.body.contains("203.0.113.0/24"), "{}", mail.body);
    assert!(!mail.body.contains("203.0.113.5"), "{}", mail.body);
    assert!(!mail.body.contains("slm_"), "{}", mail.body);

    let_a_minute_pass(&server).await;
    sign_in_from(&server, &ada, "203.0.113.77").await;
    new_session(&server, &ada).await;
    database.wait_for_empty_outbox().await;
    assert_eq!(database.mails(&ada.email, SIGN_IN).len(), 1);

    sign_in_from(&server, &ada, "2001:db8:1:2::3").await;
    let mail = database.mail(&ada.email, SIGN_IN, 2).await;
    assert!(mail.body.contains("2001:db8:1::/48"), "{}", mail.body);
    let_a_minute_pass(&server).await;
    sign_in_from(&server, &ada, "2001:db8:1:ffff::4").await;
    database.wait_for_empty_outbox().await;
    assert_eq!(database.mails(&ada.email, SIGN_IN).len(), 2);
}

#[rstest]
#[tokio::test]
async fn new_keys_second_factors_and_passwords_are_told_without_secrets(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let ada = verified_user(&server).await;
    let database = &server.database;

    let (_, secret) = new_api_key(&ada, api_key_request(&["projects:read"])).await;
    let mut bodies = vec![database.mail(&ada.email, API_KEY, 1).await.body];
    let (authenticator, codes) = enrol(&ada).await;
    bodies.push(database.mail(&ada.email, NEW_FACTOR, 1).await.body);
    delete(&ada.client, &authenticator.id, &codes[0])
        .await
        .unwrap();
    bodies.push(database.mail(&ada.email, REMOVED_FACTOR, 1).await.body);
    let change = pb::ChangePasswordRequest {
        current_password: ada.password.to_owned(),
        new_password: NEW_PASSWORD.to_owned(),
    };
    ada.client
        .auth
        .clone()
        .change_password(change)
        .await
        .unwrap();
    bodies.push(database.mail(&ada.email, PASSWORD, 1).await.body);
    let_a_minute_pass(&server).await;
    let token = reset_token(&server, &ada).await;
    reset(&server.channel, &token, ada.password).await.unwrap();
    bodies.push(database.mail(&ada.email, PASSWORD, 2).await.body);

    for body in bodies {
        for secret in [
            &*secret,
            "slm_",
            NEW_PASSWORD,
            ada.password,
            "A program",
            "Phone",
        ] {
            assert!(!body.contains(secret), "{body}");
        }
        assert!(!codes.iter().any(|code| body.contains(code)), "{body}");
    }
    assert_eq!(database.mails(&ada.email, SIGN_IN).len(), 0);
}

/// Else an account with the address of a stranger would send them messages.
#[rstest]
#[tokio::test]
async fn an_unverified_address_gets_no_notice(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = behind_a_proxy(engine).await;
    let ada = server.user().await;

    sign_in_from(&server, &ada, "203.0.113.5").await;
    new_api_key(&ada, api_key_request(&["projects:read"])).await;
    enrol(&ada).await;

    server.database.wait_for_empty_outbox().await;
    for subject in ALL {
        assert_eq!(
            server.database.mails(&ada.email, subject).len(),
            0,
            "{subject}"
        );
    }
}

#[rstest]
#[tokio::test]
async fn at_most_one_notice_of_a_kind_is_sent_each_minute(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let ada = verified_user(&server).await;
    for number in 1..=2 {
        for _ in 0..5 {
            new_api_key(&ada, api_key_request(&["projects:read"])).await;
        }
        server.database.mail(&ada.email, API_KEY, number).await;
        new_api_key(&ada, api_key_request(&["projects:read"])).await;
        server.database.mail(&ada.email, API_KEY, number).await;
        let_a_minute_pass(&server).await;
    }
}

#[rstest]
#[tokio::test]
async fn the_networks_of_a_user_are_bounded_and_forgotten_after_half_a_year(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = behind_a_proxy(engine).await;
    let ada = server.user().await;
    for third in 0..60 {
        sign_in_from(&server, &ada, &format!("203.0.{third}.1")).await;
    }
    let networks = "select count(*) from known_networks";
    assert_eq!(server.database.number(networks).await, 50);

    backdate(
        &server.database,
        "known_networks",
        "last_sign_in_time",
        "179 days",
    )
    .await;
    sign_in_from(&server, &ada, "198.51.100.1").await;
    backdate(
        &server.database,
        "known_networks",
        "last_sign_in_time",
        "2 days",
    )
    .await;
    let server = server.restart().await;
    eventually("old networks are purged", async || {
        (server.database.number(networks).await == 1).then_some(())
    })
    .await;
}

#[rstest]
#[tokio::test]
async fn without_mail_nothing_is_queued(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start_with(engine, &["--mail=off"]).await;
    let ada = server.user().await;
    let verified = "update users set email_verified = true";
    server.database.execute(verified).await;

    new_api_key(&ada, api_key_request(&["projects:read"])).await;

    let waiting = "select count(*) from outbox";
    assert_eq!(server.database.number(waiting).await, 0);
}
