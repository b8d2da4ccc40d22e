use sluice::proto::v1 as pb;
use tonic::Request;

use crate::harness::{Sqlite, TestServer};

fn with_request_id(request_id: &str) -> Request<pb::GetJwksRequest> {
    let mut request = Request::new(pb::GetJwksRequest {});
    request
        .metadata_mut()
        .insert("x-request-id", request_id.parse().unwrap());
    request
}

#[tokio::test]
async fn the_request_id_is_echoed_or_generated() {
    let server = TestServer::start(Sqlite).await;

    let answer = server
        .anonymous()
        .auth
        .get_jwks(with_request_id("call-1"))
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

#[tokio::test]
async fn a_request_id_that_could_inject_into_the_log_is_replaced() {
    let server = TestServer::start(Sqlite).await;

    for bad in ["{\"a\": 1}", "a b", &"x".repeat(129)] {
        let answer = server
            .anonymous()
            .auth
            .get_jwks(with_request_id(bad))
            .await
            .unwrap();
        assert_eq!(
            answer.metadata().get("x-request-id").unwrap().len(),
            36,
            "{bad}"
        );
    }
}
