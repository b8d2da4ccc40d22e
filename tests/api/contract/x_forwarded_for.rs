use rstest::rstest;
use sluice::proto::v1 as pb;
use tonic::{Code, Request, Response, Status};

use crate::harness::{Engine, Postgres, Sqlite, TestServer, User, refused};

const TRUSTED: [&str; 1] = ["--trusted-proxies=192.0.2.0/24,127.0.0.1"];

/// SignIn with an `x-forwarded-for` header.
async fn sign_in(
    server: &TestServer,
    user: &User,
    password: &str,
    forwarded_for: &str,
) -> Result<Response<pb::SignInResponse>, Status> {
    let mut request = Request::new(pb::SignInRequest {
        email: user.email.clone(),
        password: password.to_owned(),
        ..Default::default()
    });
    let header = forwarded_for.parse().unwrap();
    request.metadata_mut().insert("x-forwarded-for", header);
    server.anonymous().auth.sign_in(request).await
}

/// The peer addresses of the newest session and of the newest audit event.
async fn recorded_addresses(user: &User) -> [String; 2] {
    let mut auth = user.client.auth.clone();
    let sessions = auth.list_sessions(pb::ListSessionsRequest::default()).await;
    let events = pb::ListAuditEventsRequest::default();
    let events = auth.list_audit_events(events).await;
    [
        sessions.unwrap().into_inner().sessions[0]
            .peer_address
            .clone(),
        events.unwrap().into_inner().audit_events[0]
            .peer_address
            .clone(),
    ]
}

#[rstest]
#[case("198.51.100.7", "198.51.100.7")]
#[case("198.51.100.7, 192.0.2.9", "198.51.100.7")]
#[case("1.1.1.1, 198.51.100.7", "198.51.100.7")]
#[case("2001:db8::7", "2001:db8::7")]
#[case("::ffff:198.51.100.7", "198.51.100.7")]
#[case("198.51.100.7, unknown, 192.0.2.9", "192.0.2.9")]
#[case("unknown", "127.0.0.1")]
#[tokio::test]
async fn the_client_address_from_a_trusted_proxy_is_recorded(
    #[values(Sqlite, Postgres)] engine: Engine,
    #[case] forwarded_for: &str,
    #[case] client: &str,
) {
    let server = TestServer::start_with(engine, &TRUSTED).await;
    let user = server.user().await;

    sign_in(&server, &user, user.password, forwarded_for)
        .await
        .unwrap();

    assert_eq!(recorded_addresses(&user).await, [client, client]);
}

#[rstest]
#[tokio::test]
async fn a_forwarded_address_from_an_untrusted_peer_is_not_recorded(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let user = server.user().await;

    sign_in(&server, &user, user.password, "198.51.100.7")
        .await
        .unwrap();

    assert_eq!(recorded_addresses(&user).await, ["127.0.0.1", "127.0.0.1"]);
}

#[rstest]
#[case::same_network("2001:db8:0:1::1", "2001:db8:0:1:ffff::2", true)]
#[case::another_network("2001:db8:0:1::1", "2001:db8:0:2::1", false)]
#[case::another_address("198.51.100.1", "198.51.100.2", false)]
#[tokio::test]
async fn attempts_from_elsewhere_do_not_delay_the_owner_in_a_familiar_network(
    #[values(Sqlite, Postgres)] engine: Engine,
    #[case] before: &str,
    #[case] later: &str,
    #[case] is_familiar: bool,
) {
    let server = TestServer::start_with(engine, &TRUSTED).await;
    let user = server.user().await;
    sign_in(&server, &user, user.password, before)
        .await
        .unwrap();
    let attempt = async || refused(sign_in(&server, &user, "wrong", "203.0.113.66").await);
    assert_eq!(attempt().await.reason, "CREDENTIALS_INVALID");
    // So many failures that the wait is longer than this test.
    let many = "update guesses set failures = 20 where familiar_until is null";
    server.database.execute(many).await;
    assert_eq!(attempt().await.reason, "CREDENTIALS_INVALID");
    assert_eq!(attempt().await.reason, "TOO_MANY_ATTEMPTS");

    let answer = sign_in(&server, &user, user.password, later).await;

    match is_familiar {
        true => drop(answer.unwrap()),
        false => assert_eq!(
            refused(answer).class(),
            (Code::ResourceExhausted, "TOO_MANY_ATTEMPTS")
        ),
    }
}
