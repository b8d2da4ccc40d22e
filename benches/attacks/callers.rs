use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};

use anyhow::Context;
use sluice::proto::v1::{
    self as pb, auth_service_client::AuthServiceClient,
    project_service_client::ProjectServiceClient, stream_service_client::StreamServiceClient,
};
use tokio::{
    task::JoinSet,
    time::{MissedTickBehavior, interval_at, timeout},
};
use tonic::{Request, transport::Channel};

use crate::{attack::Target, server::Server};

const MEDIA_SERVERS: usize = 50;

/// The users who sign in, each from time to time: together less than two cores can hash.
const USERS: usize = 4;

/// The calls of a user on one connection.
const CALLS_PER_CONNECTION: usize = 5;

const CALL_INTERVAL: Duration = Duration::from_millis(500);

/// A call that takes longer has failed.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

const PASSWORD: &str = "correct horse battery staple";

/// Honest callers.
pub struct Callers {
    publishers: Vec<(Channel, pb::HeartbeatPublishRequest)>,
    machine: String,
    server: SocketAddr,
    /// The addresses of the users, and their e-mail addresses.
    users: Vec<(Ipv4Addr, String)>,
}

/// The calls of one kind.
#[derive(Default)]
pub struct Figures {
    /// The latencies of successful calls, sorted.
    pub times: Vec<Duration>,
    /// The errors of failed calls.
    pub failures: BTreeMap<String, usize>,
}

/// The calls during a measurement.
#[derive(Default)]
pub struct Measured {
    pub heartbeats: Figures,
    pub sign_ins: Figures,
}

/// The access token of a new user.
async fn sign_up(channel: &Channel, email: &str) -> anyhow::Result<String> {
    let request = pb::SignUpRequest {
        email: email.to_owned(),
        password: PASSWORD.to_owned(),
        display_name: "Ada".to_owned(),
        request_id: String::new(),
    };
    let mut auth = AuthServiceClient::new(channel.clone());
    let answer = auth.sign_up(request).await?.into_inner();
    let tokens = answer.tokens.context("tokens")?;
    Ok(tokens.access_token)
}

fn with_token<T>(message: T, token: &str) -> anyhow::Result<Request<T>> {
    let mut request = Request::new(message);
    let bearer = format!("Bearer {token}").parse()?;
    request.metadata_mut().insert("authorization", bearer);
    Ok(request)
}

/// The address of the media servers, which a limit may exempt.
const MEDIA_SERVER_ADDRESS: Ipv4Addr = Ipv4Addr::LOCALHOST;

/// The address of a user.
fn address_of_user(number: usize) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 1, 1 + number as u8)
}

async fn connect(server: SocketAddr, from: Ipv4Addr) -> anyhow::Result<Channel> {
    let endpoint = Channel::from_shared(format!("http://{server}"))?;
    let endpoint = endpoint.local_address(Some(from.into()));
    Ok(endpoint.connect().await?)
}

impl Callers {
    /// Signs up users, and begins a stream on each media server.
    pub async fn start(server: &Server) -> anyhow::Result<Self> {
        let channel = connect(server.address, MEDIA_SERVER_ADDRESS).await?;
        let request = pb::ExchangeApiKeyRequest {
            secret: server.create_operator_key()?,
        };
        let mut auth = AuthServiceClient::new(channel.clone());
        let exchanged = auth.exchange_api_key(request).await?;
        let machine = exchanged.into_inner().access_token;
        let owner = sign_up(&channel, "owner@example.com").await?;
        let mut publishers = Vec::new();
        for number in 0..MEDIA_SERVERS {
            let channel = connect(server.address, MEDIA_SERVER_ADDRESS).await?;
            let heartbeat = publish(&channel, &owner, &machine, number).await?;
            publishers.push((channel, heartbeat));
        }
        let mut users = Vec::new();
        for number in 0..USERS {
            let email = format!("user{number}@example.com");
            sign_up(&channel, &email).await?;
            users.push((address_of_user(number), email));
        }
        Ok(Self {
            publishers,
            machine,
            server: server.address,
            users,
        })
    }

    /// A signed-up attacker with a project and long lists.
    pub async fn target(&self, server: &Server) -> anyhow::Result<Target> {
        let channel = connect(server.address, MEDIA_SERVER_ADDRESS).await?;
        let token = sign_up(&channel, "mallory@example.com").await?;
        let mut projects = ProjectServiceClient::new(channel);
        let mut project_id = String::new();
        for _ in 0..200 {
            let request = pb::CreateProjectRequest {
                display_name: "\u{1f3a5}".repeat(100),
                ..Default::default()
            };
            let created = projects
                .create_project(with_token(request, &token)?)
                .await?;
            project_id = created.into_inner().project.context("a project")?.id;
        }
        Ok(Target {
            address: server.address,
            token,
            project_id,
        })
    }

