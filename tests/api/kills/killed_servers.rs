use std::{env, sync::Arc, time::Duration};

use rstest::rstest;
use tokio::{task::LocalSet, time::sleep};

use super::{
    accounts::Accounts,
    api_keys::ApiKeys,
    caller::Callers,
    counts::Counts,
    destinations::Destinations,
    nodes::Nodes,
    operators::Operators,
    projects::Projects,
    publishes::Publishes,
    relays::{LEASE, Relays},
    renames::Renames,
    sessions::Sessions,
    stream_keys::StreamKeys,
    watches::{WatchedProject, Watches},
    webhooks::Webhooks,
    writer::Writers,
    written_rpcs::WRITTEN_RPCS,
};
use crate::harness::{Cluster, Engine, Postgres, Sqlite, TestDatabase, eventually};

/// Fast hashes, no rate limits, and no timeouts except that of relay leases.
const SETTINGS: [(&str, &str); 10] = [
    ("SLUICE_BCRYPT_COST", "4"),
    ("SLUICE_CALLER_RATE", "0"),
    ("SLUICE_ADDRESS_RATE", "0"),
    ("SLUICE_MAIL", "off"),
    ("SLUICE_ACCESS_TOKEN_LIFETIME", "1day"),
    ("SLUICE_HEARTBEAT_TIMEOUT", "1h"),
    ("SLUICE_CONNECT_TIMEOUT", "1h"),
    ("SLUICE_RELAY_LEASE", LEASE),
    ("SLUICE_WATCH_POLL_INTERVAL", "100ms"),
    ("SLUICE_MAX_WEBHOOKS", "10000"),
];

/// Number of acknowledged writes between two kills.
const WRITES_PER_KILL: usize = 20;

#[rstest]
#[case(Postgres, 2, 50)]
#[case(Sqlite, 1, 15)]
#[tokio::test]
async fn a_crash_loses_no_acknowledged_write_and_watchers_resume(
    #[case] engine: Engine,
    #[case] programs: usize,
    #[case] default_kills: usize,
) {
    let kills = kills_from_environment().unwrap_or(default_kills);
    let workload = kill_again_and_again(engine, programs, kills);
    LocalSet::new().run_until(workload).await;
}

/// The time before a kill. It varies, and is sometimes long enough for slow calls, such as those
/// that hash passwords.
fn pause(kill: usize) -> Duration {
    match kill % 5 {
        0 => Duration::from_secs(1),
        _ => Duration::from_millis(kill as u64 % 7),
    }
}

/// The number of kills on each engine, from `SLUICE_TEST_KILLS`.
fn kills_from_environment() -> Option<usize> {
    let kills = env::var("SLUICE_TEST_KILLS").ok()?;
    Some(kills.parse().expect("SLUICE_TEST_KILLS is a number"))
}

async fn kill_again_and_again(engine: Engine, programs: usize, kills: usize) {
    let database = TestDatabase::create(engine).await;
    let mut cluster = Cluster::start(database, programs, &SETTINGS).await;
    let mut workload = Workload::start(&cluster).await;

    for kill in 0..kills {
        workload.wait_for_progress().await;
        sleep(pause(kill)).await;
        cluster.kill(kill).await;
    }

    workload.wait_for_every_rpc().await;
    let checks = workload.writers.stop().await;
    println!("{engine:?}: {kills} kills\n{}", workload.counts);
    // What is read back comes from the database, not from the memory of a program.
    for program in 0..programs {
        cluster.kill(program).await;
    }
    workload.watches.check(kills).await;
    checks.run().await;
    println!("{engine:?}: every acknowledged write was read back");
}

/// Writers and watchers at work.
struct Workload {
    counts: Arc<Counts>,
    writers: Writers,
    watches: Watches,
}

impl Workload {
    async fn start(cluster: &Cluster) -> Self {
        let counts = Arc::<Counts>::default();
        let Callers {
            anonymous,
            owner,
            operator,
            administrator,
        } = Callers::sign_in(cluster, counts.clone()).await;
        let created = owner.create_project("Show").await;
        let stream_key = created.stream_key;
        let project = WatchedProject::new(&owner, &created.project.unwrap());

        let mut writers = Writers::default();
        writers.spawn(Accounts::new(&anonymous));
        writers.spawn(Sessions::start(&anonymous).await);
        writers.spawn(ApiKeys::new(&anonymous, &owner));
        writers.spawn(Projects::new(&owner));
        writers.spawn(Destinations::new(&owner));
        writers.spawn(StreamKeys::start(&owner, &operator).await);
        writers.spawn(Nodes::start(&owner, &operator).await);
        writers.spawn(Operators::new(&anonymous, &administrator));
        writers.spawn(Relays::new(&owner, &operator));
        writers.spawn(Webhooks::new(&owner));
        writers.spawn(Renames::new(&project, "Ada"));
        writers.spawn(Renames::new(&project, "Grace"));
        writers.spawn(Publishes::new(&project, &operator, stream_key));
        Self {
            counts,
            writers,
            watches: Watches::start(project, 2),
        }
    }

    /// Waits until more writes have been acknowledged, and every call that kills have interrupted for
    /// long: a lost assignment of a relay, for example, is repeated when its lease has expired.
    async fn wait_for_progress(&mut self) {
        let before = self.counts.total();
        eventually("writes are acknowledged", async || {
            self.writers.assert_running();
            self.watches.assert_running();
            let has_progress = self.counts.total() >= before + WRITES_PER_KILL;
            (has_progress && !self.counts.is_one_starving()).then_some(())
        })
        .await;
    }

    /// Waits until a write of every RPC has been acknowledged.
    async fn wait_for_every_rpc(&mut self) {
        eventually("every RPC is acknowledged", async || {
            self.writers.assert_running();
            let is_written = |rpc: &&str| self.counts.of(rpc) > 0;
            WRITTEN_RPCS.iter().all(is_written).then_some(())
        })
        .await;
    }
}
