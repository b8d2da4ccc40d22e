//! Faults of the primary under load.

use std::{env, sync::Arc, time::Duration};

use rstest::rstest;
use tokio::{
    task::LocalSet,
    time::{Instant, sleep},
};
use tonic::{Code, Status, transport::Channel};

use super::{media_server::BusyMediaServer, patroni::PatroniCluster, recovery::Recovery};
use crate::{
    harness::{Client, Process, Replicas, TestDatabase, eventually_within},
    kills::{
        caller::{Callers, Interruptions},
        counts::Counts,
        nodes::Nodes,
        projects::Projects,
        publishes::Publishes,
        relays::Relays,
        renames::Renames,
        watches::{WatchedProject, Watches},
        writer::Writers,
    },
};

/// What happens to a primary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// Patroni and all processes of PostgreSQL are killed.
    Kill,
    /// All processes of the machine are suspended, etcd too.
    Freeze,
    /// The machine reaches neither etcd nor the other machines; callers reach it.
    CutOff,
    /// An operator makes the synchronous standby the primary.
    SwitchOver,
}

impl Fault {
    /// The maximum time in which no write succeeds.
    const fn max_outage(self) -> Duration {
        match self {
            Self::SwitchOver => Duration::from_secs(10),
            _ => Duration::from_secs(30),
        }
    }
}

/// The default limits of calls and statements, and a lease that is shorter than each outage. A connection
/// may take longer than by default: without optimisation, its SCRAM takes a tenth of a second of a core.
const SETTINGS: [(&str, &str); 9] = [
    ("SLUICE_CALLER_RATE", "0"),
    ("SLUICE_ADDRESS_RATE", "0"),
    ("SLUICE_MAIL", "off"),
    ("SLUICE_ACCESS_TOKEN_LIFETIME", "1day"),
    ("SLUICE_CALL_TIMEOUT", "10s"),
    ("SLUICE_DB_ACQUIRE_TIMEOUT", "6s"),
    ("SLUICE_DB_TIMEOUT", "6s"),
    ("SLUICE_RELAY_LEASE", "10s"),
    ("SLUICE_WATCH_POLL_INTERVAL", "1s"),
];

/// What callers may see, for as long as an outage of the database and the end of a lost lease take.
const INTERRUPTIONS: Interruptions = Interruptions {
    includes: is_expected,
    longest: Duration::from_secs(120),
};

fn is_expected(status: &Status) -> bool {
    [Code::Unavailable, Code::DeadlineExceeded].contains(&status.code())
}

/// The pause between two writes of each writer.
const PAUSE: Duration = Duration::from_millis(200);

/// How often each fault happens: `SLUICE_TEST_FAILOVERS`, by default once.
fn rounds() -> usize {
    let rounds = env::var("SLUICE_TEST_FAILOVERS").ok();
    rounds.map_or(1, |rounds| {
        rounds.parse().expect("SLUICE_TEST_FAILOVERS is a number")
    })
}

#[rstest]
#[case::killed_or_replaced([Fault::Kill, Fault::SwitchOver])]
#[case::frozen_or_cut_off([Fault::Freeze, Fault::CutOff])]
#[ignore = "six servers of PostgreSQL need a machine of their own: docs/operations.md has the command"]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_primary_loses_no_write_and_ends_no_stream_or_relay(#[case] faults: [Fault; 2]) {
    LocalSet::new()
        .run_until(fail_again_and_again(&faults))
        .await;
}

async fn fail_again_and_again(faults: &[Fault]) {
    let mut cluster = PatroniCluster::start().await;
    let database = cluster.database();
    // One replica uses HAProxy, the other one the three servers.
    let servers = cluster.url_of_servers();
    let direct = SETTINGS
        .iter()
        .copied()
        .chain([("DATABASE_URL", &*servers)]);
    let replicas = [
        Process::serve(&database, &SETTINGS),
        Process::serve(&database, &direct.collect::<Vec<_>>()),
    ];
    let channels = [replicas[0].channel().await, replicas[1].channel().await];
    let mut workload = Workload::start(&database, channels).await;

    let mut outages = Vec::new();
    for round in 0..rounds() {
        for fault in faults.iter().copied() {
            let primary = cluster.wait_until_complete().await;
            workload.recovery.wait_for_writes().await;
            let outage = workload.outage_by(fault, primary, &mut cluster).await;
            println!("round {round}, {fault:?}: no write for {outage:?}");
            if outage > fault.max_outage() {
                println!("{}", cluster.logs());
            }
            assert!(outage <= fault.max_outage(), "{fault:?}: {outage:?}");
            outages.push((fault, outage));
        }
    }
    cluster.wait_until_complete().await;
    workload.check().await;
    for fault in faults {
        let mut of_fault: Vec<_> = outages.iter().filter(|(of, _)| of == fault).collect();
        of_fault.sort_unstable_by_key(|(_, outage)| *outage);
        let (_, median) = of_fault[of_fault.len() / 2];
        let (_, longest) = of_fault[of_fault.len() - 1];
        println!(
            "{fault:?}: {} times, median {median:?}, longest {longest:?}",
            of_fault.len()
        );
    }
}

