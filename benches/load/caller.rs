//! Closed-loop callers over raw HTTP/2. They are cheap, because they share the cores with
//! the measured server.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use anyhow::Context;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures_util::future::try_join_all;
use h2::client::{self, SendRequest};
use hdrhistogram::Histogram;
use http::{HeaderMap, Request};
use prost::Message;
use tokio::{net::TcpStream, task::JoinSet, time::sleep_until};
use tonic::{Code, Status};
use tonic_types::StatusExt;

/// A prepared call.
#[derive(Clone)]
pub struct Call {
    head: Request<()>,
    body: Body,
    measured: Measured,
}

/// The body of a call.
#[derive(Clone)]
enum Body {
    /// Always the same.
    Fixed(Bytes),
    /// Made from the response to the user's previous call.
    Made(Arc<MakeBody>),
}

type MakeBody = dyn Fn(&[u8]) -> Bytes + Send + Sync;

/// What of a successful call is counted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Measured {
    /// The call.
    Call,
    /// Nothing: it belongs to a sequence, or is preparation.
    Nothing,
    /// The sequence of the uncounted calls before it and this one, as one.
    Sequence,
}

/// The length of the flag and the length before a message of gRPC.
const FRAME_HEAD: usize = 5;

/// The granularity of paced calls.
const PACE_TICK: Duration = Duration::from_millis(10);

/// The calls of a user, made one after another in a cycle.
pub type User = Vec<Call>;

/// The parameters of a load.
#[derive(Clone, Copy)]
pub struct Load {
    /// The number of connections, shared by the users.
    pub connections: usize,
    /// The duration of the measurement.
    pub time: Duration,
    /// The duration of the warm-up before it.
    pub warm_up: Duration,
    /// The interval of each user's calls; `None` calls again after each response.
    pub pace: Option<Duration>,
    /// Whether refused users wait for the retry delay.
    pub respects_retry_delay: bool,
}

/// The outcome of a load.
pub struct Outcome {
    /// The latencies of successful calls, in microseconds.
    pub times: Histogram<u64>,
    /// The latencies of failed calls, in microseconds.
    pub refusals: Histogram<u64>,
    /// The number of calls by status code.
    pub codes: BTreeMap<i32, u64>,
    /// The duration of the measurement.
    pub elapsed: Duration,
}

