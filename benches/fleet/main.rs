//! What a fleet of edges costs PostgreSQL and the server.
//!
//! `tests/run bench --bench fleet -- 1000 10000` runs the real server on a new database of the
//! PostgreSQL server that `SLUICE_TEST_POSTGRES_URL` names, with simulated edges over real gRPC:
//! 10 live streams each with 3 relays. Every edge claims and runs relays, reports them every 2
//! seconds, and reports all connections every 10 seconds. Each number of live streams is
//! measured at rest, then with 30,000 relays that wait at media servers without a worker, then with
//! publishers that come and go and watchers that see it.
//!
//! Time can pass more slowly than on the wall: with `--clock 0.25` a second of the fleet takes
//! four, for a machine that cannot run it faster. All rates are per second of the fleet. Timeouts
//! of the server are longer accordingly. Its own polls are not, so their share is overstated; and
//! latencies are those of the wall. The simulation runs on the same cores.
//! With `--profile dev` before `--bench` it needs no release build: PostgreSQL costs the same then,
//! the server more.

mod edge;
mod figures;
#[path = "../load/machine.rs"]
#[expect(dead_code, reason = "other benchmarks measure memory")]
mod machine;
mod owner;
mod seed;
#[path = "../load/servers.rs"]
#[expect(dead_code, reason = "other benchmarks compare programs and engines")]
mod servers;

use std::{env, sync::Arc, time::Duration};

use anyhow::Context;
use edge::{Edge, Latencies};
use figures::{Phase, Snapshot};
use futures_util::future::try_join_all;
use owner::Owner;
use seed::Seed;
use servers::{Bench, Storage};
use tokio::{
    task::JoinSet,
    time::{Instant, interval, sleep},
};
use tonic::transport::Channel;

const STREAMS_PER_EDGE: usize = 10;
const DESTINATIONS: usize = 3;

/// The relays that wait at media servers without a worker.
const UNCLAIMED: usize = 30_000;

/// The edges that share a connection.
const EDGES_PER_CONNECTION: usize = 20;

/// The edges that start at a time.
const STARTING: usize = 8;

/// The watched projects.
const WATCHERS: usize = 500;

/// How long a stream lasts.
const STREAM_TIME: Duration = Duration::from_secs(2 * 3600);

/// How long a phase takes on the wall.
const PHASE_TIME: Duration = Duration::from_secs(40);

/// How long relays may take to be claimed.
const CLAIM_TIMEOUT: Duration = Duration::from_secs(600);

/// Seconds of the fleet in a second of the wall.
#[derive(Clone, Copy)]
pub struct Clock(f64);

impl Clock {
    /// A duration of the fleet on the wall.
    pub fn wall(self, of_fleet: Duration) -> Duration {
        of_fleet.div_f64(self.0)
    }

    /// A duration of the wall in the fleet.
    pub fn fleet(self, of_wall: Duration) -> Duration {
        of_wall.mul_f64(self.0)
    }

    /// A setting of the server.
    fn setting(self, seconds: u64) -> String {
        format!("{}ms", self.wall(Duration::from_secs(seconds)).as_millis())
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let (mut clock, mut sizes) = (Clock(1.0), Vec::new());
    let mut arguments = env::args().skip(1).filter(|argument| argument != "--bench");
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--clock" => clock = Clock(arguments.next().context("a number")?.parse()?),
            size => sizes.push(size.parse().context("a number of live streams")?),
        }
    }
    if sizes.is_empty() {
        sizes.push(1000);
    }
    for streams in sizes {
        let bench = Bench::begin().await?;
        let measured = measure(&bench, streams, clock).await;
        bench.end().await?;
        measured?;
    }
    Ok(())
}

