use std::{
    env,
    time::{Duration, Instant},
};

use sluice::proto::v1 as pb;
use tempfile::TempDir;
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::sleep,
};
use uuid::Uuid;

use super::{Owner, pids_of_relays, watchman::Watchman};
use crate::{
    edge::media::{Child, Destination, Nginx, Picture, Place},
    harness::{Engine, Process, TestDatabase},
};

/// Real media takes much of a machine: so many scenes run at once.
static TURNS: Semaphore = Semaphore::const_new(2);

/// What the hooks of nginx-rtmp prove themselves with.
const HOOKS_SECRET: &str = "hooks-secret-of-the-tests";

/// A control plane, an edge and nginx-rtmp as real programs, and an owner with a project.
pub struct Scene {
    pub owner: Owner,
    pub nginx: Nginx,
    edge: Child,
    edge_settings: Vec<(String, String)>,
    control: Process,
    control_settings: Vec<(&'static str, String)>,
    database: TestDatabase,
    logs: Vec<String>,
    watchman: Watchman,
    folder: TempDir,
    _turn: SemaphorePermit<'static>,
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
        let place = Place::new(folder.path(), "nginx").unwrap();
        let nginx = Nginx::start(place, HOOKS_SECRET).await.unwrap();

        let database = TestDatabase::create(Engine::Sqlite).await;
        let control_settings = control_settings(&nginx.place.host);
        let control = serve(&database, &control_settings);
        let channel = control.channel().await;
        let owner = Owner::new(&channel, window).await;
        let api_key = operators_key(&database).await;
        for secret in [&*owner.key, &*api_key, HOOKS_SECRET] {
            watchman.keep_secret(secret);
        }

        let edge_folder = folder.path().join("edge").display().to_string();
        let edge_settings = edge_settings(&nginx, api_key, edge_folder);
        let edge = start_edge(&edge_settings, &nginx.place).await;
        Self {
            owner,
            nginx,
            edge,
            edge_settings,
            control,
            control_settings,
            database,
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
        self.edge = start_edge(&self.edge_settings, &self.nginx.place).await;
    }

    /// Ends the control plane without a word.
    pub async fn kill_control(&mut self) {
        self.control.signal("KILL").await;
        self.control.ended().await;
        self.logs.extend(self.control.log());
    }

    /// Starts it again where it was.
    pub async fn start_control_again(&mut self) {
        self.control = serve(&self.database, &self.control_settings);
        self.control.channel().await;
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

fn serve(database: &TestDatabase, settings: &[(&'static str, String)]) -> Process {
    let settings: Vec<_> = settings
        .iter()
        .map(|(name, text)| (*name, &**text))
        .collect();
    Process::serve(database, &settings)
}

async fn start_edge(settings: &[(String, String)], place: &Place) -> Child {
    let settings: Vec<_> = settings
        .iter()
        .map(|(name, text)| (&**name, &**text))
        .collect();
    let mut command = Process::command(&["edge"], &settings);
    let mut edge = Child::start("sluice edge", &mut command).unwrap();
    edge.ready(async || place.listens(8085).await)
        .await
        .unwrap();
    edge
}

fn control_settings(host: &str) -> Vec<(&'static str, String)> {
    vec![
        ("SLUICE_LISTEN", format!("{host}:50051")),
        ("SLUICE_BCRYPT_COST", "4".to_owned()),
        ("SLUICE_HEARTBEAT_INTERVAL", "2s".to_owned()),
        ("SLUICE_HEARTBEAT_TIMEOUT", "20s".to_owned()),
        ("SLUICE_ALLOW_PRIVATE_DESTINATIONS", "true".to_owned()),
    ]
}

fn edge_settings(nginx: &Nginx, api_key: String, folder: String) -> Vec<(String, String)> {
    let host = &nginx.place.host;
    [
        ("PATH", env::var("PATH").unwrap()),
        ("SLUICE_CONTROL_PLANE", format!("http://{host}:50051")),
        ("SLUICE_API_KEY", api_key),
        ("SLUICE_NODE_ID", "media-1".to_owned()),
        ("SLUICE_MEDIA_SERVER_API", nginx.api()),
        ("SLUICE_MEDIA_SERVER_RTMP", nginx.rtmp()),
        ("SLUICE_HOOKS_LISTEN", nginx.hooks()),
        ("SLUICE_HOOKS_SECRET", HOOKS_SECRET.to_owned()),
        ("SLUICE_EDGE_DIR", folder),
        ("SLUICE_ALLOW_PRIVATE_DESTINATIONS", "true".to_owned()),
        ("SLUICE_LOG", "info,sluice=debug".to_owned()),
        ("SLUICE_LOG_FORMAT", "json".to_owned()),
    ]
    .map(|(name, text)| (name.to_owned(), text))
    .to_vec()
}

/// An API key for edges, as an operator makes it.
async fn operators_key(database: &TestDatabase) -> String {
    let scopes = ["--scope", "streams:publish", "--scope", "relays:work"];
    let arguments = [&["create-api-key", "--name", "edge"][..], &scopes[..]].concat();
    let said = Process::said(Process::admin(database, &arguments, &[])).await;
    assert_eq!(said.code, Some(0), "{}", said.errors);
    said.output.trim().to_owned()
}
