use std::time::Duration;

use rstest::rstest;
use tokio::{io::AsyncWriteExt, time::timeout};

use super::{
    http2_connection::{ConnectionEnd, Http2Connection},
    http2_frames::{
        ACK, CONTINUATION, END_HEADERS, END_STREAM, HEADERS, PING, PRIORITY, PROTECTED_RPC,
        PUBLIC_RPC, RST_STREAM, SETTINGS, WINDOW_UPDATE, client_preface, frame, header, headers,
    },
    latency_probe::LatencyProbe,
};
use crate::{
    harness::{Process, Sqlite, TestDatabase},
    operations::scrape::Scrape,
};

/// The memory that an attack may cost the server, in KiB.
const MAX_MEMORY_COST: u64 = 32 * 1024;

const ENHANCE_YOUR_CALM: u32 = 11;

/// A server in its own process, with a probe of the latency of other callers.
struct AttackedServer {
    program: Process,
    address: String,
    latency_probe: LatencyProbe,
    _database: TestDatabase,
}

impl AttackedServer {
    async fn start() -> Self {
        let database = TestDatabase::create(Sqlite).await;
        let settings = [
            ("SLUICE_HANDSHAKE_TIMEOUT", "1s"),
            ("SLUICE_ADDRESS_RATE", "0"),
        ];
        let program = Process::serve(&database, &settings);
        let channel = program.channel().await;
        let address = program.address().await;
        Self {
            latency_probe: LatencyProbe::start(&channel).await,
            program,
            address,
            _database: database,
        }
    }

    /// Runs an attack; asserts that it costs little memory and does not slow other callers.
    async fn withstands<T>(&self, attack: impl AsyncFn(&str) -> T) -> T {
        let before = self.program.memory();
        let outcome = self.latency_probe.during(attack(&self.address)).await;
        let cost = self.program.memory().saturating_sub(before);
        eprintln!("{cost} KiB of memory");
        assert!(cost < MAX_MEMORY_COST, "{cost} KiB");
        outcome
    }
}

/// Sends all bytes on one connection, and reads until the server closes it.
async fn send_all(address: &str, bytes: Vec<u8>) -> ConnectionEnd {
    let raw = Http2Connection::connect(address).await;
    let (read, mut write) = raw.stream.into_split();
    // The server may close the connection in between.
    let writing = tokio::spawn(async move {
        let _ = write.write_all(&bytes).await;
        write
    });
    let (end, write) = tokio::join!(Http2Connection::read_to_end(read), writing);
    drop(write);
    end
}

fn stream_ids(count: u32) -> impl Iterator<Item = u32> {
    (0..count).map(|number| 2 * number + 1)
}

/// CVE-2023-44487.
#[tokio::test]
async fn a_rapid_reset_attack_ends_the_connection() {
    let server = AttackedServer::start().await;
    let mut bytes = client_preface();
    for stream in stream_ids(20_000) {
        bytes.extend(frame(
            HEADERS,
            END_HEADERS | END_STREAM,
            stream,
            &headers(PUBLIC_RPC),
        ));
        bytes.extend(frame(RST_STREAM, 0, stream, &8u32.to_be_bytes()));
    }

    let end = server
        .withstands(async |address| send_all(address, bytes.clone()).await)
        .await;

    assert_eq!(end.goaways, [ENHANCE_YOUR_CALM]);
}

/// CVE-2025-8671: a PRIORITY frame that makes a stream depend on itself makes the server
/// reset the stream.
#[tokio::test]
async fn a_made_you_reset_attack_ends_the_connection() {
    let server = AttackedServer::start().await;
    let mut bytes = client_preface();
    for stream in stream_ids(20_000) {
        bytes.extend(frame(HEADERS, END_HEADERS, stream, &headers(PUBLIC_RPC)));
        let itself = [&stream.to_be_bytes()[..], &[0]].concat();
        bytes.extend(frame(PRIORITY, 0, stream, &itself));
    }

    let end = server
        .withstands(async |address| send_all(address, bytes.clone()).await)
        .await;

    assert_eq!(end.goaways, [ENHANCE_YOUR_CALM]);
    assert!(end.resets <= 128, "{end:?}");
}

#[tokio::test]
async fn a_continuation_flood_ends_the_connection() {
    let server = AttackedServer::start().await;
    let mut bytes = client_preface();
    bytes.extend(frame(HEADERS, 0, 1, &headers(PUBLIC_RPC)));
    for _ in 0..100_000 {
        let mut more = Vec::new();
        header(&mut more, "x", "y");
        bytes.extend(frame(CONTINUATION, 0, 1, &more));
    }

    let end = server
        .withstands(async |address| send_all(address, bytes.clone()).await)
        .await;

    assert_eq!(end.goaways, [ENHANCE_YOUR_CALM]);
}