async fn measure(bench: &Bench, streams: usize, clock: Clock) -> anyhow::Result<()> {
    let side = bench.ours();
    let (heartbeat, lease, stall) = (clock.setting(35), clock.setting(15), clock.setting(10));
    let settings = [
        ("SLUICE_HEARTBEAT_TIMEOUT", heartbeat.as_str()),
        ("SLUICE_RELAY_LEASE", lease.as_str()),
        ("SLUICE_RELAY_STALL_TIMEOUT", stall.as_str()),
        ("SLUICE_MAX_USER_WATCHES", "1000"),
        ("SLUICE_MAX_CALLS", "4096"),
        ("SLUICE_MAX_CONNECTION_CALLS", "4096"),
        ("SLUICE_BCRYPT_COST", "4"),
    ];
    let server = side.serve(Storage::Postgres, &settings)?;
    let secret = side.operator_key(Storage::Postgres, &["streams:publish", "relays:work"])?;
    let edges = streams.div_ceil(STREAMS_PER_EDGE);
    println!(
        "{streams} live streams, {} relays, {edges} edges; the clock runs at {}",
        streams * DESTINATIONS,
        clock.0
    );
    let owner = Owner::sign_up(&server).await?;
    let mut seed = Seed::connect(side, &owner.user_id).await?;
    let projects = seed.projects(streams).await?;

    let latencies = Arc::<Latencies>::default();
    let token = edge::exchange(&server, secret).await?;
    let mut channels = Vec::new();
    for _ in 0..edges.div_ceil(EDGES_PER_CONNECTION) {
        let address = format!("http://{}", server.address);
        channels.push(Channel::from_shared(address)?.connect().await?);
    }
    let mut fleet = Vec::new();
    for (number, projects) in projects.chunks(STREAMS_PER_EDGE).enumerate() {
        let channel = channels[number / EDGES_PER_CONNECTION].clone();
        let latencies = Arc::clone(&latencies);
        let edge = Edge::new(number, channel, &token, projects.to_vec(), latencies)?;
        fleet.push(Arc::new(edge));
    }
    let mut running = JoinSet::new();
    let begun = Instant::now();
    for starting in fleet.chunks(STARTING) {
        try_join_all(starting.iter().map(|edge| edge.begin_streams())).await?;
        for edge in starting {
            running.spawn(Arc::clone(edge).run(clock));
        }
    }
    let relays = streams * DESTINATIONS;
    while fleet.iter().map(|edge| edge.relays()).sum::<usize>() < relays {
        anyhow::ensure!(
            begun.elapsed() < CLAIM_TIMEOUT,
            "not all relays are claimed"
        );
        sleep(Duration::from_millis(200)).await;
    }
    println!(
        "  all streams are live and all relays claimed after {:.0} s",
        begun.elapsed().as_secs_f64()
    );
    latencies.clear();
    seed.analyze().await?;
    // All relays are covered by the leases of their workers.
    sleep(clock.wall(Duration::from_secs(5))).await;

    let phase = async |name: &str, seed: &mut Seed| {
        let before = Snapshot::take(seed, &server, &latencies).await?;
        sleep(PHASE_TIME).await;
        let after = Snapshot::take(seed, &server, &latencies).await?;
        Phase::between(&before, &after, clock, edges).print(name);
        anyhow::Ok(())
    };
    phase("at rest", &mut seed).await?;
    seed.unclaimed(UNCLAIMED / DESTINATIONS).await?;
    phase("with 30,000 unclaimed relays", &mut seed).await?;

    let watched: Vec<_> = projects.iter().take(WATCHERS).cloned().collect();
    let watchers = owner.watch(&channels[0], &watched, &latencies).await?;
    let churn = tokio::spawn(churn(fleet.clone(), streams, clock));
    phase("with publishers that come and go, and watchers", &mut seed).await?;
    churn.abort();
    drop(watchers);
    latencies.print();
    running.shutdown().await;
    Ok(())
}

/// Ends streams, and begins others in their place, so that each lasts two hours.
async fn churn(fleet: Vec<Arc<Edge>>, streams: usize, clock: Clock) -> anyhow::Result<()> {
    let each = STREAM_TIME.div_f64(streams as f64);
    let mut ticks = interval(clock.wall(each));
    let edges = fleet.iter().cycle();
    for (number, edge) in edges.enumerate() {
        ticks.tick().await;
        edge.replace_stream(number / fleet.len()).await?;
    }
    Ok(())
}
