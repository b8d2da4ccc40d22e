use sluice::proto::v1 as pb;
use tonic::{Code, Response};

use crate::harness::{Sqlite, TestServer, refused};

#[tokio::test]
async fn a_request_over_the_size_limit_is_refused() {
    let server = TestServer::start(Sqlite).await;

    let request = pb::SignInRequest {
        email: "x".repeat(65 * 1024),
        password: String::new(),
    };
    let refusal = server.anonymous().auth.sign_in(request).await.unwrap_err();

    let refusal = refused(Err::<Response<()>, _>(refusal));
    assert_eq!(refusal.class(), (Code::ResourceExhausted, "REQUEST_TOO_LARGE"));
}
