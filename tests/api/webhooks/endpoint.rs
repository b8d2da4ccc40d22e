use std::{
    collections::{HashMap, VecDeque},
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use chrono::{DateTime, Utc};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    sync::mpsc::UnboundedSender,
    task::JoinSet,
    time::sleep,
};

use crate::harness::eventually;

/// The answer of an endpoint to a message.
#[derive(Debug, Clone)]
pub enum Answer {
    /// A status with headers, each ended by `\r\n`.
    Status(u16, String),
    /// No answer, for as long as the connection lasts.
    Hang,
    /// The end of the connection.
    Close,
    /// A status after a while.
    Slow(Duration, u16),
}

impl Answer {
    /// A status without further headers.
    pub fn status(status: u16) -> Self {
        Self::Status(status, String::new())
    }
}

/// A message that an endpoint has received.
#[derive(Debug, Clone)]
pub struct Received {
    pub headers: HashMap<String, String>,
    pub body: String,
}

/// A message, and where and when it came.
#[derive(Debug)]
pub struct Arrival {
    pub endpoint: SocketAddr,
    pub message: Received,
    pub time: DateTime<Utc>,
}

impl Received {
    pub fn id(&self) -> &str {
        &self.headers["webhook-id"]
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    /// The type of the event.
    pub fn event_type(&self) -> String {
        self.json()["type"].as_str().unwrap().to_owned()
    }

    /// The project of the event.
    pub fn project(&self) -> String {
        let id = self.json()["data"]["projectId"].as_str().map(String::from);
        id.unwrap_or_default()
    }

    /// The revision of the event.
    pub fn revision(&self) -> i64 {
        let revision = self.json()["data"]["revision"].as_str().map(String::from);
        revision.unwrap().parse().unwrap()
    }
}

/// An HTTP server that receives webhooks, on a free port of this machine.
pub struct Endpoint {
    pub address: SocketAddr,
    state: Arc<State>,
    _serving: JoinSet<()>,
}

#[derive(Default)]
struct State {
    /// The answers to the next messages, and to all others.
    answers: Mutex<VecDeque<Answer>>,
    default: Mutex<Option<Answer>>,
    received: Mutex<Vec<Received>>,
    /// Where messages go instead.
    passed_to: Mutex<Option<UnboundedSender<Arrival>>>,
    connections: Mutex<usize>,
}

impl Endpoint {
    /// An endpoint that answers 204.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::<State>::default();
        let mut serving = JoinSet::new();
        serving.spawn(serve(listener, Arc::clone(&state)));
        Self {
            address,
            state,
            _serving: serving,
        }
    }

    /// An endpoint that gives this answer.
    pub async fn answering(answer: Answer) -> Self {
        let endpoint = Self::start().await;
        endpoint.set_answer(answer);
        endpoint
    }

    pub fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    /// Sets the answer to all messages without one of their own.
    pub fn set_answer(&self, answer: Answer) {
        *self.state.default.lock().unwrap() = Some(answer);
    }

    /// Adds the answer to the next message.
    pub fn answer_next(&self, answer: Answer) {
        self.state.answers.lock().unwrap().push_back(answer);
    }

    /// Passes all messages on, and keeps none.
    pub fn pass_to(&self, receiver: UnboundedSender<Arrival>) {
        *self.state.passed_to.lock().unwrap() = Some(receiver);
    }

    /// All messages so far.
    pub fn received(&self) -> Vec<Received> {
        self.state.received.lock().unwrap().clone()
    }

    /// The number of connections so far.
    pub fn connections(&self) -> usize {
        *self.state.connections.lock().unwrap()
    }

    /// Waits until there are this many messages; returns them.
    pub async fn wait_for(&self, count: usize) -> Vec<Received> {
        eventually("the endpoint receives messages", async || {
            let received = self.received();
            (received.len() >= count).then_some(received)
        })
        .await
    }

    /// Waits for a message of this type; returns the first.
    pub async fn wait_for_type(&self, event_type: &str) -> Received {
        eventually("the endpoint receives a message of a type", async || {
            let mut received = self.received().into_iter();
            received.find(|one| one.event_type() == event_type)
        })
        .await
    }
}

impl State {
    fn note(&self, endpoint: SocketAddr, message: Received) {
        let Some(receiver) = &*self.passed_to.lock().unwrap() else {
            return self.received.lock().unwrap().push(message);
        };
        let arrival = Arrival {
            endpoint,
            message,
            time: Utc::now(),
        };
        // Nobody is interested any more when the test ends.
        receiver.send(arrival).ok();
    }
}

async fn serve(listener: TcpListener, state: Arc<State>) {
    let address = listener.local_addr().unwrap();
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        *state.connections.lock().unwrap() += 1;
        let state = Arc::clone(&state);
        connections.spawn(async move {
            let mut stream = BufReader::new(stream);
            while let Some(received) = receive(&mut stream).await {
                state.note(address, received);
                let next = state.answers.lock().unwrap().pop_front();
                let default = state.default.lock().unwrap().clone();
                let answer = next.or(default).unwrap_or(Answer::status(204));
                if !reply(&mut stream, answer).await {
                    return;
                }
            }
        });
    }
}

/// Reads a request; `None` at the end of the connection.
async fn receive(stream: &mut BufReader<TcpStream>) -> Option<Received> {
    let mut line = String::new();
    stream.read_line(&mut line).await.ok().filter(|n| *n > 0)?;
    assert!(line.starts_with("POST "), "{line}");
    let mut headers = HashMap::new();
    loop {
        line.clear();
        stream.read_line(&mut line).await.ok().filter(|n| *n > 0)?;
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            break;
        };
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    let length: usize = headers["content-length"].parse().unwrap();
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some(Received {
        headers,
        body: String::from_utf8(body).unwrap(),
    })
}

/// Answers a request; returns whether the connection continues.
async fn reply(stream: &mut BufReader<TcpStream>, answer: Answer) -> bool {
    let (status, headers) = match answer {
        Answer::Status(status, headers) => (status, headers),
        Answer::Hang => std::future::pending().await,
        Answer::Close => return false,
        Answer::Slow(delay, status) => {
            sleep(delay).await;
            (status, String::new())
        }
    };
    let head = format!("HTTP/1.1 {status} X\r\n{headers}content-length: 0\r\n\r\n");
    stream.write_all(head.as_bytes()).await.is_ok()
}