/// Callers, live streams, relays and watchers.
struct Workload {
    counts: Arc<Counts>,
    writers: Writers,
    watches: Watches,
    media_server: BusyMediaServer,
    recovery: Recovery,
}

impl Workload {
    async fn start(database: &TestDatabase, channels: [Channel; 2]) -> Self {
        let counts = Arc::<Counts>::default();
        let replicas = Replicas::of(channels.to_vec());
        let callers = Callers::sign_in_to(database, replicas, counts.clone(), INTERRUPTIONS).await;
        let (owner, operator) = (&callers.owner, &callers.operator);
        let mut measured = Vec::new();
        for channel in &channels {
            let created = owner.create_project("Measured").await;
            let client = Client::with_token(channel, owner.access_token());
            measured.push((client, created.project.unwrap().id));
        }
        let media_server = BusyMediaServer::start(&callers).await;
        let created = owner.create_project("Show").await;
        let project = WatchedProject::new(owner, created.project.as_ref().unwrap());

        let mut writers = Writers::with_pause(PAUSE);
        writers.spawn(Projects::new(owner));
        writers.spawn(Nodes::start(owner, operator).await);
        writers.spawn(Relays::new(owner, operator));
        writers.spawn(Renames::new(&project, "Ada"));
        writers.spawn(Publishes::new(&project, operator, created.stream_key));
        Self {
            counts,
            writers,
            watches: Watches::start(project, 2),
            media_server,
            recovery: Recovery::start(measured),
        }
    }

    fn assert_running(&mut self) {
        self.writers.assert_running();
        self.watches.assert_running();
        self.media_server.assert_running();
        self.recovery.assert_running();
    }

    /// Causes a fault of the primary; returns the longest time in which no write succeeded at a replica.
    async fn outage_by(
        &mut self,
        fault: Fault,
        primary: usize,
        cluster: &mut PatroniCluster,
    ) -> Duration {
        self.recovery.reset();
        let begun = Instant::now();
        match fault {
            Fault::Kill => cluster.kill(primary),
            Fault::Freeze => cluster.freeze(primary),
            Fault::CutOff => cluster.cut_off(primary),
            Fault::SwitchOver => cluster.switch_over().await,
        }
        eventually_within(
            Duration::from_secs(90),
            "there is another primary",
            async || {
                self.assert_running();
                let next = cluster.primary().await;
                next.is_some_and(|next| next != primary).then_some(())
            },
        )
        .await;
        println!("{fault:?}: another primary after {:?}", begun.elapsed());
        self.recovery.wait_for_writes().await;
        let gaps = self.recovery.longest_gaps();
        println!(
            "{fault:?}: no write through HAProxy for {:?}, with three servers for {:?}",
            gaps[0], gaps[1]
        );
        // The old primary returns while callers write.
        match fault {
            Fault::Kill => cluster.restart().await,
            Fault::Freeze => cluster.thaw(primary),
            Fault::CutOff => cluster.reconnect(primary).await,
            Fault::SwitchOver => {}
        }
        sleep(Duration::from_secs(1)).await;
        self.assert_running();
        gaps.into_iter().max().unwrap()
    }

    /// Checks all that callers were told.
    async fn check(mut self) {
        self.assert_running();
        println!(
            "failed calls of the measurement: {:?}",
            self.recovery.failures()
        );
        assert!(!self.recovery.failures().is_empty());
        let checks = self.writers.stop().await;
        println!("{}", self.counts);
        self.watches.check(0).await;
        self.media_server.check().await;
        checks.run().await;
    }
}
