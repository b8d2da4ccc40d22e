use std::{
    path::Path,
    time::{Duration, Instant},
};

use sluice::proto::v1 as pb;
use tempfile::TempDir;
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::sleep,
};
use uuid::Uuid;

use super::{Owner, watchman::Watchman};
use crate::{
    edge::media::{ControlPlane, Destination, Edge, HOOKS_SECRET, Nginx, Picture, Place},
    harness::{children, command_line},
};

/// Real media takes much of a machine: so many scenes run at once.
static TURNS: Semaphore = Semaphore::const_new(2);

const PROGRAM: &str = env!("CARGO_BIN_EXE_sluice");

/// A control plane, an edge and nginx-rtmp as real programs, and an owner with a project.
pub struct Scene {
    pub owner: Owner,
    pub nginx: Nginx,
    edge: Edge,
    control: ControlPlane,
    logs: Vec<String>,
    watchman: Watchman,
    folder: TempDir,
    _turn: SemaphorePermit<'static>,
}

impl Drop for Scene {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let now = [self.nginx.log(), self.control.log(), self.edge.log()];
            let all: Vec<_> = now
                .into_iter()
                .flatten()
                .chain(self.logs.drain(..))
                .collect();
            eprintln!("{}", all.join("\n"));
        }
    }
}

/// Waits for something that must come within a minute and a half, however busy the machine is.
#[track_caller]
pub fn soon<T>(
    what: &'static str,
    mut look: impl AsyncFnMut() -> Option<T>,
) -> impl Future<Output = T> {
    let caller = std::panic::Location::caller();
    async move {
        let deadline = Instant::now() + Duration::from_secs(90);
        loop {
            if let Some(found) = look().await {
                return found;
            }
            assert!(
                Instant::now() < deadline,
                "{caller}: never happened: {what}"
            );
            sleep(Duration::from_millis(100)).await;
        }
    }
}

impl Scene {
    /// With a project that does not wait for its publisher.
    pub async fn start() -> Self {
        Self::with_window(Duration::ZERO).await
    }

    /// With a project that waits so long for its publisher to come back.
    pub async fn with_window(window: Duration) -> Self {
        let turn = TURNS.acquire().await.unwrap();
        let folder = TempDir::new().unwrap();
        let watchman = Watchman::start();
        let place = |name| Place::new(folder.path(), name).unwrap();
        let program = Path::new(PROGRAM);

        let control = ControlPlane::start(program, place("control"))
            .await
            .unwrap();
        let owner = Owner::new(&control.channel().unwrap(), window).await;
        let api_key = control.operators_key().await.unwrap();
        for secret in [&*owner.key, &*api_key, HOOKS_SECRET] {
            watchman.keep_secret(secret);
        }

        let nginx = Nginx::start(place("nginx"), HOOKS_SECRET).await.unwrap();
        let edge = Edge::start(program, &nginx, &control, api_key)
            .await
            .unwrap();
        Self {
            owner,
            nginx,
            edge,
            control,
            logs: Vec::new(),
            watchman,
            folder,
            _turn: turn,
        }
    }

    /// Publishes with the project's key.
    pub fn publish(&self) -> Picture {
        self.publish_with(&self.owner.key)
    }

    /// Publishes with a key.
    pub fn publish_with(&self, key: &str) -> Picture {
        Picture::publish(&format!("{}/{key}", self.nginx.ingest())).unwrap()
    }

    /// Publishes with the project's key; the stream is live.
    pub async fn live(&self) -> (Picture, pb::Stream) {
        let picture = self.publish();
        let stream = self.stream_is(pb::StreamStatus::Live).await;
        (picture, stream)
    }

    /// The newest stream, once it has a status.
    pub async fn stream_is(&self, status: pb::StreamStatus) -> pb::Stream {
        soon("the stream has the status", async || {
            let stream = self.owner.stream().await?;
            (stream.status() == status).then_some(stream)
        })
        .await
    }

    /// The relay to a destination, once it is in a state.
    pub async fn relay_is(&self, to: &pb::Destination, state: pb::RelayState) -> pb::Relay {
        soon("the relay is in the state", async || {
            let relay = self.owner.relay(to).await?;
            (relay.state() == state).then_some(relay)
        })
        .await
    }

    /// A platform that runs, and a destination of the project there.
    pub async fn destination(&self, name: &str) -> (Destination, pb::Destination) {
        let place = Place::new(self.folder.path(), name).unwrap();
        let platform = Destination::start(place).await.unwrap();
        let destination = self.destination_at(&platform.url()).await;
        (platform, destination)
    }

    /// A destination of the project at an address, with a key that nothing else contains.
    pub async fn destination_at(&self, url: &str) -> pb::Destination {
        let key = format!("key-{}", Uuid::now_v7().simple());
        self.watchman.keep_secret(&key);
        self.owner.destination(url, &key).await
    }

    /// Waits until more bytes have come to a platform.
    pub async fn goes_on(&self, platform: &Destination) {
        let before = platform.recorded();
        soon("more bytes come", async || {
            (platform.recorded() > before).then_some(())
        })
        .await;
    }

    /// The ffmpegs that run relays, once there are so many.
    pub async fn ffmpegs(&self, count: usize) -> Vec<u32> {
        soon("so many relays run", async || {
            let pids = self.ffmpegs_now();
            (pids.len() == count).then_some(pids)
        })
        .await
    }

    /// The ffmpegs that run relays now.
    pub fn ffmpegs_now(&self) -> Vec<u32> {
        pids_of_relays(self.edge.id().expect("the edge runs"))
    }

    /// Ends the edge without a word.
    pub async fn kill_edge(&mut self) {
        self.edge.kill().await.unwrap();
        self.logs.extend(self.edge.log());
    }

    /// Starts it again.
    pub async fn start_edge_again(&mut self) {
        self.edge.start_again().await.unwrap();
    }

    /// Ends the control plane without a word.
    pub async fn kill_control(&mut self) {
        self.control.kill().await.unwrap();
        self.logs.extend(self.control.log());
    }

    /// Starts it again where it was.
    pub async fn start_control_again(&mut self) {
        self.control.start_again().await.unwrap();
    }

    /// Ends the scene: no key was on a command line, or is in a log.
    pub async fn end(mut self) {
        self.edge.end().await.unwrap();
        self.logs.extend(self.edge.log());
        self.logs.extend(self.control.log());
        self.logs.extend(self.nginx.log());
        self.watchman.assert_nothing_seen(&self.logs);
    }
}

/// The ffmpeg processes that an edge has started, in the order of their ids.
fn pids_of_relays(edge: u32) -> Vec<u32> {
    let mut pids = children(edge);
    pids.retain(|pid| command_line(*pid).starts_with("ffmpeg "));
    pids.sort_unstable();
    pids
}