    /// Calls for this time, and measures.
    pub async fn measure(&self, time: Duration) -> anyhow::Result<Measured> {
        let until = Instant::now() + time;
        let (mut heartbeats, mut sign_ins) = (JoinSet::new(), JoinSet::new());
        for (number, (channel, request)) in self.publishers.iter().enumerate() {
            let offset = CALL_INTERVAL * number as u32 / MEDIA_SERVERS as u32;
            let mut client = StreamServiceClient::new(channel.clone());
            let (request, token) = (request.clone(), self.machine.clone());
            heartbeats.spawn(repeat(offset, until, async move || {
                let request = with_token(request.clone(), &token)?;
                client.heartbeat_publish(request).await?;
                Ok(())
            }));
        }
        for (number, (address, email)) in self.users.iter().enumerate() {
            let offset = CALL_INTERVAL * number as u32 / USERS as u32;
            let (server, address, email) = (self.server, *address, email.clone());
            let (mut connection, mut calls) = (None, 0);
            sign_ins.spawn(repeat(offset, until, async move || {
                if calls % CALLS_PER_CONNECTION == 0 {
                    connection = None;
                }
                calls += 1;
                let channel = match &connection {
                    Some(channel) => Channel::clone(channel),
                    // The time of a new connection counts.
                    None => connection.insert(connect(server, address).await?).clone(),
                };
                let mut client = AuthServiceClient::new(channel);
                let request = pb::SignInRequest {
                    email: email.clone(),
                    password: PASSWORD.to_owned(),
                    ..Default::default()
                };
                client.sign_in(request).await?;
                Ok(())
            }));
        }
        Ok(Measured {
            heartbeats: Figures::of(heartbeats).await,
            sign_ins: Figures::of(sign_ins).await,
        })
    }
}

/// Begins a stream of a new project; returns its heartbeats.
async fn publish(
    channel: &Channel,
    owner: &str,
    machine: &str,
    number: usize,
) -> anyhow::Result<pb::HeartbeatPublishRequest> {
    let request = pb::CreateProjectRequest {
        display_name: "Show".to_owned(),
        ..Default::default()
    };
    let mut projects = ProjectServiceClient::new(channel.clone());
    let created = projects.create_project(with_token(request, owner)?).await?;
    let publisher = pb::Publisher {
        node_id: format!("node-{number}"),
        boot_id: "boot".to_owned(),
        connection_id: "connection".to_owned(),
        ..Default::default()
    };
    let request = pb::BeginPublishRequest {
        stream_key: created.into_inner().stream_key,
        publisher: Some(publisher.clone()),
        media_flowing: true,
        play_url: String::new(),
    };
    let mut streams = StreamServiceClient::new(channel.clone());
    let begun = streams.begin_publish(with_token(request, machine)?).await?;
    let stream = begun.into_inner().stream.context("a stream")?;
    Ok(pb::HeartbeatPublishRequest {
        stream_id: stream.id,
        epoch: stream.epoch,
        publisher: Some(publisher),
        stats: None,
    })
}

/// Makes calls at an interval until a time, from an offset on, because callers are not in step.
async fn repeat(
    offset: Duration,
    until: Instant,
    mut call: impl AsyncFnMut() -> anyhow::Result<()>,
) -> Figures {
    let mut figures = Figures::default();
    let mut ticks = interval_at((Instant::now() + offset).into(), CALL_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    while Instant::now() < until {
        ticks.tick().await;
        let begun = Instant::now();
        match timeout(CALL_TIMEOUT, call()).await {
            Ok(Ok(())) => figures.times.push(begun.elapsed()),
            Ok(Err(error)) => figures.fail(format!("{error:#}")),
            Err(timeout) => figures.fail(timeout.to_string()),
        }
    }
    figures
}

impl Figures {
    fn fail(&mut self, error: String) {
        *self.failures.entry(error).or_default() += 1;
    }

    async fn of(tasks: JoinSet<Self>) -> Self {
        let mut all = Self::default();
        for figures in tasks.join_all().await {
            all.times.extend(figures.times);
            for (error, times) in figures.failures {
                *all.failures.entry(error).or_default() += times;
            }
        }
        all.times.sort_unstable();
        all
    }

    /// The 99th percentile in milliseconds.
    pub fn p99(&self) -> f64 {
        let at = self.times.len() * 99 / 100;
        self.times
            .get(at)
            .map_or(f64::NAN, |time| time.as_secs_f64() * 1e3)
    }
}
