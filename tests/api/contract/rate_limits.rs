use std::time::{Duration, Instant};

use rstest::rstest;
use sluice::{domain::Scope, proto::v1 as pb};
use tonic::{Code, Request, Response, Status};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest,
};
use uuid::Uuid;

use crate::harness::{Client, Engine, Postgres, Sqlite, TestServer, eventually, refused};

/// The burst of the limits that tests set.
const BURST: usize = 20;

/// A limit per caller.
const CALLER_LIMIT: [&str; 2] = ["--caller-rate=1", "--caller-burst=20"];

/// A limit per address, with this machine as a trusted proxy.
const ADDRESS_LIMIT: [&str; 3] = [
    "--address-rate=1",
    "--address-burst=20",
    "--trusted-proxies=127.0.0.1",
];

/// Calls until the limit is reached; returns the number of allowed calls.
async fn calls_until_limited<T: std::fmt::Debug>(
    mut call: impl AsyncFnMut() -> Result<Response<T>, Status>,
) -> usize {
    for calls in 0..10 * BURST {
        let answer = call().await;
        if answer.as_ref().is_err_and(is_exhausted) {
            let refusal = refused(answer);
            assert_eq!(refusal.class(), (Code::ResourceExhausted, "RATE_LIMITED"));
            return calls;
        }
    }
    panic!("never limited");
}

fn is_exhausted(status: &Status) -> bool {
    status.code() == Code::ResourceExhausted
}

async fn get_me(client: &Client) -> Result<Response<pb::GetMeResponse>, Status> {
    client.auth.clone().get_me(pb::GetMeRequest {}).await
}

/// Calls a public RPC with an `x-forwarded-for` header.
async fn get_jwks(server: &TestServer, forwarded_for: &str) -> JwksResult {
    let mut request = Request::new(pb::GetJwksRequest {});
    let header = forwarded_for.parse().unwrap();
    request.metadata_mut().insert("x-forwarded-for", header);
    server.anonymous().auth.get_jwks(request).await
}

type JwksResult = Result<Response<pb::GetJwksResponse>, Status>;

#[tokio::test]
async fn a_caller_over_the_limit_is_refused_until_the_retry_delay_is_over() {
    let server = TestServer::start_with(Sqlite, &["--caller-rate=2", "--caller-burst=20"]).await;
    let user = server.user().await;

    assert!(calls_until_limited(async || get_me(&user.client).await).await >= BURST);

    let (refusal, begun) = eventually("a refusal", async || {
        let begun = Instant::now();
        let answer = get_me(&user.client).await;
        answer.is_err().then(|| (refused(answer), begun))
    })
    .await;
    let wait = refusal.details.retry_info().unwrap().retry_delay.unwrap();
    assert!(
        !wait.is_zero() && wait <= Duration::from_millis(500),
        "{wait:?}"
    );
    eventually("the user may call again", async || {
        get_me(&user.client).await.ok()
    })
    .await;
    assert!(begun.elapsed() >= wait, "{:?} < {wait:?}", begun.elapsed());
}

#[tokio::test]
async fn a_user_and_each_of_their_api_keys_have_separate_limits() {
    let server = TestServer::start_with(Sqlite, &CALLER_LIMIT).await;
    let (user, other) = (server.user().await, server.user().await);
    let sign_in = pb::SignInRequest {
        email: user.email.clone(),
        password: user.password.to_owned(),
        ..Default::default()
    };
    let answer = server.anonymous().auth.sign_in(sign_in).await.unwrap();
    let token = answer.into_inner().tokens.unwrap().access_token;
    let other_session = Client::with_token(&server.channel, &token);
    let key = pb::CreateApiKeyRequest {
        display_name: "A program".to_owned(),
        scopes: vec!["projects:read".to_owned()],
        ..Default::default()
    };
    let answer = user.client.auth.clone().create_api_key(key).await.unwrap();
    let secret = answer.into_inner().secret;
    let exchange = pb::ExchangeApiKeyRequest { secret };
    let answer = server.anonymous().auth.exchange_api_key(exchange).await;
    let token = answer.unwrap().into_inner().access_token;
    let program = Client::with_token(&server.channel, &token);
    let platforms = async || {
        let request = pb::ListPlatformsRequest::default();
        program.project.clone().list_platforms(request).await
    };

    // The creation of the key counts as a call.
    assert!(calls_until_limited(async || get_me(&user.client).await).await >= BURST - 1);
    assert!(calls_until_limited(async || get_me(&other_session).await).await < BURST);
    assert!(calls_until_limited(async || get_me(&other.client).await).await >= BURST);
    assert!(calls_until_limited(platforms).await >= BURST);
}

#[tokio::test]
async fn operator_keys_are_not_limited() {
    let server = TestServer::start_with(Sqlite, &CALLER_LIMIT).await;
    let node = server.operator(&[Scope::StreamsPublish]).await;

    for _ in 0..10 * BURST {
        let request = pb::BeginPublishRequest::default();
        let refusal = refused(node.stream.clone().begin_publish(request).await);
        assert_eq!(refusal.code, Code::InvalidArgument);
    }
}

