use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, tcp::OwnedWriteHalf},
    task::JoinSet,
    time::timeout_at,
};

#[expect(dead_code, reason = "the tests use more of it")]
#[path = "../../tests/api/transport/http2_frames.rs"]
mod frames;

use frames::{
    DATA, END_HEADERS, END_STREAM, HEADERS, PING, PREFACE, PRIORITY, SETTINGS, WINDOW_UPDATE,
    client_preface, frame, header, headers,
};
use prost::Message;
use sluice::proto::v1 as pb;

/// What is attacked, with the account of the attacker.
#[derive(Debug)]
pub struct Target {
    pub address: SocketAddr,
    pub token: String,
    pub project_id: String,
}

/// An attack: connections that send bytes, and hold what they get.
pub struct Attack {
    pub name: &'static str,
    connections: usize,
    /// The number of addresses from which the connections come.
    addresses: u8,
    /// Whether the connections hold something, and must be closed for it.
    pub holds: bool,
    /// What the connection with this number sends.
    payload: fn(&Target, usize) -> Payload,
}

/// The bytes that a connection sends.
struct Payload {
    opening: Vec<u8>,
    /// Follows the opening, this number of times.
    flood: (Vec<u8>, usize),
}

/// The calls of one connection.
const CALLS: u32 = 100;

/// The control frames of one connection.
const CONTROL_FRAMES: usize = 500_000;

/// Ten times what once was enough to keep others out.
pub const ATTACKS: [Attack; 7] = [
    Attack {
        name: "health watches without a message",
        connections: 840,
        addresses: 1,
        holds: true,
        payload: |_, _| calls(&client_preface(), |stream| health_watch(stream, &[])),
    },
    Attack {
        name: "watches that announce 2 MiB and do not end",
        connections: 120,
        addresses: 1,
        holds: true,
        payload: |target, _| {
            let mut message = vec![0, 0, 32, 0, 0];
            message.extend([0; 2_000]);
            calls(&client_preface(), |stream| {
                call(stream, WATCH_PROJECT, Some(&target.token), &message, 0)
            })
        },
    },
    Attack {
        name: "complete health watches",
        connections: 9_500,
        addresses: 10,
        holds: true,
        payload: |_, _| {
            calls(&client_preface(), |stream| {
                let message = frame(DATA, END_STREAM, stream, &[0; 5]);
                health_watch(stream, &message)
            })
        },
    },
    Attack {
        name: "lists that are not read",
        connections: 400,
        addresses: 1,
        holds: true,
        payload: |target, _| {
            let path = "/sluice.v1.ProjectService/ListProjects";
            let request = pb::ListProjectsRequest {
                page_size: 200,
                ..Default::default()
            };
            let message = message(&request);
            calls(&preface_without_window(), |stream| {
                call(stream, path, Some(&target.token), &message, END_STREAM)
            })
        },
    },
    Attack {
        name: "watches that are not read",
        connections: 20,
        addresses: 1,
        holds: true,
        payload: |target, _| {
            let request = pb::WatchProjectRequest {
                project_id: target.project_id.clone(),
                ..Default::default()
            };
            let message = message(&request);
            calls(&preface_without_window(), |stream| {
                let token = Some(target.token.as_str());
                call(stream, WATCH_PROJECT, token, &message, END_STREAM)
            })
        },
    },
    Attack {
        name: "control frames",
        connections: 80,
        addresses: 1,
        holds: true,
        payload: |_, number| {
            const CHUNK: usize = 1_000;
            let kinds = [
                frame(SETTINGS, 0, 0, &[]),
                frame(PRIORITY, 0, 1, &[0; 5]),
                frame(PING, 0, 0, &[7; 8]),
                frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]),
                frame(UNKNOWN, 0, 0, &[7; 8]),
            ];
            Payload {
                opening: client_preface(),
                flood: (
                    kinds[number % kinds.len()].repeat(CHUNK),
                    CONTROL_FRAMES / CHUNK,
                ),
            }
        },
    },
    Attack {
        name: "sign-ins with wrong passwords",
        connections: 800,
        addresses: 1,
        holds: false,
        payload: |target, _| {
            calls(&client_preface(), |stream| {
                let request = pb::SignInRequest {
                    email: format!("{stream}-{}@example.com", target.project_id),
                    password: "wrong horse battery staple".to_owned(),
                    ..Default::default()
                };
                let path = "/sluice.v1.AuthService/SignIn";
                call(stream, path, None, &message(&request), END_STREAM)
            })
        },
    },
];