/// A header of 4 KB in the dynamic table, referenced 8,000 times by one byte each.
#[tokio::test]
async fn an_hpack_bomb_is_refused() {
    let server = AttackedServer::start().await;
    let mut bomb = headers(PUBLIC_RPC);
    // With indexing: a name of one byte and a value of 3,900, whose length has a 7-bit prefix.
    bomb.extend([0x40, 1, b'x', 0x7f]);
    let rest = 3900 - 127;
    bomb.extend([
        u8::try_from(rest % 128 + 128).unwrap(),
        u8::try_from(rest / 128).unwrap(),
    ]);
    bomb.extend([b'a'; 3900]);
    bomb.extend([0xbe; 8000]);
    let mut bytes = client_preface();
    for stream in stream_ids(50) {
        bytes.extend(frame(HEADERS, END_HEADERS | END_STREAM, stream, &bomb));
    }
    bytes.extend(frame(SETTINGS, 0, 1, &[]));

    let end = server
        .withstands(async |address| send_all(address, bytes.clone()).await)
        .await;

    assert_eq!(end.goaways.len(), 1, "{end:?}");
}

#[rstest]
#[case::settings(frame(SETTINGS, 0, 0, &[]))]
#[case::pings(frame(PING, 0, 0, &[7; 8]))]
#[case::acknowledged_pings(frame(PING, ACK, 0, &[7; 8]))]
#[case::priority(frame(PRIORITY, 0, 1, &[0; 5]))]
#[case::window_updates(frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]))]
#[case::unknown_frames(frame(0xbe, 0, 0, &[]))]
#[tokio::test]
async fn a_flood_of_control_frames_ends_the_connection(#[case] frame: Vec<u8>) {
    let server = AttackedServer::start().await;
    let bytes = [client_preface(), frame.repeat(200_000)].concat();

    let end = server
        .withstands(async |address| send_all(address, bytes.clone()).await)
        .await;

    assert_eq!(end.responses, 0);
    let scrape = Scrape::of(&server.program).await;
    let closed = scrape.value("sluice_connections_refused_total", &[r#"cause="frames""#]);
    assert_eq!(closed, Some(1.0));
}

/// HTTP/2 refuses them without asking the server.
#[tokio::test]
async fn a_flood_of_calls_above_the_announced_maximum_ends_the_connection() {
    let server = AttackedServer::start().await;
    let mut bytes = client_preface();
    for stream in stream_ids(50_000) {
        bytes.extend(frame(HEADERS, END_HEADERS, stream, &headers(PUBLIC_RPC)));
    }

    let end = server
        .withstands(async |address| send_all(address, bytes.clone()).await)
        .await;

    assert!(end.resets < 10_000, "{end:?}");
}

#[rstest]
#[case::settings(frame(SETTINGS, 0, 0, &[]))]
#[case::pings(frame(PING, 0, 0, &[7; 8]))]
#[tokio::test]
async fn a_flood_of_settings_or_pings_without_reading_the_replies_is_stalled(
    #[case] frame: Vec<u8>,
) {
    let server = AttackedServer::start().await;

    server
        .withstands(async |address| {
            let mut raw = Http2Connection::connect(address).await;
            raw.send(&client_preface()).await.unwrap();
            let many = frame.repeat(10_000);
            // Until the server stops reading, because its replies are not read.
            let stalled = async {
                for _ in 0..1_000 {
                    let writing = raw.stream.write_all(&many);
                    match timeout(Duration::from_secs(2), writing).await {
                        Ok(Ok(())) => {}
                        Ok(Err(_)) | Err(_) => return,
                    }
                }
                panic!("the server goes on reading");
            };
            stalled.await;
        })
        .await;
}

#[tokio::test]
async fn silent_connections_are_closed_after_the_handshake_timeout() {
    let server = AttackedServer::start().await;

    server
        .withstands(async |address| {
            let mut silent = Vec::new();
            for number in 0..500 {
                let mut raw = Http2Connection::connect(address).await;
                // Some send a part of the preface.
                raw.send(&client_preface()[..number % 24]).await.unwrap();
                silent.push(raw);
            }
            for raw in silent {
                assert_eq!(raw.closed().await, ConnectionEnd::default());
            }
        })
        .await;
}

#[tokio::test]
async fn a_refused_call_is_answered_even_if_its_message_never_arrives() {
    let server = AttackedServer::start().await;
    let mut bytes = client_preface();
    bytes.extend(frame(HEADERS, END_HEADERS, 1, &headers(PROTECTED_RPC)));

    let answers = server
        .withstands(async |address| {
            let mut raw = Http2Connection::connect(address).await;
            raw.send(&bytes).await.unwrap();
            while let Some(frame) = raw.next().await {
                if frame.kind == HEADERS {
                    return frame.stream;
                }
            }
            0
        })
        .await;

    assert_eq!(answers, 1);
}

#[tokio::test]
async fn slow_messages_do_not_delay_other_callers() {
    let server = AttackedServer::start().await;
    let mut bytes = client_preface();
    for stream in stream_ids(20) {
        bytes.extend(frame(HEADERS, END_HEADERS, stream, &headers(PUBLIC_RPC)));
    }

    server
        .withstands(async |address| {
            let mut slow = Vec::new();
            for _ in 0..20 {
                let mut raw = Http2Connection::connect(address).await;
                raw.send(&bytes).await.unwrap();
                slow.push(raw);
            }
            for byte in [0, 0, 0, 0] {
                for raw in &mut slow {
                    for stream in stream_ids(20) {
                        raw.send(&frame(0, 0, stream, &[byte])).await.unwrap();
                    }
                }
            }
        })
        .await;
}
