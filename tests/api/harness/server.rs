use std::{net::SocketAddr, time::Duration};

use clap::Parser;
use sluice::{auth::Keys, config::Config, database::Database, server};
use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle, time::timeout};
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use super::{Engine, PgBouncer, PoolMode, Pooling, TestDatabase, eventually};

/// A server in the test process, on a free port.
pub struct TestServer {
    pub database: TestDatabase,
    pub channel: Channel,
    pub address: SocketAddr,
    handle: ServerHandle,
    flags: Vec<String>,
    /// With `SLUICE_TEST_POOLER`: what the server uses its database through.
    pooler: Option<PgBouncer>,
}

struct ServerHandle {
    stop: oneshot::Sender<()>,
    task: JoinHandle<anyhow::Result<()>>,
}

/// Short intervals instead of slow defaults, and long timeouts because many tests share few
/// cores.
const TEST_FLAGS: [&str; 20] = [
    "--call-timeout=1min",
    "--bcrypt-cost=4",
    // One address has an eighth, and all tests have the same address.
    "--password-queue=1000",
    "--max-anonymous-connections=10000",
    "--address-connection-rate=0",
    "--unused-connection-timeout=10min",
    "--db-pool-size=3",
    "--db-acquire-timeout=20s",
    "--db-timeout=20s",
    "--reap-interval=50ms",
    "--heartbeat-interval=1s",
    // Streams of tests stay live even on a slow machine.
    "--heartbeat-timeout=5min",
    "--allow-private-destinations=false",
    "--webauthn-rp-id=example.com",
    "--webauthn-origins=https://app.example.com",
    "--env=development",
    "--operations-listen=127.0.0.1:0",
    // Tests compare all rows before and after a call.
    "--usage-interval=1h",
    "--relay-wait-timeout=1h",
    // Building the descriptors takes a tenth of a second.
    "--reflection=false",
];

impl TestServer {
    /// Starts a server with a new database.
    pub async fn start(engine: Engine) -> Self {
        Self::start_with(engine, &[]).await
    }

    /// Starts a server with a new database and flags such as `--heartbeat-timeout=1s`.
    pub async fn start_with(engine: Engine, flags: &[&str]) -> Self {
        Self::start_on(TestDatabase::create(engine).await, flags).await
    }

    /// Starts a server on an existing database.
    pub async fn start_on(database: TestDatabase, flags: &[&str]) -> Self {
        Self::launch_on(database, flags, connect).await
    }

    /// Starts a server on an existing database, with a custom channel, for example with TLS.
    pub async fn start_with_channel(
        database: TestDatabase,
        flags: &[&str],
        connect: impl Fn(SocketAddr) -> Channel,
    ) -> Self {
        let connect = async |address| wait_until_healthy(connect(address)).await;
        Self::launch_on(database, flags, connect).await
    }

    async fn launch_on(
        database: TestDatabase,
        flags: &[&str],
        connect: impl AsyncFnOnce(SocketAddr) -> Channel,
    ) -> Self {
        let pooler = match database.pooling {
            Pooling::Environment => PgBouncer::of_environment(&database).await,
            Pooling::Shared(_) | Pooling::Direct => None,
        };
        let pooled = match (&pooler, &database.pooling) {
            (Some(pooler), _) => pooler.flags().to_vec(),
            (None, Pooling::Shared(url)) => PoolMode::Transaction.flags(url).to_vec(),
            (None, Pooling::Environment | Pooling::Direct) => Vec::new(),
        };
        let flags: Vec<_> = pooled
            .into_iter()
            .chain(flags.iter().map(ToString::to_string))
            .collect();
        let (address, handle) = launch(&database, &flags).await;
        Self {
            database,
            channel: connect(address).await,
            address,
            handle,
            flags,
            pooler,
        }
    }

    /// Starts another server with the same database and keys; returns a connection to it.
    pub async fn replica(&self) -> Channel {
        let (address, handle) = launch(&self.database, &self.flags).await;
        // The replica runs until the test's runtime ends.
        std::mem::forget(handle.stop);
        connect(address).await
    }

    /// Waits until health checks of the server and of a service have this answer.
    pub async fn wait_for_health(&self, status: ServingStatus) {
        let mut client = HealthClient::new(self.channel.clone());
        for service in ["", "sluice.v1.AuthService"] {
            let request = HealthCheckRequest {
                service: service.to_owned(),
            };
            eventually("the health changes", async || {
                let answer = client.check(request.clone()).await.unwrap();
                (answer.into_inner().status() == status).then_some(())
            })
            .await;
        }
    }

    /// Stops the server; returns its database.
    pub async fn stop(self) -> TestDatabase {
        self.handle.stop().await;
        self.database
    }

    /// Stops the server and starts a new one with the same database and flags.
    pub async fn restart(self) -> Self {
        let Self {
            database,
            handle,
            flags,
            pooler,
            ..
        } = self;
        handle.stop().await;
        let (address, handle) = launch(&database, &flags).await;
        let channel = connect(address).await;
        Self {
            database,
            channel,
            address,
            handle,
            flags,
            pooler,
        }
    }
}

impl ServerHandle {
    async fn stop(self) {
        self.stop.send(()).unwrap();
        timeout(Duration::from_secs(60), self.task)
            .await
            .unwrap()
            .unwrap()
            .unwrap();
    }
}

/// The configuration for a test: `TEST_FLAGS`, overridden by `flags`.
pub fn config(database: &TestDatabase, flags: &[String]) -> Config {
    let own = [
        format!("--data-dir={}", database.directory.path().display()),
        format!("--database-url={}", database.url),
    ];
    let defaults = TEST_FLAGS.iter().map(ToString::to_string);
    let all: Vec<_> = own
        .into_iter()
        .chain(defaults)
        .chain(flags.iter().cloned())
        .collect();
    settings(&all)
}

/// The configuration from these flags only.
pub fn settings(flags: &[String]) -> Config {
    #[derive(Parser)]
    #[command(args_override_self = true)]
    struct Flags {
        #[command(flatten)]
        config: Config,
    }

    let program = "sluice".to_owned();
    Flags::parse_from([&program].into_iter().chain(flags)).config
}

async fn launch(database: &TestDatabase, flags: &[String]) -> (SocketAddr, ServerHandle) {
    let config = config(database, flags);
    config.check().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let keys = Keys::load(&config.keys()).unwrap();
    let (stop, stopped) = oneshot::channel();

    let task = tokio::spawn(async move {
        let database = Database::open(&config.database());
        let shutdown = async { stopped.await.unwrap_or_default() };
        server::serve(vec![listener.into()], database, keys, &config, shutdown).await
    });
    (address, ServerHandle { stop, task })
}

/// Connects to a server; waits until it is healthy.
async fn connect(address: SocketAddr) -> Channel {
    let channel = Endpoint::from_shared(format!("http://{address}"))
        .unwrap()
        .connect_lazy();
    wait_until_healthy(channel).await
}

/// Waits until the server of a channel is healthy; returns the channel.
async fn wait_until_healthy(channel: Channel) -> Channel {
    eventually("the server is healthy", async || {
        let mut health = HealthClient::new(channel.clone());
        let response = health.check(HealthCheckRequest::default()).await.ok()?;
        (response.into_inner().status() == ServingStatus::Serving).then_some(())
    })
    .await;
    channel
}
