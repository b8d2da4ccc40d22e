//! A simulated edge: a media server and its relay worker.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::Context;
use hdrhistogram::Histogram;
use sluice::proto::v1::{
    self as pb, auth_service_client::AuthServiceClient, stream_service_client::StreamServiceClient,
};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tonic::{Request, Streaming, metadata::MetadataValue, transport::Channel};

use crate::{Clock, seed::SeededProject, servers::Program};

/// The intervals of a real edge.
const REPORT_INTERVAL: Duration = Duration::from_secs(2);
const SYNC_INTERVAL: Duration = Duration::from_secs(10);

/// The bytes that a stream receives and a relay sends in a second.
const BYTE_RATE: i64 = 750_000;

/// What the edges and watchers measure, in microseconds, and their calls.
#[derive(Default)]
pub struct Latencies {
    begin: Mutex<Option<Histogram<u64>>>,
    assignment: Mutex<Option<Histogram<u64>>>,
    watch: Mutex<Option<Histogram<u64>>>,
    /// When the stream of a project began last.
    begun: Mutex<HashMap<String, Instant>>,
    /// The calls that report relays or connections, and all failed calls.
    pub reports: AtomicU64,
    pub failures: AtomicU64,
}

/// An edge with its live streams and relays.
pub struct Edge {
    node_id: String,
    client: StreamServiceClient<Channel>,
    token: MetadataValue<tonic::metadata::Ascii>,
    projects: Vec<SeededProject>,
    state: Mutex<State>,
    latencies: Arc<Latencies>,
    started_at: Instant,
}

#[derive(Default)]
struct State {
    /// The live streams, by their places in the list of projects.
    streams: HashMap<usize, pb::Stream>,
    /// The leases, and when each was assigned.
    leases: HashMap<String, Instant>,
    /// The leases that are to be returned.
    revoked: Vec<String>,
}

/// Exchanges an operator key for an access token.
pub async fn exchange(server: &Program, secret: String) -> anyhow::Result<String> {
    let address = format!("http://{}", server.address);
    let channel = Channel::from_shared(address)?.connect().await?;
    let request = pb::ExchangeApiKeyRequest { secret };
    let answer = AuthServiceClient::new(channel).exchange_api_key(request);
    Ok(answer.await?.into_inner().access_token)
}