const WATCH_PROJECT: &str = "/sluice.v1.StreamService/WatchProject";

/// A type of frame that no specification defines.
const UNKNOWN: u8 = 0xf0;

/// A client's preface with an initial window of 0.
fn preface_without_window() -> Vec<u8> {
    [PREFACE, &frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0])].concat()
}

fn message(message: &impl Message) -> Vec<u8> {
    let length = u32::try_from(message.encoded_len()).expect("a short message");
    [&[0], &length.to_be_bytes()[..], &message.encode_to_vec()].concat()
}

fn calls(preface: &[u8], call: impl Fn(u32) -> Vec<u8>) -> Payload {
    let calls = (0..CALLS).flat_map(|number| call(2 * number + 1));
    Payload {
        opening: preface.iter().copied().chain(calls).collect(),
        flood: (Vec::new(), 0),
    }
}

fn health_watch(stream: u32, message: &[u8]) -> Vec<u8> {
    let head = headers("/grpc.health.v1.Health/Watch");
    [&frame(HEADERS, END_HEADERS, stream, &head), message].concat()
}

/// A call with a message, of which `END_STREAM` ends the request.
fn call(stream: u32, path: &str, token: Option<&str>, message: &[u8], flags: u8) -> Vec<u8> {
    let mut head = headers(path);
    if let Some(token) = token {
        header(&mut head, "authorization", &format!("Bearer {token}"));
    }
    let head = frame(HEADERS, END_HEADERS, stream, &head);
    [head, frame(DATA, flags, stream, message)].concat()
}

impl Attack {
    /// Attacks once, with all connections at the same time. Returns how long each of them
    /// stayed, or `None` if it was still open at the end.
    pub async fn run(&self, target: &Target, time: Duration) -> Vec<Option<Duration>> {
        let until = Instant::now() + time;
        let payloads: Vec<_> = (0..PAYLOADS)
            .map(|number| Arc::new((self.payload)(target, number)))
            .collect();
        let mut connections = JoinSet::new();
        for number in 0..self.connections {
            let from = Ipv4Addr::new(127, 0, 0, 2 + (number % usize::from(self.addresses)) as u8);
            let payload = Arc::clone(&payloads[number % PAYLOADS]);
            let address = target.address;
            connections.spawn(async move { hold(from, address, &payload, until).await });
        }
        connections.join_all().await
    }
}

/// The number of different payloads of an attack.
const PAYLOADS: usize = 5;

/// Sends bytes over a new connection, and reads until the server closes it.
async fn hold(
    from: Ipv4Addr,
    address: SocketAddr,
    payload: &Payload,
    until: Instant,
) -> Option<Duration> {
    let begun = Instant::now();
    let attack = async {
        let socket = TcpSocket::new_v4()?;
        socket.bind((from, 0).into())?;
        let (mut read, mut write) = socket.connect(address).await?.into_split();
        let sending = async {
            // The server may close the connection meanwhile.
            let _ = send(&mut write, payload).await;
            std::future::pending::<()>().await;
        };
        let reading = async {
            let mut answer = [0; 4096];
            while read.read(&mut answer).await? > 0 {}
            std::io::Result::Ok(())
        };
        tokio::select! {
            () = sending => Ok(()),
            closed = reading => closed,
        }
    };
    // A reset connection is closed, too.
    let ended = timeout_at(until.into(), attack).await;
    ended.is_ok().then(|| begun.elapsed())
}

async fn send(write: &mut OwnedWriteHalf, payload: &Payload) -> std::io::Result<()> {
    write.write_all(&payload.opening).await?;
    let (flood, repetitions) = &payload.flood;
    for _ in 0..*repetitions {
        write.write_all(flood).await?;
    }
    Ok(())
}
