use rstest::rstest;
use sluice::{domain::Scope, proto::v1 as pb};
use tonic::{Code, Response};

use crate::harness::{RawConnection, Sqlite, TestServer, refused};

const TOO_LARGE: (Code, &str) = (Code::ResourceExhausted, "REQUEST_TOO_LARGE");

#[tokio::test]
async fn a_request_over_the_size_limit_is_refused() {
    let server = TestServer::start(Sqlite).await;

    let request = pb::SignInRequest {
        email: "x".repeat(65 * 1024),
        password: String::new(),
        ..Default::default()
    };
    let refusal = refused(server.anonymous().auth.sign_in(request).await);

    assert_eq!(refusal.class(), TOO_LARGE);
    let info = refusal.details.error_info().unwrap();
    assert_eq!(info.metadata["max_bytes"], "65536");
}

#[rstest]
#[case::sign_in("sluice.v1.AuthService/SignIn", 64 * 1024)]
#[case::watch("sluice.v1.StreamService/WatchProject", 64 * 1024)]
#[case::project("sluice.v1.ProjectService/CreateProject", 256 * 1024)]
#[case::node("sluice.v1.StreamService/SyncNode", 2 * 1024 * 1024)]
#[case::health("grpc.health.v1.Health/Check", 4 * 1024)]
#[case::reflection("grpc.reflection.v1.ServerReflection/ServerReflectionInfo", 4 * 1024)]
#[tokio::test]
async fn the_prefix_of_a_message_decides_whether_it_is_too_large(
    #[case] rpc: &str,
    #[case] limit: u32,
) {
    let server = TestServer::start_with(Sqlite, &["--reflection=true"]).await;
    let token = match rpc.ends_with("SyncNode") {
        true => server.operator_token(&[Scope::StreamsPublish]).await,
        false => server.user().await.tokens.access_token,
    };
    let headers = [("authorization", &*format!("Bearer {token}"))];
    let mut raw = RawConnection::to(server.address).await;

    let mut fitting = raw.begin(rpc, &headers).await;
    fitting.send(&prefix(limit), false);
    let mut larger = raw.begin(rpc, &headers).await;
    larger.send(&prefix(limit + 1), false);
    let refusal = refused(Err::<Response<()>, _>(larger.status().await));

    assert_eq!(refusal.class(), TOO_LARGE);
    fitting.send(&[], true);
    let refusal = refused(Err::<Response<()>, _>(fitting.status().await));
    assert_eq!(refusal.reason, "REQUEST_MALFORMED");
}

/// The prefix of a message of this size.
fn prefix(size: u32) -> Vec<u8> {
    [&[0], &size.to_be_bytes()[..]].concat()
}
