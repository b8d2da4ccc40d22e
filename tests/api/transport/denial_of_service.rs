use std::time::Duration;

use rstest::rstest;
use tokio::{io::AsyncWriteExt, time::timeout};

use super::{
    http2_connection::{Ending, Raw},
    http2_frames::{
        CONTINUATION, END_HEADERS, END_STREAM, GUARDED, HEADERS, OPEN, PING, PRIORITY, RST_STREAM,
        SETTINGS, frame, header, headers, hello,
    },
    latency_probe::Bystander,
};
use crate::harness::{Process, Sqlite, TestDatabase};

/// What an attack may cost this server, in KiB.
const BOUND: u64 = 32 * 1024;

const ENHANCE_YOUR_CALM: u32 = 11;

/// A server of its own process, with somebody who goes on calling.
struct Besieged {
    program: Process,
    address: String,
    bystander: Bystander,
    _database: TestDatabase,
}

impl Besieged {
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
            bystander: Bystander::of(&channel).await,
            program,
            address,
            _database: database,
        }
    }

    /// What comes of an attack, which costs the server little and others nothing.
    async fn suffers<T>(&self, attack: impl AsyncFn(&str) -> T) -> T {
        let before = self.program.memory();
        let outcome = self.bystander.during(attack(&self.address)).await;
        let cost = self.program.memory().saturating_sub(before);
        eprintln!("{cost} KiB of memory");
        assert!(cost < BOUND, "{cost} KiB");
        outcome
    }
}

/// Sends it all on one connection, and reads how that ends.
async fn sent(address: &str, bytes: Vec<u8>) -> Ending {
    let raw = Raw::connect(address).await;
    let (read, mut write) = raw.stream.into_split();
    // It may hang up in between.
    let writing = tokio::spawn(async move {
        let _ = write.write_all(&bytes).await;
        write
    });
    let (ending, write) = tokio::join!(Raw::ended_of(read), writing);
    drop(write);
    ending
}

fn streams(count: u32) -> impl Iterator<Item = u32> {
    (0..count).map(|number| 2 * number + 1)
}

#[tokio::test]
async fn a_rapid_reset_attack_ends_the_connection() {
    let besieged = Besieged::start().await;
    let mut bytes = hello();
    for stream in streams(20_000) {
        bytes.extend(frame(
            HEADERS,
            END_HEADERS | END_STREAM,
            stream,
            &headers(OPEN),
        ));
        bytes.extend(frame(RST_STREAM, 0, stream, &8u32.to_be_bytes()));
    }

    let ending = besieged
        .suffers(async |address| sent(address, bytes.clone()).await)
        .await;

    assert_eq!(ending.farewells, [ENHANCE_YOUR_CALM]);
}

/// A PRIORITY frame that makes a stream depend on itself is an error of that stream.
#[tokio::test]
async fn a_made_you_reset_attack_ends_the_connection() {
    let besieged = Besieged::start().await;
    let mut bytes = hello();
    for stream in streams(20_000) {
        bytes.extend(frame(HEADERS, END_HEADERS, stream, &headers(OPEN)));
        let itself = [&stream.to_be_bytes()[..], &[0]].concat();
        bytes.extend(frame(PRIORITY, 0, stream, &itself));
    }

    let ending = besieged
        .suffers(async |address| sent(address, bytes.clone()).await)
        .await;

    assert_eq!(ending.farewells, [ENHANCE_YOUR_CALM]);
    assert!(ending.resets <= 128, "{ending:?}");
}

#[tokio::test]
async fn a_continuation_flood_ends_the_connection() {
    let besieged = Besieged::start().await;
    let mut bytes = hello();
    bytes.extend(frame(HEADERS, 0, 1, &headers(OPEN)));
    for _ in 0..100_000 {
        let mut more = Vec::new();
        header(&mut more, "x", "y");
        bytes.extend(frame(CONTINUATION, 0, 1, &more));
    }

    let ending = besieged
        .suffers(async |address| sent(address, bytes.clone()).await)
        .await;

    assert_eq!(ending.farewells, [ENHANCE_YOUR_CALM]);
}