impl Call {
    /// A call of an RPC, for example `sluice.v1.ProjectService/GetProject`.
    pub fn new(rpc: &str, token: Option<&str>, message: &impl Message) -> Self {
        let mut head = Request::post(format!("http://sluice/{rpc}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        if let Some(token) = token {
            head = head.header("authorization", format!("Bearer {token}"));
        }
        Self {
            head: head.body(()).expect("a well-formed request"),
            body: Body::Fixed(framed(message)),
            measured: Measured::Call,
        }
    }

    /// A call whose message is made from the response to the user's previous call.
    pub fn made<P, M>(rpc: &str, token: &str, make: impl Fn(P) -> M + Send + Sync + 'static) -> Self
    where
        P: Message + Default,
        M: Message + Default,
    {
        let made = move |previous: &[u8]| {
            // The first call has no previous response, and the last one of a cycle another type.
            framed(&make(P::decode(previous).unwrap_or_default()))
        };
        Self {
            body: Body::Made(Arc::new(made)),
            ..Self::new(rpc, Some(token), &M::default())
        }
    }

    /// The same call, but it does not count unless it fails.
    pub fn uncounted(self) -> Self {
        Self {
            measured: Measured::Nothing,
            ..self
        }
    }

    /// The same call as the end of a sequence, which counts as one call.
    pub fn ends_sequence(self) -> Self {
        Self {
            measured: Measured::Sequence,
            ..self
        }
    }

    /// The same call with an additional header.
    pub fn with(mut self, name: &'static str, value: &str) -> Self {
        let value = value.parse().expect("a well-formed header");
        self.head.headers_mut().insert(name, value);
        self
    }
}

/// A message in the framing of gRPC.
fn framed(message: &impl Message) -> Bytes {
    let mut body = BytesMut::new();
    body.put_u8(0);
    body.put_u32(message.encoded_len() as u32);
    message.encode(&mut body).expect("a buffer that grows");
    body.freeze()
}

impl Outcome {
    fn new() -> Self {
        let histogram = || Histogram::new_with_bounds(1, 120_000_000, 2).expect("good bounds");
        Self {
            times: histogram(),
            refusals: histogram(),
            codes: BTreeMap::new(),
            elapsed: Duration::ZERO,
        }
    }

    /// Successful calls per second.
    pub fn rate(&self) -> f64 {
        self.times.len() as f64 / self.elapsed.as_secs_f64()
    }

    /// A latency quantile of successful calls, in milliseconds.
    pub fn quantile(&self, quantile: f64) -> f64 {
        self.times.value_at_quantile(quantile) as f64 / 1e3
    }

    /// The failed calls by code.
    pub fn faults(&self) -> Vec<(Code, u64)> {
        let faults = self.codes.iter().filter(|(code, _)| **code != 0);
        faults
            .map(|(code, count)| (Code::from_i32(*code), *count))
            .collect()
    }

    fn count(&mut self, code: Code, time: Duration) {
        let micros = time.as_micros() as u64;
        *self.codes.entry(code as i32).or_default() += 1;
        let times = match code {
            Code::Ok => &mut self.times,
            _ => &mut self.refusals,
        };
        times.saturating_record(micros.max(1));
    }

    fn add(&mut self, other: &Self) -> anyhow::Result<()> {
        self.times.add(&other.times)?;
        self.refusals.add(&other.refusals)?;
        for (code, count) in &other.codes {
            *self.codes.entry(*code).or_default() += count;
        }
        Ok(())
    }
}

impl Load {
    /// An unpaced load over this number of connections.
    pub fn of(connections: usize, time: Duration) -> Self {
        Self {
            connections,
            time,
            warm_up: Duration::from_secs(1),
            pace: None,
            respects_retry_delay: true,
        }
    }

    /// Runs the load of these users on a server.
    pub async fn run(self, address: SocketAddr, users: &[User]) -> anyhow::Result<Outcome> {
        let begun = Instant::now();
        let from = begun + self.warm_up;
        let until = from + self.time;
        let mut tasks = JoinSet::new();
        let mut parts = Vec::new();
        for at in 0..self.connections {
            let sender = connect(address).await?;
            let part = Arc::new(Mutex::new(Outcome::new()));
            parts.push(Arc::clone(&part));
            let users = users.iter().enumerate().skip(at).step_by(self.connections);
            let callers = users.map(|(number, user)| {
                let caller = Caller {
                    sender: sender.clone(),
                    user: user.clone(),
                    part: Arc::clone(&part),
                    begun,
                    measured: (from, until),
                    pace: self.pace,
                    respects_retry_delay: self.respects_retry_delay,
                };
                caller.run(number)
            });
            // One task per connection: calls made at once leave in one packet.
            tasks.spawn(try_join_all(callers.collect::<Vec<_>>()));
        }
        while let Some(ended) = tasks.join_next().await {
            ended??;
        }

        let mut outcome = Outcome::new();
        for part in parts {
            outcome.add(&part.lock().expect("no thread panicked"))?;
        }
        outcome.elapsed = self.time;
        Ok(outcome)
    }
}

/// A connection to a server.
pub async fn connect(address: SocketAddr) -> anyhow::Result<SendRequest<Bytes>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = client::Builder::new()
        .initial_window_size(1 << 20)
        .initial_connection_window_size(1 << 20)
        .handshake(stream)
        .await?;
    tokio::spawn(connection);
    Ok(sender)
}

struct Caller {
    sender: SendRequest<Bytes>,
    user: User,
    part: Arc<Mutex<Outcome>>,
    /// The start of the load.
    begun: Instant,
    measured: (Instant, Instant),
    pace: Option<Duration>,
    respects_retry_delay: bool,
}

impl Caller {
    async fn run(self, number: usize) -> anyhow::Result<()> {
        let (from, until) = self.measured;
        let mut due = self.begun + self.pace.unwrap_or_default().mul_f64(spread(number));
        let is_part = |call: &Call| call.measured != Measured::Call;
        let has_sequence = self.user.iter().any(is_part);
        // Users start at different calls, so that they do not all write at once.
        let first = match has_sequence {
            true => 0,
            false => number % self.user.len(),
        };
        let (mut previous, mut sequence_begun) = (Bytes::new(), None);
        for (at, call) in self.user.iter().enumerate().cycle().skip(first) {
            if self.pace.is_some() {
                sleep_until(on_the_tick(due, self.begun).into()).await;
            }
            let begun = Instant::now();
            // A sequence is finished, so that the next load does not meet a part of it.
            if begun >= until && (at == 0 || !has_sequence) {
                break;
            }
            let mut answered = answer(&self.sender, call, &previous).await?;
            let ended = Instant::now();
            previous = std::mem::take(&mut answered.message);
            let since = match call.measured {
                Measured::Call => Some(begun),
                Measured::Nothing => {
                    sequence_begun.get_or_insert(begun);
                    None
                }
                Measured::Sequence => Some(sequence_begun.take().unwrap_or(begun)),
            };
            let since = since.or((answered.code != Code::Ok).then_some(begun));
            // By the end only: otherwise slow calls at both ends would be missed.
            if let Some(since) = since
                && (from..=until).contains(&ended)
            {
                let mut part = self.part.lock().expect("no thread panicked");
                part.count(answered.code, ended - since);
            }
            // A late user catches up, so that the offered load stays as intended.
            due += self.pace.unwrap_or_default();
            if self.respects_retry_delay
                && let Some(wait) = answered.retry_delay()
            {
                due = due.max(ended + wait);
                sleep_until(due.into()).await;
            }
        }
        Ok(())
    }
}

/// The first tick from `due` on: paced users call at the same moments.
fn on_the_tick(due: Instant, since: Instant) -> Instant {
    let waits = due.saturating_duration_since(since).as_nanos();
    since + PACE_TICK * waits.div_ceil(PACE_TICK.as_nanos()) as u32
}

/// A number from 0 to 1 that differs for each user.
fn spread(number: usize) -> f64 {
    (number as f64 * 0.618_034).fract()
}

/// The result of a call.
struct CallStatus {
    code: Code,
    /// The message of a response.
    message: Bytes,
    /// The headers or trailers with the status.
    headers: HeaderMap,
}

impl CallStatus {
    /// The status in these headers, if any.
    fn of(headers: HeaderMap) -> Option<Self> {
        let code = Code::from_bytes(headers.get("grpc-status")?.as_bytes());
        Some(Self {
            code,
            message: Bytes::new(),
            headers,
        })
    }

