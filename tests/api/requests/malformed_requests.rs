use rstest::rstest;
use sluice::proto::v1 as pb;
use tonic::{Code, Response};

use crate::harness::{RawConnection, Sqlite, TestServer, message_frame, refused};

const JWKS: &str = "sluice.v1.AuthService/GetJwks";
const SIGN_IN: &str = "sluice.v1.AuthService/SignIn";

#[rstest]
#[case::no_message(JWKS, &[])]
#[case::half_a_prefix(JWKS, &[0, 0, 0])]
#[case::half_a_message(JWKS, &[0, 0, 0, 0, 9, 1])]
#[case::two_messages(JWKS, &[0; 10])]
#[case::bytes_behind_the_message(JWKS, &[0; 6])]
#[case::a_compressed_message(JWKS, &[1, 0, 0, 0, 0])]
#[case::an_unknown_flag(JWKS, &[128, 0, 0, 0, 0])]
#[case::an_invalid_field(SIGN_IN, &[0, 0, 0, 0, 1, 255])]
#[case::a_cut_off_field(SIGN_IN, &[0, 0, 0, 0, 2, 10, 200])]
#[case::invalid_utf8(SIGN_IN, &[0, 0, 0, 0, 3, 10, 1, 255])]
#[case::health_check("grpc.health.v1.Health/Check", &[0, 0, 0, 0, 1, 255])]
#[case::health_watch("grpc.health.v1.Health/Watch", &[0, 0, 0, 0, 1, 255])]
#[tokio::test]
async fn malformed_bytes_are_the_callers_error(#[case] rpc: &str, #[case] bytes: &[u8]) {
    let server = TestServer::start(Sqlite).await;
    let mut raw = RawConnection::to(server.address).await;

    let mut call = raw.begin(rpc, &[]).await;
    call.send(bytes, true);
    let refusal = refused(Err::<Response<()>, _>(call.status().await));

    assert_eq!(
        refusal.class(),
        (Code::InvalidArgument, "REQUEST_MALFORMED")
    );
    assert_eq!(refusal.message, "the request is not a well-formed message");
}

#[tokio::test]
async fn a_message_in_many_pieces_is_received() {
    let server = TestServer::start(Sqlite).await;
    let ada = server.user().await;
    let mut raw = RawConnection::to(server.address).await;
    let request = pb::SignInRequest {
        email: ada.email,
        password: ada.password.to_owned(),
        ..Default::default()
    };

    let mut call = raw.begin(SIGN_IN, &[]).await;
    for byte in message_frame(&request) {
        call.send(&[byte], false);
        tokio::task::yield_now().await;
    }
    call.send(&[], true);

    assert_eq!(call.status().await.code(), Code::Ok);
}

#[tokio::test]
async fn a_compressed_request_is_unimplemented() {
    let server = TestServer::start(Sqlite).await;
    let mut raw = RawConnection::to(server.address).await;

    let mut call = raw.begin(JWKS, &[("grpc-encoding", "gzip")]).await;
    call.send(&[1, 0, 0, 0, 1, 0], true);

    assert_eq!(call.status().await.code(), Code::Unimplemented);
}