#[tokio::test]
async fn addresses_behind_a_trusted_proxy_do_not_share_a_limit() {
    let server = TestServer::start_with(Sqlite, &ADDRESS_LIMIT).await;
    let calls =
        async |address| calls_until_limited(async || get_jwks(&server, address).await).await;

    assert!(calls("198.51.100.1").await >= BURST);
    assert!(calls("198.51.100.1").await < BURST);
    assert!(calls("198.51.100.2").await >= BURST);

    assert!(calls("2001:db8:0:1::1").await >= BURST);
    assert!(calls("2001:db8:0:1:ffff::2").await < BURST);
    assert!(calls("2001:db8:0:2::1").await >= BURST);
}

#[rstest]
#[tokio::test]
async fn forged_x_forwarded_for_entries_do_not_evade_the_limit(
    #[values("", "<garbage>, ", "127.0.0.1, ")] forged: &str,
) {
    let server = TestServer::start_with(Sqlite, &ADDRESS_LIMIT).await;

    let mut number = 0;
    let calls = calls_until_limited(async || {
        number += 1;
        let header = format!("203.0.113.{number}, {forged}198.51.100.1");
        get_jwks(&server, &header).await
    })
    .await;

    assert!(calls >= BURST);
    let plain = async || get_jwks(&server, "198.51.100.1").await;
    assert!(calls_until_limited(plain).await < BURST);
}

#[rstest]
#[tokio::test]
async fn x_forwarded_for_of_an_untrusted_peer_is_ignored(
    #[values(None, Some("--trusted-proxies=10.0.0.0/8,::/1"))] others: Option<&str>,
) {
    let mut flags = vec!["--address-rate=1", "--address-burst=20"];
    flags.extend(others);
    let server = TestServer::start_with(Sqlite, &flags).await;

    let mut number = 0;
    let calls = calls_until_limited(async || {
        number += 1;
        get_jwks(&server, &format!("203.0.113.{number}")).await
    })
    .await;

    assert!(calls >= BURST);
}

#[rstest]
#[tokio::test]
async fn only_calls_without_a_valid_token_count_for_their_address(
    #[values("none", "forged", "revoked")] kind: &str,
) {
    let server = TestServer::start_with(Sqlite, &ADDRESS_LIMIT).await;
    let (user, other) = (server.user().await, server.user().await);
    let client = match kind {
        "none" => server.anonymous(),
        "forged" => Client::with_token(&server.channel, "x.y.z"),
        _ => {
            let request = pb::SignOutRequest {
                scope: pb::SignOutScope::Current.into(),
            };
            user.client.auth.clone().sign_out(request).await.unwrap();
            user.client
        }
    };

    // The sign-ups count as two calls.
    let calls = calls_until_limited(async || {
        let answer = get_me(&client).await;
        let code = answer.as_ref().unwrap_err().code();
        assert!([Code::Unauthenticated, Code::ResourceExhausted].contains(&code));
        answer
    })
    .await;
    assert!(calls >= BURST - 2);

    for _ in 0..5 * BURST {
        get_me(&other.client).await.unwrap();
    }
    let public = async || {
        let request = pb::GetJwksRequest {};
        server.anonymous().auth.get_jwks(request).await
    };
    assert!(calls_until_limited(public).await < BURST);
}

#[tokio::test]
async fn health_and_reflection_are_not_limited() {
    let flags = [&ADDRESS_LIMIT[..], &["--reflection=true"]].concat();
    let server = TestServer::start_with(Sqlite, &flags).await;
    let public = async || {
        let request = pb::GetJwksRequest {};
        server.anonymous().auth.get_jwks(request).await
    };
    calls_until_limited(public).await;

    let mut health = HealthClient::new(server.channel.clone());
    let mut reflection = ServerReflectionClient::new(server.channel.clone());
    for _ in 0..5 * BURST {
        let request = HealthCheckRequest::default();
        health.check(request).await.unwrap();

        let requests = tokio_stream::once(ServerReflectionRequest {
            host: String::new(),
            message_request: Some(MessageRequest::ListServices(String::new())),
        });
        let answers = reflection.server_reflection_info(requests).await.unwrap();
        let answer = answers.into_inner().message().await.unwrap();
        assert!(answer.is_some());
    }
}

#[rstest]
#[tokio::test]
async fn a_rate_limited_call_is_not_executed(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start_with(engine, &ADDRESS_LIMIT).await;

    let calls = calls_until_limited(async || {
        let request = pb::SignInRequest {
            email: format!("{}@example.com", Uuid::now_v7()),
            password: "wrong".to_owned(),
            ..Default::default()
        };
        server.anonymous().auth.sign_in(request).await
    })
    .await;

    let counted = "select count(*) from guesses";
    assert_eq!(server.database.number(counted).await, calls as i64);
}

#[tokio::test]
async fn a_rate_of_zero_means_no_limit() {
    let flags = [
        "--address-rate=0",
        "--address-burst=1",
        "--caller-rate=0",
        "--caller-burst=1",
    ];
    let server = TestServer::start_with(Sqlite, &flags).await;
    let user = server.user().await;

    for _ in 0..10 * BURST {
        get_jwks(&server, "198.51.100.1").await.unwrap();
        get_me(&user.client).await.unwrap();
    }
}
