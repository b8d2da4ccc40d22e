use rstest::rstest;
use sluice::proto::v1 as pb;

use super::{
    http2_connection::{ConnectionEnd, Http2Connection},
    http2_frames::{
        CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PING, PUBLIC_RPC, RST_STREAM,
        SETTINGS, WINDOW_UPDATE, client_preface, frame, headers,
    },
};
use crate::harness::{Sqlite, TestServer};

const NO_ERROR: u32 = 0;

const COMPLETE: u8 = END_HEADERS | END_STREAM;

#[rstest]
#[case::oversized_frame(frame(DATA, 0, 1, &[0; 16_385]))]
#[case::truncated_setting(frame(SETTINGS, 0, 0, &[0; 5]))]
#[case::invalid_setting_value(frame(SETTINGS, 0, 0, &[0, 4, 255, 255, 255, 255]))]
#[case::settings_on_a_stream(frame(SETTINGS, 0, 1, &[]))]
#[case::truncated_ping(frame(PING, 0, 0, &[0; 7]))]
#[case::data_on_stream_zero(frame(DATA, 0, 0, b"x"))]
#[case::data_on_an_idle_stream(frame(DATA, 0, 1, b"x"))]
#[case::headers_on_an_even_stream(frame(HEADERS, COMPLETE, 2, &headers(PUBLIC_RPC)))]
#[case::undecodable_headers(frame(HEADERS, COMPLETE, 1, &[0xff; 9]))]
#[case::continuation_without_headers(frame(CONTINUATION, END_HEADERS, 1, &headers(PUBLIC_RPC)))]
#[case::truncated_rst_stream(frame(RST_STREAM, 0, 1, &[0; 3]))]
#[case::rst_stream_on_an_idle_stream(frame(RST_STREAM, 0, 1, &[0; 4]))]
#[case::zero_window_increment(frame(WINDOW_UPDATE, 0, 0, &[0; 4]))]
#[case::connection_window_overflow(frame(WINDOW_UPDATE, 0, 0, &[127, 255, 255, 255]))]
#[case::ping_inside_a_header_block([frame(HEADERS, 0, 1, &headers(PUBLIC_RPC)), frame(PING, 0, 0, &[0; 8])].concat())]
#[tokio::test]
async fn a_protocol_error_ends_only_its_own_connection_with_goaway(#[case] bytes: Vec<u8>) {
    let server = TestServer::start(Sqlite).await;
    let mut raw = Http2Connection::connect(server.address).await;

    raw.send(&[client_preface(), bytes].concat()).await.unwrap();

    let goaways = raw.closed().await.goaways;
    // h2 chooses the error code.
    assert!(goaways.len() == 1 && goaways[0] != NO_ERROR, "{goaways:?}");
    let answer = server
        .anonymous()
        .auth
        .get_jwks(pb::GetJwksRequest {})
        .await;
    answer.unwrap();
}

#[rstest]
#[case::http1(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")]
#[case::tls(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")]
#[case::almost_http2(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\r")]
#[case::zeros(&[0; 64])]
#[tokio::test]
async fn a_connection_with_another_protocol_is_closed(#[case] bytes: &[u8]) {
    let server = TestServer::start(Sqlite).await;
    let mut raw = Http2Connection::connect(server.address).await;

    raw.send(bytes).await.unwrap();

    assert_eq!(raw.closed().await, ConnectionEnd::default());
}

#[tokio::test]
async fn a_stream_window_overflow_resets_only_that_stream() {
    let server = TestServer::start(Sqlite).await;
    let mut raw = Http2Connection::with_preface(server.address).await;
    let largest = frame(WINDOW_UPDATE, 0, 1, &[127, 255, 255, 255]);
    let call = frame(HEADERS, END_HEADERS, 1, &headers(PUBLIC_RPC));

    raw.send(&[call, largest.clone(), largest].concat())
        .await
        .unwrap();
    raw.next_of_kind(RST_STREAM).await;

    raw.send(&frame(PING, 0, 0, b"a-mark-8")).await.unwrap();
    assert_eq!(raw.next_of_kind(PING).await.payload, b"a-mark-8");
}
