//! Attacks on connections, to measure their effect on other callers.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
    time::{interval, timeout},
};

#[expect(dead_code, reason = "the tests use more of it")]
#[path = "../../tests/api/transport/http2_frames.rs"]
mod frames;

use frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PING, PREFACE, PRIORITY, PUBLIC_RPC,
    RST_STREAM, SETTINGS, WINDOW_UPDATE, client_preface, frame, header, headers,
};

/// The interval between two waves of connections.
const WAVE_INTERVAL: Duration = Duration::from_millis(250);

/// The time in which the server closes a connection whose bytes it does not accept.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(3);

/// The time in which it closes a connection whose responses are not read.
const UNREAD_CLOSE_TIMEOUT: Duration = Duration::from_secs(15);

/// An attack: waves of connections that send the same bytes.
pub struct Attack {
    pub name: &'static str,
    /// Connections per wave.
    connections: usize,
    /// The bytes that the connection with this number sends.
    sends: fn(usize) -> Vec<u8>,
    /// The time in which the server has to close each connection.
    close_timeout: Duration,
}

/// All attacks.
pub const ATTACKS: [Attack; 7] = [
    Attack {
        name: "calls that are cancelled at once",
        connections: 8,
        sends: |_| {
            let call = |stream| {
                frame(
                    HEADERS,
                    END_HEADERS | END_STREAM,
                    stream,
                    &headers(PUBLIC_RPC),
                )
            };
            let end = |stream| frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes());
            calls(|stream| [call(stream), end(stream)].concat())
        },
        close_timeout: CLOSE_TIMEOUT,
    },
    Attack {
        name: "calls that depend on themselves",
        connections: 8,
        sends: |_| {
            let call = |stream| frame(HEADERS, END_HEADERS, stream, &headers(PUBLIC_RPC));
            let itself = |stream: u32| [&stream.to_be_bytes()[..], &[0]].concat();
            calls(|stream| [call(stream), frame(PRIORITY, 0, stream, &itself(stream))].concat())
        },
        close_timeout: CLOSE_TIMEOUT,
    },
    Attack {
        name: "headers without end",
        connections: 8,
        sends: |_| {
            let mut more = Vec::new();
            header(&mut more, "x", "y");
            let more = frame(CONTINUATION, 0, 1, &more).repeat(20_000);
            [
                client_preface(),
                frame(HEADERS, 0, 1, &headers(PUBLIC_RPC)),
                more,
            ]
            .concat()
        },
        close_timeout: CLOSE_TIMEOUT,
    },
    Attack {
        name: "half handshakes and silence",
        connections: 100,
        sends: |number| client_preface()[..number % 24].to_vec(),
        close_timeout: CLOSE_TIMEOUT,
    },
    Attack {
        name: "invalid frames",
        connections: 50,
        sends: |number| {
            let nonsense = match number % 3 {
                0 => frame(DATA, 0, 1, &[0; 16_385]),
                1 => frame(HEADERS, END_HEADERS, 1, &[0xff; 9]),
                _ => vec![0xff; 4096],
            };
            [client_preface(), nonsense].concat()
        },
        close_timeout: CLOSE_TIMEOUT,
    },
    Attack {
        name: "control frames",
        connections: 8,
        sends: |number| {
            let flood = match number % 4 {
                0 => frame(SETTINGS, 0, 0, &[]),
                1 => frame(PING, 0, 0, &[7; 8]),
                2 => frame(PRIORITY, 0, 1, &[0; 5]),
                _ => frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]),
            };
            [client_preface(), flood.repeat(100_000)].concat()
        },
        close_timeout: CLOSE_TIMEOUT,
    },
    Attack {
        name: "responses that are not read",
        connections: 8,
        sends: |_| {
            let no_window = frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]);
            let call = |stream| {
                let begin = frame(HEADERS, END_HEADERS, stream, &headers(PUBLIC_RPC));
                [begin, frame(DATA, END_STREAM, stream, &[0; 5])].concat()
            };
            let calls = (0..200).flat_map(|number| call(2 * number + 1));
            PREFACE
                .iter()
                .copied()
                .chain(no_window)
                .chain(calls)
                .collect()
        },
        close_timeout: UNREAD_CLOSE_TIMEOUT,
    },
];

fn calls(call: impl Fn(u32) -> Vec<u8>) -> Vec<u8> {
    let calls = (0..2_000).flat_map(|number| call(2 * number + 1));
    client_preface().into_iter().chain(calls).collect()
}

impl Attack {
    /// Attacks for this time. Returns the number of connections that the server did not
    /// close in time.
    pub async fn run(&self, address: SocketAddr, time: Duration) -> usize {
        let until = Instant::now() + time;
        let sends: Vec<_> = (0..self.connections).map(self.sends).collect();
        let mut attackers = JoinSet::new();
        let mut waves = interval(WAVE_INTERVAL);
        while Instant::now() < until {
            waves.tick().await;
            for bytes in sends.clone() {
                attackers.spawn(attack(address, bytes, self.close_timeout));
            }
        }
        let ended = attackers.join_all().await;
        ended.into_iter().filter(|has_ended| !has_ended).count()
    }
}

/// Sends bytes over a connection. Returns whether the server closes it in time.
async fn attack(address: SocketAddr, bytes: Vec<u8>, close_timeout: Duration) -> bool {
    let attack = async {
        let (mut read, mut write) = TcpStream::connect(address).await?.into_split();
        let sending = tokio::spawn(async move {
            // The server may close the connection meanwhile.
            let _ = write.write_all(&bytes).await;
            write
        });
        let mut answer = [0; 4096];
        while read.read(&mut answer).await? > 0 {}
        drop(sending.await);
        std::io::Result::Ok(())
    };
    // A reset connection is closed, too.
    timeout(close_timeout, attack).await.is_ok()
}