    /// The retry delay of a refusal.
    fn retry_delay(&self) -> Option<Duration> {
        let status = match self.code {
            Code::Ok => return None,
            _ => Status::from_header_map(&self.headers)?,
        };
        status.get_details_retry_info()?.retry_delay
    }
}

/// Makes a call after one with this response, and reads the whole response.
async fn answer(
    sender: &SendRequest<Bytes>,
    call: &Call,
    previous: &[u8],
) -> anyhow::Result<CallStatus> {
    let mut sender = sender.clone().ready().await?;
    let (answer, mut body) = sender.send_request(call.head.clone(), false)?;
    let (message, keeps_response) = match &call.body {
        Body::Fixed(message) => (message.clone(), call.measured != Measured::Call),
        Body::Made(make) => (make(previous), true),
    };
    body.send_data(message, true)?;
    let (head, mut body) = answer.await?.into_parts();
    if head.headers.contains_key("grpc-status") {
        return CallStatus::of(head.headers).context("a status");
    }
    let mut response = BytesMut::new();
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        if keeps_response {
            response.extend_from_slice(&data);
        }
    }
    let trailers = body.trailers().await?.context("an answer has trailers")?;
    let mut status = CallStatus::of(trailers).context("trailers have a status")?;
    // After the flag and the length of the frame.
    response.advance(response.len().min(FRAME_HEAD));
    status.message = response.freeze();
    Ok(status)
}
