use sluice::proto::v1 as pb;
use tonic::Code;

use super::{
    http2_connection::Http2Connection,
    http2_frames::{DATA, END_HEADERS, END_STREAM, HEADERS, PING, PROTECTED_RPC, frame, headers},
};
use crate::harness::{Sqlite, TestServer, refused};

/// The message of each call arrives after the call was refused.
#[tokio::test]
async fn thousands_of_refused_calls_do_not_end_the_connection() {
    let server = TestServer::start_with(Sqlite, &["--address-rate=0"]).await;
    let mut raw = Http2Connection::with_preface(server.address).await;

    for batch in 0..400 {
        let streams = (0..50).map(|number| 2 * (50 * batch + number) + 1);
        let begin = |stream| frame(HEADERS, END_HEADERS, stream, &headers(PROTECTED_RPC));
        let begins: Vec<u8> = streams.clone().flat_map(begin).collect();
        raw.send(&[begins, frame(PING, 0, 0, &[0; 8])].concat())
            .await
            .unwrap();
        let mut responses = 0;
        while let frame = raw.next().await.expect("the connection stays open")
            && frame.kind != PING
        {
            responses += usize::from(frame.kind == HEADERS);
        }

        let message = |stream| {
            [
                frame(DATA, 0, stream, &[0; 5]),
                frame(DATA, END_STREAM, stream, &[]),
            ]
        };
        let messages: Vec<u8> = streams.flat_map(message).flatten().collect();
        raw.send(&messages).await.unwrap();
        while responses < 50 {
            let frame = raw.next().await.expect("the connection stays open");
            responses += usize::from(frame.kind == HEADERS);
        }
    }
}

#[tokio::test]
async fn a_refused_call_with_a_long_message_is_refused_with_the_reason() {
    let server = TestServer::start_with(Sqlite, &["--address-rate=0"]).await;

    for length in [10, 60_000, 1_000_000] {
        let request = pb::CreateProjectRequest {
            display_name: "x".repeat(length),
            ..Default::default()
        };
        let mut project = server.anonymous().project;
        let refusal = refused(project.create_project(request).await);
        let class = (Code::Unauthenticated, "ACCESS_TOKEN_MISSING");
        assert_eq!(refusal.class(), class, "{length}");
    }
}
