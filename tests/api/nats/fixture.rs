use sluice::proto::v1 as pb;
use tonic::transport::Channel;

use crate::{
    harness::{
        Client, MediaServer, NatsServer, Postgres, Process, TestDatabase, User, eventually,
        exchange,
    },
    operations::scrape::Scrape,
};

/// Neither notifications of PostgreSQL nor polls hide a lost message.
pub const NATS_ONLY: [(&str, &str); 2] = [
    ("SLUICE_WATCH_HINTS", "false"),
    ("SLUICE_WATCH_POLL_INTERVAL", "1min"),
];

/// Two replicas with a NATS server, a user and a project.
pub struct Replicas {
    pub nats: NatsServer,
    pub database: TestDatabase,
    pub here: Replica,
    pub there: Replica,
    pub owner: User,
    pub project: pb::Project,
    pub stream_key: String,
}

/// A server process, with a client of the user.
pub struct Replica {
    pub process: Process,
    pub channel: Channel,
    pub client: Client,
}

impl Replicas {
    pub async fn start(settings: &[(&str, &str)]) -> Self {
        let nats = NatsServer::start().await;
        let url = nats.url();
        let with_nats = [settings, &[("SLUICE_NATS_URL", &*url)]].concat();
        Self::start_with(nats, &with_nats, &with_nats).await
    }

    /// Starts replicas with different settings.
    pub async fn start_with(
        nats: NatsServer,
        here: &[(&str, &str)],
        there: &[(&str, &str)],
    ) -> Self {
        // LISTEN is on or off by a setting.
        let database = TestDatabase::create(Postgres).await.direct();
        let roomy = [("SLUICE_CALLER_BURST", "100000")];
        let serve =
            |settings: &[(&str, &str)]| Process::serve(&database, &[settings, &roomy].concat());
        // The first one makes the keys.
        let here = serve(here);
        let here_channel = here.channel().await;
        let there = serve(there);
        let channels = (here_channel, there.channel().await);
        let owner = User::sign_up(&channels.0).await;
        let (project, stream_key) = owner.project().await;
        let replica = |process, channel| Replica {
            process,
            client: Client::with_token(&channel, &owner.tokens.access_token),
            channel,
        };
        Self {
            nats,
            here: replica(here, channels.0),
            there: replica(there, channels.1),
            owner,
            project,
            stream_key,
            database,
        }
    }

    /// A token of an operator key for media servers and relay workers.
    pub async fn operator_token(&self) -> String {
        let scopes = ["streams:publish", "relays:work"];
        let key = Process::create_operator_key_with(&self.database, &scopes).await;
        exchange(&self.here.channel, &key).await
    }

    /// A media server at the first replica.
    pub fn media_server(&self, token: &str) -> MediaServer {
        MediaServer {
            client: Client::with_token(&self.here.channel, token),
        }
    }

    /// The subject of the project.
    pub fn subject(&self) -> String {
        format!("sluice.v1.projects.{}", self.project.id)
    }
}

/// The value of a metric of NATS.
pub async fn metric(process: &Process, name: &str) -> f64 {
    let name = format!("sluice_nats_{name}");
    Scrape::of(process).await.value(&name, &[]).unwrap()
}

/// Waits until a replica is connected to NATS, or is not.
pub async fn wait_for_connected(process: &Process, connected: bool) {
    eventually("the connection changes", async || {
        let value = metric(process, "connected").await;
        (value == f64::from(u8::from(connected))).then_some(())
    })
    .await;
}
