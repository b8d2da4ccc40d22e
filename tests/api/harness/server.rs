use std::{net::SocketAddr, time::Duration};

use clap::Parser;
use sluice::{auth::Keys, config::Config, database::Database, server};
use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle, time::timeout};
use tonic::transport::{Channel, Endpoint};

use super::{Engine, TestDatabase, eventually};

/// A server in the process of the tests, on its own port.
pub struct TestServer {
    pub database: TestDatabase,
    pub channel: Channel,
    pub address: SocketAddr,
    running: Running,
    flags: Vec<String>,
}

struct Running {
    stop: oneshot::Sender<()>,
    task: JoinHandle<anyhow::Result<()>>,
}

/// Quick where the defaults are slow, and patient, since many tests share few cores.
const QUICK: [&str; 11] = [
    "--call-timeout=1min",
    "--bcrypt-cost=4",
    "--db-pool-size=3",
    "--db-acquire-timeout=5s",
    "--reap-interval=50ms",
    "--heartbeat-interval=1s",
    // A stream that a test begins stays live, however slow the machine is.
    "--heartbeat-timeout=5min",
    "--allow-private-destinations=false",
    "--env=development",
    "--operations-listen=127.0.0.1:0",
    // A server spends a tenth of a second on the descriptions.
    "--reflection=false",
];

impl TestServer {
    /// A server with a database of its own.
    pub async fn start(engine: Engine) -> Self {
        Self::start_with(engine, &[]).await
    }

    /// The same, with settings as flags, for example `--heartbeat-timeout=1s`.
    pub async fn start_with(engine: Engine, flags: &[&str]) -> Self {
        Self::over(TestDatabase::create(engine).await, flags).await
    }

    /// A server over a database that exists.
    pub async fn over(database: TestDatabase, flags: &[&str]) -> Self {
        let flags: Vec<String> = flags.iter().map(ToString::to_string).collect();
        let (address, running) = launch(&database, &flags).await;
        let channel = connect(address).await;
        Self {
            database,
            channel,
            address,
            running,
            flags,
        }
    }

    /// The same, with a connection that the test makes, for example with TLS.
    pub async fn reached(
        database: TestDatabase,
        flags: &[&str],
        reach: impl Fn(SocketAddr) -> Channel,
    ) -> Self {
        let flags: Vec<String> = flags.iter().map(ToString::to_string).collect();
        let (address, running) = launch(&database, &flags).await;
        let channel = serving(reach(address)).await;
        Self {
            database,
            channel,
            address,
            running,
            flags,
        }
    }

    /// Another server over the same database, with the same keys: a connection to it.
    pub async fn replica(&self) -> Channel {
        let (address, running) = launch(&self.database, &self.flags).await;
        // It runs until the test's runtime ends.
        std::mem::forget(running.stop);
        connect(address).await
    }

    /// Stops the server; its data stays.
    pub async fn stop(self) -> TestDatabase {
        self.running.stop().await;
        self.database
    }

    /// Stops the server and starts another over the same data.
    pub async fn restart(self) -> Self {
        let Self {
            database,
            running,
            flags,
            ..
        } = self;
        running.stop().await;
        let (address, running) = launch(&database, &flags).await;
        let channel = connect(address).await;
        Self {
            database,
            channel,
            address,
            running,
            flags,
        }
    }
}

impl Running {
    async fn stop(self) {
        self.stop.send(()).unwrap();
        timeout(Duration::from_secs(30), self.task)
            .await
            .unwrap()
            .unwrap()
            .unwrap();
    }
}

/// The settings that these flags make.
pub fn config(database: &TestDatabase, flags: &[String]) -> Config {
    let own = [
        format!("--data-dir={}", database.directory.path().display()),
        format!("--database-url={}", database.url),
    ];
    let quick = QUICK.iter().map(ToString::to_string);
    let all: Vec<_> = own
        .into_iter()
        .chain(quick)
        .chain(flags.iter().cloned())
        .collect();
    settings(&all)
}

/// The settings that these flags and no others make.
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

async fn launch(database: &TestDatabase, flags: &[String]) -> (SocketAddr, Running) {
    let config = config(database, flags);
    config.check().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let keys = Keys::load(&config.keys()).unwrap();
    let (stop, stopped) = oneshot::channel();

    let task = tokio::spawn(async move {
        let database = Database::open(&config.database());
        let shutdown = async { stopped.await.unwrap_or_default() };
        server::serve(listener, database, keys, &config, shutdown).await
    });
    (address, Running { stop, task })
}

/// A connection to a server, once it serves.
async fn connect(address: SocketAddr) -> Channel {
    let channel = Endpoint::from_shared(format!("http://{address}"))
        .unwrap()
        .connect_lazy();
    serving(channel).await
}

/// A connection, once the server at its end serves.
async fn serving(channel: Channel) -> Channel {
    eventually("the server serves", async || {
        let mut health = tonic_health::pb::health_client::HealthClient::new(channel.clone());
        let request = tonic_health::pb::HealthCheckRequest {
            service: String::new(),
        };
        let answer = health.check(request).await.ok()?.into_inner();
        (answer.status == 1).then_some(())
    })
    .await;
    channel
}
