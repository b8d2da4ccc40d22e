use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use sluice::proto::v1 as pb;
use tempfile::TempDir;
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::sleep,
};
use uuid::Uuid;

use super::{owner::Owner, secret_scanner::SecretScanner};
use crate::{
    edge::media::{
        ControlPlane, Destination, Edge, HOOKS_SECRET, Nginx, Proxy, Publisher, Sandbox, program,
    },
    harness::{Client, children, command_line, exchange},
};

/// Real media is expensive: at most this many fixtures run concurrently.
static FIXTURE_SLOTS: Semaphore = Semaphore::const_new(2);

const PROGRAM: &str = env!("CARGO_BIN_EXE_sluice");

/// A control plane, an edge and nginx-rtmp as processes, and an owner with a project.
pub struct Fixture {
    pub owner: Owner,
    pub nginx: Nginx,
    edge: Edge,
    control: ControlPlane,
    logs: Vec<String>,
    secret_scanner: SecretScanner,
    folder: TempDir,
    _permit: SemaphorePermit<'static>,
}

impl Drop for Fixture {
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

/// Waits up to 90 seconds for a condition, also on a busy machine.
#[track_caller]
pub fn wait_for<T>(
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

impl Fixture {
    /// With a project without reconnect window.
    pub async fn start() -> Self {
        Self::with_window(Duration::ZERO).await
    }

    /// With a project with a reconnect window.
    pub async fn with_window(window: Duration) -> Self {
        let permit = FIXTURE_SLOTS.acquire().await.unwrap();
        let folder = TempDir::new().unwrap();
        let secret_scanner = SecretScanner::start();
        let sandbox = |name| Sandbox::new(folder.path(), name).unwrap();
        let program = Path::new(PROGRAM);

        let control = ControlPlane::start(program, sandbox("control"))
            .await
            .unwrap();
        let owner = Owner::new(&control.channel().unwrap(), window).await;
        let api_key = control.create_api_key().await.unwrap();
        for secret in [&*owner.key, &*api_key, HOOKS_SECRET] {
            secret_scanner.add_secret(secret);
        }

        let nginx = Nginx::start(sandbox("nginx"), HOOKS_SECRET).await.unwrap();
        let edge = Edge::start(program, &nginx, &control, api_key)
            .await
            .unwrap();
        Self {
            owner,
            nginx,
            edge,
            control,
            logs: Vec::new(),
            secret_scanner,
            folder,
            _permit: permit,
        }
    }

    /// Publishes with the project's key.
    pub fn publish(&self) -> Publisher {
        self.publish_with_key(&self.owner.key)
    }

    /// Publishes with a key.
    pub fn publish_with_key(&self, key: &str) -> Publisher {
        Publisher::start(&format!("{}/{key}", self.nginx.ingest())).unwrap()
    }

    /// Publishes with the project's key, with further options of ffmpeg.
    pub fn publish_with(&self, options: &[&str]) -> Publisher {
        let url = format!("{}/{}", self.nginx.ingest(), self.owner.key);
        Publisher::start_with(&url, options).unwrap()
    }

    /// Publishes a file with the project's key.
    pub fn replay(&self, file: &Path) -> Publisher {
        let url = format!("{}/{}", self.nginx.ingest(), self.owner.key);
        Publisher::replay(file, &url).unwrap()
    }

    /// Encodes five minutes with a single keyframe, at their start.
    pub async fn encode_one_keyframe(&self) -> PathBuf {
        let file = self.folder.path().join("one_keyframe.flv");
        let encoded = program("ffmpeg")
            .args(["-v", "error", "-nostdin", "-t", "300"])
            .args(["-f", "lavfi", "-i", "testsrc=size=160x90:rate=10"])
            .args([
                "-c:v",
                "libx264",
                "-preset",
                "ultrafast",
                "-pix_fmt",
                "yuv420p",
            ])
            .args(["-g", "100000", "-sc_threshold", "0", "-f", "flv"])
            .arg(&file)
            .status();
        assert!(encoded.await.unwrap().success());
        file
    }

    /// Publishes with the project's key, and waits until the stream is live.
    pub async fn live(&self) -> (Publisher, pb::Stream) {
        let publisher = self.publish();
        let stream = self.wait_for_stream(pb::StreamState::Live).await;
        (publisher, stream)
    }

    /// Waits until the newest stream has a state.
    pub async fn wait_for_stream(&self, state: pb::StreamState) -> pb::Stream {
        wait_for("the stream has the state", async || {
            let stream = self.owner.stream().await?;
            (stream.state() == state).then_some(stream)
        })
        .await
    }

    /// Waits until the relay to a destination has a state.
    pub async fn wait_for_relay(&self, to: &pb::Destination, state: pb::RelayState) -> pb::Relay {
        wait_for("the relay is in the state", async || {
            let relay = self.owner.relay(to).await?;
            (relay.state() == state).then_some(relay)
        })
        .await
    }

    /// Starts a platform, and creates a destination for it.
    pub async fn destination(&self, name: &str) -> (Destination, pb::Destination) {
        let sandbox = Sandbox::new(self.folder.path(), name).unwrap();
        let platform = Destination::start(sandbox).await.unwrap();
        let destination = self.destination_at(&platform.url()).await;
        (platform, destination)
    }

    /// Starts a platform behind a network that can break, and creates a destination for it.
    pub async fn destination_behind_proxy(&self) -> (Destination, Proxy, pb::Destination) {
        let sandbox = |name| Sandbox::new(self.folder.path(), name).unwrap();
        let platform = Destination::start(sandbox("platform")).await.unwrap();
        let proxy = Proxy::start(&sandbox("proxy"), &platform.sandbox).await;
        let proxy = proxy.unwrap();
        let destination = self.destination_at(&proxy.url()).await;
        (platform, proxy, destination)
    }

    /// Creates a destination at a URL with a unique key, which must not leak.
    pub async fn destination_at(&self, url: &str) -> pb::Destination {
        let key = format!("key-{}", Uuid::now_v7().simple());
        self.destination_with_key(url, &key).await
    }

    /// Creates a destination with a key, which must not leak.
    pub async fn destination_with_key(&self, url: &str, key: &str) -> pb::Destination {
        self.secret_scanner.add_secret(key);
        self.owner.destination(url, key).await
    }

    /// Waits until a platform has received more bytes.
    pub async fn wait_for_more_bytes(&self, platform: &Destination) {
        let before = platform.recorded();
        wait_for("more bytes come", async || {
            (platform.recorded() > before).then_some(())
        })
        .await;
    }

    /// Waits until `count` ffmpeg processes run relays; returns their process ids.
    pub async fn wait_for_ffmpegs(&self, count: usize) -> Vec<u32> {
        wait_for("the expected number of relays run", async || {
            let pids = self.ffmpeg_pids();
            (pids.len() == count).then_some(pids)
        })
        .await
    }

    /// The process ids of the ffmpegs that run relays.
    pub fn ffmpeg_pids(&self) -> Vec<u32> {
        pids_of_relays(self.edge.id().expect("the edge runs"))
    }

    /// A client with an operator key that may drain nodes and work on relays.
    pub async fn operator(&self) -> Client {
        let scopes = ["--scope", "operator:write", "--scope", "relays:work"];
        let key = self.control.create_api_key_with(&scopes).await.unwrap();
        let channel = self.control.channel().unwrap();
        let token = exchange(&channel, &key).await;
        Client::with_token(&channel, &token)
    }

    /// Kills the edge.
    pub async fn kill_edge(&mut self) {
        self.edge.kill().await.unwrap();
        self.logs.extend(self.edge.log());
    }

    /// Starts it again.
    pub async fn restart_edge(&mut self) {
        self.edge.start_again().await.unwrap();
    }

    /// Kills the control plane.
    pub async fn kill_control_plane(&mut self) {
        self.control.kill().await.unwrap();
        self.logs.extend(self.control.log());
    }

    /// Starts it again at the same address.
    pub async fn restart_control_plane(&mut self) {
        self.control.start_again().await.unwrap();
    }

    /// Ends the fixture; checks that no secret was on a command line or in a log.
    pub async fn end(mut self) {
        self.edge.end().await.unwrap();
        self.logs.extend(self.edge.log());
        self.logs.extend(self.control.log());
        self.logs.extend(self.nginx.log());
        self.secret_scanner.assert_no_leak(&self.logs);
    }
}

/// The ids of the ffmpeg processes that an edge has started, sorted.
fn pids_of_relays(edge: u32) -> Vec<u32> {
    let mut pids = children(edge);
    pids.retain(|pid| command_line(*pid).starts_with("ffmpeg "));
    pids.sort_unstable();
    pids
}
