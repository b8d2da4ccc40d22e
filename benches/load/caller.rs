//! Closed-loop callers over raw HTTP/2: as cheap as can be, because they share the
//! cores with what they measure.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use anyhow::Context;
use bytes::{BufMut, Bytes, BytesMut};
use futures_util::future::try_join_all;
use h2::client::{self, SendRequest};
use hdrhistogram::Histogram;
use http::{HeaderMap, Request};
use prost::Message;
use tokio::{net::TcpStream, task::JoinSet, time::sleep_until};
use tonic::{Code, Status};
use tonic_types::StatusExt;

/// A call that is ready to be made.
#[derive(Clone)]
pub struct Call {
    head: Request<()>,
    body: Bytes,
}

/// How often paced users call.
const TICK: Duration = Duration::from_millis(10);

/// Who calls: one call after the other, over and over.
pub type User = Vec<Call>;

/// How a load is put on.
#[derive(Clone, Copy)]
pub struct Load {
    /// Connections; the users are spread over them.
    pub connections: usize,
    /// For how long it is measured.
    pub time: Duration,
    /// For how long before that it is not.
    pub warm_up: Duration,
    /// How often each user calls, if not as fast as it is answered.
    pub pace: Option<Duration>,
    /// Whether refused users wait as long as they are asked to.
    pub heeds: bool,
}

/// What came of it.
pub struct Outcome {
    /// How long the good answers took, in microseconds.
    pub times: Histogram<u64>,
    /// How long the others took.
    pub refusals: Histogram<u64>,
    /// How many answers had which code.
    pub codes: BTreeMap<i32, u64>,
    /// For how long it was measured.
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
        let mut body = BytesMut::new();
        body.put_u8(0);
        body.put_u32(message.encoded_len() as u32);
        message.encode(&mut body).expect("a buffer that grows");
        Self {
            head: head.body(()).expect("a well-formed request"),
            body: body.freeze(),
        }
    }

    /// The same with one more header.
    pub fn with(mut self, name: &'static str, value: &str) -> Self {
        let value = value.parse().expect("a well-formed header");
        self.head.headers_mut().insert(name, value);
        self
    }
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

    /// Good answers a second.
    pub fn rate(&self) -> f64 {
        self.times.len() as f64 / self.elapsed.as_secs_f64()
    }

    /// A quantile of how long good answers took, in milliseconds.
    pub fn quantile(&self, quantile: f64) -> f64 {
        self.times.value_at_quantile(quantile) as f64 / 1e3
    }

    /// The answers that were not good, by code.
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
    /// As fast as answers come, over so many connections.
    pub fn of(connections: usize, time: Duration) -> Self {
        Self {
            connections,
            time,
            warm_up: Duration::from_secs(1),
            pace: None,
            heeds: true,
        }
    }

    /// Puts the load of these users on a server.
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
                    heeds: self.heeds,
                };
                caller.run(number)
            });
            // One task for all: what they send at once leaves together.
            tasks.spawn(try_join_all(callers.collect::<Vec<_>>()));
        }
        while let Some(ended) = tasks.join_next().await {
            ended??;
        }

        let mut outcome = Outcome::new();
        for part in parts {
            outcome.add(&part.lock().expect("nobody panicked"))?;
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
    /// When the load was, for all of them.
    begun: Instant,
    measured: (Instant, Instant),
    pace: Option<Duration>,
    heeds: bool,
}

impl Caller {
    async fn run(self, number: usize) -> anyhow::Result<()> {
        let (from, until) = self.measured;
        let mut due = self.begun + self.pace.unwrap_or_default().mul_f64(spread(number));
        // Users begin at different places, so that they do not all write at once.
        for call in self.user.iter().cycle().skip(number % self.user.len()) {
            if self.pace.is_some() {
                sleep_until(on_the_tick(due, self.begun).into()).await;
            }
            let begun = Instant::now();
            if begun >= until {
                break;
            }
            let answered = answer(&self.sender, call).await?;
            let ended = Instant::now();
            // Whenever it began: else slow calls would be missed at both ends of the time.
            if (from..=until).contains(&ended) {
                let mut part = self.part.lock().expect("nobody panicked");
                part.count(answered.code, ended - begun);
            }
            // Who fell behind catches up, so that as much is asked for as was meant.
            due += self.pace.unwrap_or_default();
            if self.heeds
                && let Some(wait) = answered.retry_delay()
            {
                due = due.max(ended + wait);
                sleep_until(due.into()).await;
            }
        }
        Ok(())
    }
}

/// The first tick since then that is not before it: paced users call at the same moments.
fn on_the_tick(due: Instant, since: Instant) -> Instant {
    let waits = due.saturating_duration_since(since).as_nanos();
    since + TICK * waits.div_ceil(TICK.as_nanos()) as u32
}

/// A number from 0 to 1, another one for each user.
fn spread(number: usize) -> f64 {
    (number as f64 * 0.618_034).fract()
}

/// How a call was answered.
struct Answered {
    code: Code,
    /// Of a refusal, what says it.
    headers: HeaderMap,
}

impl Answered {
    /// If these headers say it.
    fn of(headers: HeaderMap) -> Option<Self> {
        let code = Code::from_bytes(headers.get("grpc-status")?.as_bytes());
        Some(Self { code, headers })
    }

    /// How long a refused caller is asked to wait.
    fn retry_delay(&self) -> Option<Duration> {
        let status = match self.code {
            Code::Ok => return None,
            _ => Status::from_header_map(&self.headers)?,
        };
        status.get_details_retry_info()?.retry_delay
    }
}

/// Makes a call, and reads its answer to the end.
async fn answer(sender: &SendRequest<Bytes>, call: &Call) -> anyhow::Result<Answered> {
    let mut sender = sender.clone().ready().await?;
    let (answer, mut body) = sender.send_request(call.head.clone(), false)?;
    body.send_data(call.body.clone(), true)?;
    let (head, mut body) = answer.await?.into_parts();
    if head.headers.contains_key("grpc-status") {
        return Answered::of(head.headers).context("a status");
    }
    while let Some(data) = body.data().await {
        let length = data?.len();
        body.flow_control().release_capacity(length)?;
    }
    let trailers = body.trailers().await?.context("an answer has trailers")?;
    Answered::of(trailers).context("trailers have a status")
}