/// One header of 4 KB, kept by the server, named in one byte again and again.
#[tokio::test]
async fn an_hpack_bomb_is_refused() {
    let besieged = Besieged::start().await;
    let mut bomb = headers(OPEN);
    // Kept: a new name of one byte, and a value of 3,900 (as a number of 7 bits and more).
    bomb.extend([0x40, 1, b'x', 0x7f]);
    let rest = 3900 - 127;
    bomb.extend([
        u8::try_from(rest % 128 + 128).unwrap(),
        u8::try_from(rest / 128).unwrap(),
    ]);
    bomb.extend([b'a'; 3900]);
    bomb.extend([0xbe; 8000]);
    let mut bytes = hello();
    for stream in streams(50) {
        bytes.extend(frame(HEADERS, END_HEADERS | END_STREAM, stream, &bomb));
    }
    bytes.extend(frame(SETTINGS, 0, 1, &[]));

    let ending = besieged
        .suffers(async |address| sent(address, bytes.clone()).await)
        .await;

    assert_eq!(ending.farewells.len(), 1, "{ending:?}");
}

#[rstest]
#[case::settings(frame(SETTINGS, 0, 0, &[]))]
#[case::pings(frame(PING, 0, 0, &[7; 8]))]
#[tokio::test]
async fn a_flood_of_settings_or_pings_without_reading_the_replies_is_stalled(
    #[case] frame: Vec<u8>,
) {
    let besieged = Besieged::start().await;

    besieged
        .suffers(async |address| {
            let mut raw = Raw::connect(address).await;
            raw.send(&hello()).await.unwrap();
            let many = frame.repeat(10_000);
            // Until the server reads no more, because its answers are not read.
            let stalled = async {
                for _ in 0..1_000 {
                    let sent = raw.stream.write_all(&many);
                    match timeout(Duration::from_secs(2), sent).await {
                        Ok(Ok(())) => {}
                        Ok(Err(_)) | Err(_) => return,
                    }
                }
                panic!("the server takes all that comes");
            };
            stalled.await;
        })
        .await;
}

#[tokio::test]
async fn silent_connections_are_closed_after_the_handshake_timeout() {
    let besieged = Besieged::start().await;

    besieged
        .suffers(async |address| {
            let mut silent = Vec::new();
            for number in 0..500 {
                let mut raw = Raw::connect(address).await;
                // Some begin, and never go on.
                raw.send(&hello()[..number % 24]).await.unwrap();
                silent.push(raw);
            }
            for raw in silent {
                assert_eq!(raw.ended().await, Ending::default());
            }
        })
        .await;
}

#[tokio::test]
async fn a_refused_call_is_answered_even_if_its_message_never_arrives() {
    let besieged = Besieged::start().await;
    let mut bytes = hello();
    bytes.extend(frame(HEADERS, END_HEADERS, 1, &headers(GUARDED)));

    let answers = besieged
        .suffers(async |address| {
            let mut raw = Raw::connect(address).await;
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
    let besieged = Besieged::start().await;
    let mut bytes = hello();
    for stream in streams(20) {
        bytes.extend(frame(HEADERS, END_HEADERS, stream, &headers(OPEN)));
    }

    besieged
        .suffers(async |address| {
            let mut dripping = Vec::new();
            for _ in 0..20 {
                let mut raw = Raw::connect(address).await;
                raw.send(&bytes).await.unwrap();
                dripping.push(raw);
            }
            for byte in [0, 0, 0, 0] {
                for raw in &mut dripping {
                    for stream in streams(20) {
                        raw.send(&frame(0, 0, stream, &[byte])).await.unwrap();
                    }
                }
            }
        })
        .await;
}
