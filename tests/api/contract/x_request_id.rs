use rstest::rstest;
use sluice::proto::v1 as pb;
use tonic::{Code, Request};

use crate::harness::{Engine, Postgres, Sqlite, TestServer};

fn named(request_id: &str) -> Request<pb::GetJwksRequest> {
    let mut request = Request::new(pb::GetJwksRequest {});
    request
        .metadata_mut()
        .insert("x-request-id", request_id.parse().unwrap());
    request
}

#[rstest]
#[tokio::test]
async fn the_request_id_is_echoed_or_generated(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;

    let answer = server
        .anonymous()
        .auth
        .get_jwks(named("call-1"))
        .await
        .unwrap();
    assert_eq!(answer.metadata().get("x-request-id").unwrap(), "call-1");

    let answer = server
        .anonymous()
        .auth
        .get_jwks(pb::GetJwksRequest {})
        .await
        .unwrap();
    assert_eq!(answer.metadata().get("x-request-id").unwrap().len(), 36);

    let refusal = server
        .anonymous()
        .auth
        .get_me(pb::GetMeRequest {})
        .await
        .unwrap_err();
    assert_eq!(refusal.metadata().get("x-request-id").unwrap().len(), 36);
}

#[rstest]
#[tokio::test]
async fn a_request_id_that_could_inject_into_the_log_is_replaced(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;

    for bad in ["{\"a\": 1}", "a b", &"x".repeat(129)] {
        let answer = server.anonymous().auth.get_jwks(named(bad)).await.unwrap();
        assert_eq!(
            answer.metadata().get("x-request-id").unwrap().len(),
            36,
            "{bad}"
        );
    }
}

#[rstest]
#[tokio::test]
async fn a_request_over_the_size_limit_is_refused(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;

    let request = pb::SignInRequest {
        email: "x".repeat(65 * 1024),
        password: String::new(),
    };
    let refusal = server.anonymous().auth.sign_in(request).await.unwrap_err();

    // tonic's own answer, before any code of ours.
    assert_eq!(refusal.code(), Code::OutOfRange);
}
