use rstest::rstest;
use sluice::proto::v1 as pb;

use super::{
    http2_connection::{Ending, Raw},
    http2_frames::{
        CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, OPEN, PING, RST_STREAM, SETTINGS,
        WINDOW_UPDATE, frame, headers, hello,
    },
};
use crate::harness::{Sqlite, TestServer};

const NO_ERROR: u32 = 0;

const CLOSES: u8 = END_HEADERS | END_STREAM;

#[rstest]
#[case::a_frame_that_is_too_long(frame(DATA, 0, 1, &[0; 16_385]))]
#[case::half_a_setting(frame(SETTINGS, 0, 0, &[0; 5]))]
#[case::a_setting_that_cannot_be(frame(SETTINGS, 0, 0, &[0, 4, 255, 255, 255, 255]))]
#[case::settings_of_a_call(frame(SETTINGS, 0, 1, &[]))]
#[case::half_a_ping(frame(PING, 0, 0, &[0; 7]))]
#[case::a_message_of_no_call(frame(DATA, 0, 0, b"x"))]
#[case::a_message_of_a_call_to_come(frame(DATA, 0, 1, b"x"))]
#[case::a_call_with_a_number_of_the_servers(frame(HEADERS, CLOSES, 2, &headers(OPEN)))]
#[case::headers_that_cannot_be_read(frame(HEADERS, CLOSES, 1, &[0xff; 9]))]
#[case::more_of_no_headers(frame(CONTINUATION, END_HEADERS, 1, &headers(OPEN)))]
#[case::half_of_an_end(frame(RST_STREAM, 0, 1, &[0; 3]))]
#[case::the_end_of_a_call_to_come(frame(RST_STREAM, 0, 1, &[0; 4]))]
#[case::room_for_nothing(frame(WINDOW_UPDATE, 0, 0, &[0; 4]))]
#[case::more_room_than_can_be(frame(WINDOW_UPDATE, 0, 0, &[127, 255, 255, 255]))]
#[case::something_inside_headers([frame(HEADERS, 0, 1, &headers(OPEN)), frame(PING, 0, 0, &[0; 8])].concat())]
#[tokio::test]
async fn a_protocol_error_ends_only_its_own_connection_with_goaway(#[case] bytes: Vec<u8>) {
    let server = TestServer::start(Sqlite).await;
    let mut raw = Raw::connect(server.address).await;

    raw.send(&[hello(), bytes].concat()).await.unwrap();

    let farewells = raw.ended().await.farewells;
    // Which error it is said to be is h2's to choose.
    assert!(
        farewells.len() == 1 && farewells[0] != NO_ERROR,
        "{farewells:?}"
    );
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
    let mut raw = Raw::connect(server.address).await;

    raw.send(bytes).await.unwrap();

    assert_eq!(raw.ended().await, Ending::default());
}

#[tokio::test]
async fn a_stream_window_overflow_resets_only_that_stream() {
    let server = TestServer::start(Sqlite).await;
    let mut raw = Raw::greeted(server.address).await;
    let most = frame(WINDOW_UPDATE, 0, 1, &[127, 255, 255, 255]);
    let call = frame(HEADERS, END_HEADERS, 1, &headers(OPEN));

    raw.send(&[call, most.clone(), most].concat())
        .await
        .unwrap();
    raw.until(RST_STREAM).await;

    raw.send(&frame(PING, 0, 0, b"a-mark-8")).await.unwrap();
    assert_eq!(raw.until(PING).await.payload, b"a-mark-8");
}