impl Edge {
    pub fn new(
        number: usize,
        channel: Channel,
        token: &str,
        projects: Vec<SeededProject>,
        latencies: Arc<Latencies>,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            node_id: format!("edge-{number}"),
            client: StreamServiceClient::new(channel),
            token: format!("Bearer {token}").parse()?,
            projects,
            state: Mutex::default(),
            latencies,
            started_at: Instant::now(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        let metadata = request.metadata_mut();
        metadata.insert("authorization", self.token.clone());
        request
    }

    /// The number of relays that it has.
    pub fn relays(&self) -> usize {
        self.state().leases.len()
    }

    /// Begins a stream of each project, with media.
    pub async fn begin_streams(&self) -> anyhow::Result<()> {
        for place in 0..self.projects.len() {
            self.begin(place).await?;
        }
        Ok(())
    }

    async fn begin(&self, place: usize) -> anyhow::Result<()> {
        let project = &self.projects[place];
        let request = pb::BeginPublishRequest {
            stream_key: project.stream_key.clone(),
            publisher: Some(pb::Publisher {
                node_id: self.node_id.clone(),
                boot_id: "b1".to_owned(),
                connection_id: uuid::Uuid::now_v7().to_string(),
                peer_address: "203.0.113.5".to_owned(),
                protocol: pb::IngestProtocol::Rtmp.into(),
            }),
            media_flowing: true,
            ..Default::default()
        };
        let called = Instant::now();
        self.latencies.begins(&project.id, called);
        let begun = self.client.clone().begin_publish(self.request(request));
        let stream = begun.await?.into_inner().stream.context("a stream")?;
        Latencies::add(&self.latencies.begin, called);
        self.state().streams.insert(place, stream);
        Ok(())
    }

    /// Ends a stream, and begins another one of the same project.
    pub async fn replace_stream(&self, number: usize) -> anyhow::Result<()> {
        let place = number % self.projects.len();
        let stream = self.state().streams.remove(&place);
        if let Some(stream) = stream {
            let request = pb::EndPublishRequest {
                stream_id: stream.id,
                epoch: stream.epoch,
                publisher: stream.publisher,
            };
            let ended = self.client.clone().end_publish(self.request(request));
            ended.await?;
        }
        self.begin(place).await
    }

    /// Claims and reports relays and reports connections, until it is dropped.
    pub async fn run(self: Arc<Self>, clock: Clock) -> anyhow::Result<()> {
        let mut reports = interval(clock.wall(REPORT_INTERVAL));
        let mut syncs = interval(clock.wall(SYNC_INTERVAL));
        for ticks in [&mut reports, &mut syncs] {
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        }
        let mut claims = self.claim().await?;
        loop {
            tokio::select! {
                message = claims.message() => match message {
                    Ok(Some(message)) => self.handle(message),
                    _ => {
                        self.latencies.failures.fetch_add(1, Ordering::Relaxed);
                        claims = self.claim().await?;
                    }
                },
                _ = reports.tick() => self.count(self.report(clock).await),
                _ = syncs.tick() => self.count(self.sync(clock).await),
            }
        }
    }

    async fn claim(&self) -> anyhow::Result<Streaming<pb::ClaimRelaysResponse>> {
        let request = pb::ClaimRelaysRequest {
            worker_id: self.node_id.clone(),
            node_id: self.node_id.clone(),
            capacity: 100,
            ..Default::default()
        };
        let claims = self.client.clone().claim_relays(self.request(request));
        Ok(claims.await?.into_inner())
    }

    fn handle(&self, message: pb::ClaimRelaysResponse) {
        let now = Instant::now();
        let mut state = self.state();
        for assignment in message.assignments {
            let stream_id = assignment.relay.unwrap_or_default().stream_id;
            let place = state
                .streams
                .iter()
                .find(|(_, stream)| stream.id == stream_id);
            if let Some((place, _)) = place {
                self.latencies.assigned(&self.projects[*place].id);
            }
            state.leases.insert(assignment.lease_id, now);
        }
        for revocation in message.revocations {
            state.leases.remove(&revocation.lease_id);
            state.revoked.push(revocation.lease_id);
        }
    }

    fn count(&self, called: anyhow::Result<()>) {
        let counter = match called {
            Ok(()) => &self.latencies.reports,
            Err(_) => &self.latencies.failures,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// ReportRelays of all relays.
    async fn report(&self, clock: Clock) -> anyhow::Result<()> {
        let reports: Vec<_> = {
            let mut state = self.state();
            let revoked = std::mem::take(&mut state.revoked);
            let running = state
                .leases
                .iter()
                .map(|(lease_id, since)| pb::RelayReport {
                    lease_id: lease_id.clone(),
                    state: pb::RelayState::Broadcasting.into(),
                    bytes_sent: 1 + bytes_since(*since, clock),
                    bitrate_bps: BYTE_RATE * 8,
                    ..Default::default()
                });
            let stopped = revoked.into_iter().map(|lease_id| pb::RelayReport {
                lease_id,
                state: pb::RelayState::Idle.into(),
                ..Default::default()
            });
            running.chain(stopped).collect()
        };
        if reports.is_empty() {
            return Ok(());
        }
        let request = pb::ReportRelaysRequest {
            worker_id: self.node_id.clone(),
            reports,
            destination_checks: Vec::new(),
        };
        let answer = self.client.clone().report_relays(self.request(request));
        let lost = answer.await?.into_inner().lost_lease_ids;
        let mut state = self.state();
        for lease_id in lost {
            if state.leases.remove(&lease_id).is_some() {
                state.revoked.push(lease_id);
            }
        }
        Ok(())
    }

    /// SyncNode with all connections.
    async fn sync(&self, clock: Clock) -> anyhow::Result<()> {
        let bytes_received = 1 + bytes_since(self.started_at, clock);
        let connections: Vec<_> = self
            .state()
            .streams
            .values()
            .map(|stream| pb::NodeConnection {
                connection_id: stream.publisher.clone().unwrap_or_default().connection_id,
                stream_id: stream.id.clone(),
                epoch: stream.epoch,
                stats: Some(pb::StreamStats {
                    bytes_received,
                    bitrate_bps: BYTE_RATE * 8,
                    width: 1920,
                    height: 1080,
                    fps: 30.0,
                    video_codec: "h264".to_owned(),
                    audio_codec: "aac".to_owned(),
                    ..Default::default()
                }),
                ..Default::default()
            })
            .collect();
        let request = pb::SyncNodeRequest {
            node_id: self.node_id.clone(),
            boot_id: "b1".to_owned(),
            connections,
        };
        self.client.clone().sync_node(self.request(request)).await?;
        Ok(())
    }
}

/// The bytes of a second of the fleet, for each since a time.
fn bytes_since(begin: Instant, clock: Clock) -> i64 {
    let seconds = clock.fleet(begin.elapsed()).as_secs_f64();
    (seconds * BYTE_RATE as f64) as i64
}

impl Latencies {
    fn begins(&self, project_id: &str, at: Instant) {
        let mut begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        begun.insert(project_id.to_owned(), at);
    }

    fn begun(&self, project_id: &str) -> Option<Instant> {
        let begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        begun.get(project_id).copied()
    }

    fn assigned(&self, project_id: &str) {
        if let Some(begun) = self.begun(project_id) {
            Self::add(&self.assignment, begun);
        }
    }

    /// A watcher has heard of a new stream of a project.
    pub fn watched(&self, project_id: &str) {
        if let Some(begun) = self.begun(project_id) {
            Self::add(&self.watch, begun);
        }
    }

    fn add(histogram: &Mutex<Option<Histogram<u64>>>, since: Instant) {
        let micros = u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX);
        let mut histogram = histogram.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || Histogram::new(3).expect("three digits are possible");
        histogram.get_or_insert_with(new).saturating_record(micros);
    }

    /// Forgets what was measured.
    pub fn clear(&self) {
        for histogram in [&self.begin, &self.assignment, &self.watch] {
            *histogram.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
    }

    /// Prints the quantiles.
    pub fn print(&self) {
        for (name, histogram) in [
            ("BeginPublish", &self.begin),
            (
                "BeginPublish to the assignment of a relay",
                &self.assignment,
            ),
            ("BeginPublish to the event of a watch", &self.watch),
        ] {
            let histogram = histogram.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(histogram) = &*histogram else {
                println!("  {name}: none");
                continue;
            };
            let millis = |quantile| histogram.value_at_quantile(quantile) as f64 / 1e3;
            println!(
                "  {name}: p50 {:.0} ms, p99 {:.0} ms of {}",
                millis(0.5),
                millis(0.99),
                histogram.len()
            );
        }
    }
}
