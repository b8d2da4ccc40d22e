use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpSocket,
    task::JoinSet,
    time::timeout_at,
};

#[expect(dead_code, reason = "the tests use more of it")]
#[path = "../../tests/api/transport/http2_frames.rs"]
mod frames;

use frames::{
    DATA, END_HEADERS, END_STREAM, HEADERS, PREFACE, SETTINGS, client_preface, frame, header,
    headers,
};
use prost::Message;
use sluice::proto::v1 as pb;

/// What is attacked, with the account of the attacker.
pub struct Target {
    pub address: SocketAddr,
    pub token: String,
    pub project_id: String,
}

/// An attack: connections that send the same bytes, and hold what they get.
pub struct Attack {
    pub name: &'static str,
    connections: usize,
    /// The number of addresses from which the connections come.
    addresses: u8,
    /// Whether the connections hold something, and must be closed for it.
    pub holds: bool,
    bytes: fn(&Target) -> Vec<u8>,
}

/// The calls of one connection.
const CALLS: u32 = 100;

/// Ten times what once was enough to keep others out.
pub const ATTACKS: [Attack; 5] = [
    Attack {
        name: "health watches without a message",
        connections: 840,
        addresses: 1,
        holds: true,
        bytes: |_| calls(&client_preface(), |stream| health_watch(stream, &[])),
    },
    Attack {
        name: "watches that announce 2 MiB and do not end",
        connections: 120,
        addresses: 1,
        holds: true,
        bytes: |target| {
            let path = "/sluice.v1.StreamService/WatchProject";
            let mut message = vec![0, 0, 32, 0, 0];
            message.extend([0; 2_000]);
            calls(&client_preface(), |stream| {
                call(stream, path, Some(&target.token), &message, 0)
            })
        },
    },
    Attack {
        name: "complete health watches",
        connections: 9_500,
        addresses: 10,
        holds: true,
        bytes: |_| {
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
        bytes: |target| {
            let path = "/sluice.v1.ProjectService/ListProjects";
            let request = pb::ListProjectsRequest {
                page_size: 200,
                ..Default::default()
            };
            let message = message(&request);
            // The initial window is 0.
            let settings = frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]);
            calls(&[PREFACE, &settings].concat(), |stream| {
                call(stream, path, Some(&target.token), &message, END_STREAM)
            })
        },
    },
    Attack {
        name: "sign-ins with wrong passwords",
        connections: 800,
        addresses: 1,
        holds: false,
        bytes: |target| {
            calls(&client_preface(), |stream| {
                let request = pb::SignInRequest {
                    email: format!("{stream}-{}@example.com", target.project_id),
                    password: "wrong horse battery staple".to_owned(),
                };
                let path = "/sluice.v1.AuthService/SignIn";
                call(stream, path, None, &message(&request), END_STREAM)
            })
        },
    },
];

fn message(message: &impl Message) -> Vec<u8> {
    let length = u32::try_from(message.encoded_len()).expect("a short message");
    [&[0], &length.to_be_bytes()[..], &message.encode_to_vec()].concat()
}

fn calls(preface: &[u8], call: impl Fn(u32) -> Vec<u8>) -> Vec<u8> {
    let calls = (0..CALLS).flat_map(|number| call(2 * number + 1));
    preface.iter().copied().chain(calls).collect()
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
        let bytes: Arc<[u8]> = (self.bytes)(target).into();
        let mut connections = JoinSet::new();
        for number in 0..self.connections {
            let from = Ipv4Addr::new(127, 0, 0, 2 + (number % usize::from(self.addresses)) as u8);
            let (bytes, address) = (Arc::clone(&bytes), target.address);
            connections.spawn(async move { hold(from, address, &bytes, until).await });
        }
        connections.join_all().await
    }
}

/// Sends bytes over a new connection, and reads until the server closes it.
async fn hold(
    from: Ipv4Addr,
    address: SocketAddr,
    bytes: &[u8],
    until: Instant,
) -> Option<Duration> {
    let begun = Instant::now();
    let attack = async {
        let socket = TcpSocket::new_v4()?;
        socket.bind((from, 0).into())?;
        let (mut read, mut write) = socket.connect(address).await?.into_split();
        let sending = async {
            // The server may close the connection meanwhile.
            let _ = write.write_all(bytes).await;
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
