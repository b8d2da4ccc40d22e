use std::{
    collections::HashMap,
    env,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use futures_util::future::join_all;
use rstest::rstest;
use sluice::proto::v1 as pb;
use tokio::time::sleep;
use tonic::{Response, Status};
use uuid::Uuid;

use crate::{
    harness::{Cluster, Engine, MediaServer, Postgres, Sqlite, TestDatabase, eventually},
    kills::{
        caller::{Caller, Callers},
        counts::Counts,
    },
};

/// Fast hashes, no rate limits, streams that stay live, and short leases, so that relays are taken
/// over and assignments that a kill has lost are repeated.
const SETTINGS: [(&str, &str); 8] = [
    ("SLUICE_BCRYPT_COST", "4"),
    ("SLUICE_CALLER_RATE", "0"),
    ("SLUICE_ADDRESS_RATE", "0"),
    ("SLUICE_MAIL", "off"),
    ("SLUICE_ACCESS_TOKEN_LIFETIME", "1day"),
    ("SLUICE_HEARTBEAT_TIMEOUT", "1h"),
    ("SLUICE_RELAY_LEASE", "2s"),
    ("SLUICE_USAGE_INTERVAL", "50ms"),
];

/// The interval of the recording in [`SETTINGS`].
const USAGE_INTERVAL: Duration = Duration::from_millis(50);

/// Longer than a lease.
const LEASE_END: Duration = Duration::from_secs(3);

const DESTINATIONS: usize = 6;
const WORKERS: usize = 6;

/// The number of servers that are killed, unless `SLUICE_TEST_KILLS` names another.
const DEFAULT_KILLS: usize = 10;

/// What destinations have received.
#[derive(Debug, Default, Clone, Copy)]
struct Received {
    /// Bytes of relays whose end a worker has reported, and been acknowledged.
    proven: i64,
    /// Bytes of relays whose worker has gone without a word: the last 30 seconds of them are lost if
    /// the server is killed that got its reports. And those of a last report that was refused, although
    /// a try that a kill has interrupted may have been executed before the lease ended.
    uncertain: i64,
}

/// Counts, by id, what destinations have received.
#[derive(Debug, Default)]
struct Destinations(Mutex<HashMap<String, Received>>);

impl Destinations {
    fn receive(&self, id: &str, bytes: i64, is_proven: bool) {
        let mut received = self.0.lock().unwrap();
        let received = received.entry(id.to_owned()).or_default();
        match is_proven {
            true => received.proven += bytes,
            false => received.uncertain += bytes,
        }
    }
}

/// What became of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Accepted,
    /// Its lease was lost before.
    Refused,
    /// Its lease was lost before the last of several tries.
    Uncertain,
}

/// How a worker leaves a relay.
#[derive(Debug, Clone, Copy)]
enum Leave {
    /// It returns the lease, and the relay is tried again.
    Fails,
    /// It goes without a word, and the relay is taken over.
    Vanishes,
    /// The same, and reports more when its lease is over: that counts if nobody has taken it over,
    /// because a killed server could not end the lease in time.
    ReportsLate,
}

const LEAVES: [Leave; 5] = [
    Leave::Fails,
    Leave::Fails,
    Leave::Vanishes,
    Leave::Fails,
    Leave::ReportsLate,
];

/// Relay workers, each with one relay at a time.
#[derive(Clone)]
struct Workers {
    operator: Caller,
    destinations: Arc<Destinations>,
    are_stopped: Arc<AtomicBool>,
}

impl Workers {
    /// Runs relays as new workers, one after the other.
    async fn run(self, number: usize) {
        for turn in 0.. {
            let worker = format!("w{number}-{turn}");
            let Some(assignment) = self.claim(&worker).await else {
                return;
            };
            let leave = LEAVES[(number + turn) % LEAVES.len()];
            self.broadcast(&worker, &assignment, leave).await;
        }
    }

    /// An assignment; `None` when the workers are stopped.
    async fn claim(&self, worker: &str) -> Option<pb::RelayAssignment> {
        let request = pb::ClaimRelaysRequest {
            worker_id: worker.to_owned(),
            capacity: 1,
            ..Default::default()
        };
        self.operator
            .read("ClaimRelays", async |mut client| {
                if self.are_stopped.load(Relaxed) {
                    return Ok(Response::new(None));
                }
                let claiming = async {
                    let answer = client.stream.claim_relays(request.clone()).await?;
                    let mut messages = answer.into_inner();
                    while let Some(message) = messages.message().await? {
                        if let Some(assigned) = message.assignments.into_iter().next() {
                            return Ok(Response::new(Some(assigned)));
                        }
                    }
                    Err(Status::unavailable("the call has ended"))
                };
                tokio::select! {
                    claimed = claiming => claimed,
                    () = self.stop() => Ok(Response::new(None)),
                }
            })
            .await
    }

    async fn stop(&self) {
        while !self.are_stopped.load(Relaxed) {
            sleep(Duration::from_millis(50)).await;
        }
    }

    async fn broadcast(&self, worker: &str, assignment: &pb::RelayAssignment, leave: Leave) {
        let destination = &assignment.relay.as_ref().unwrap().destination_id;
        let mut sent = 0;
        for bytes in [1_000, 20, 300] {
            let outcome = self.report(worker, assignment, sent + bytes, None).await;
            if outcome != Outcome::Refused {
                sent += bytes;
            }
            if outcome != Outcome::Accepted {
                self.destinations.receive(destination, sent, false);
                return;
            }
            sleep(Duration::from_millis(50)).await;
        }
        let mut is_proven = false;
        match leave {
            Leave::Fails => {
                let error = pb::RelayError {
                    code: "DESTINATION_LOST".to_owned(),
                    severity: pb::RelayErrorSeverity::Retryable.into(),
                    message: "the connection was lost".to_owned(),
                };
                let more = 5;
                let failing = self.report(worker, assignment, sent + more, Some(error));
                let outcome = failing.await;
                is_proven = outcome == Outcome::Accepted;
                if outcome != Outcome::Refused {
                    sent += more;
                }
            }
            Leave::Vanishes => {}
            Leave::ReportsLate => {
                sleep(LEASE_END).await;
                let more = 7;
                let outcome = self.report(worker, assignment, sent + more, None).await;
                if outcome != Outcome::Refused {
                    sent += more;
                }
            }
        }
        self.destinations.receive(destination, sent, is_proven);
    }

    /// Reports what a relay has sent.
    async fn report(
        &self,
        worker: &str,
        assignment: &pb::RelayAssignment,
        bytes_sent: i64,
        error: Option<pb::RelayError>,
    ) -> Outcome {
        let state = match error {
            None => pb::RelayState::Broadcasting,
            Some(_) => pb::RelayState::Retrying,
        };
        let request = pb::ReportRelaysRequest {
            worker_id: worker.to_owned(),
            reports: vec![pb::RelayReport {
                lease_id: assignment.lease_id.clone(),
                state: state.into(),
                bytes_sent,
                error,
                ..Default::default()
            }],
            ..Default::default()
        };
        let mut tries = 0;
        let answer = self
            .operator
            .write("ReportRelays", async |mut client| {
                tries += 1;
                client.stream.report_relays(request.clone()).await
            })
            .await;
        match (answer.lost_lease_ids.is_empty(), tries) {
            (true, _) => Outcome::Accepted,
            (false, 1) => Outcome::Refused,
            (false, _) => Outcome::Uncertain,
        }
    }
}

#[rstest]
#[case(Postgres, 2)]
#[case(Sqlite, 1)]
#[tokio::test]
async fn usage_is_what_destinations_have_received_although_servers_are_killed(
    #[case] engine: Engine,
    #[case] replicas: usize,
) {
    let kills = env::var("SLUICE_TEST_KILLS").map_or(DEFAULT_KILLS, |kills| {
        kills.parse().expect("SLUICE_TEST_KILLS is a number")
    });
    let database = TestDatabase::create(engine).await;
    let mut cluster = Cluster::start(database, replicas, &SETTINGS).await;
    let callers = Callers::sign_in(&cluster, Arc::<Counts>::default()).await;
    begin_stream(&callers).await;
    let workers = Workers {
        operator: callers.operator.clone(),
        destinations: Arc::default(),
        are_stopped: Arc::default(),
    };

    let running = join_all((0..WORKERS).map(|number| workers.clone().run(number)));
    let killing = async {
        for kill in 0..kills {
            sleep(Duration::from_millis(1500 + 300 * (kill as u64 % 5))).await;
            cluster.kill(kill).await;
        }
        workers.are_stopped.store(true, Relaxed);
    };
    tokio::join!(running, killing);

    let received = workers.destinations.0.lock().unwrap().clone();
    println!("{engine:?}: {kills} kills, {received:?}");
    assert_eq!(received.len(), DESTINATIONS, "all have received media");
    for (id, Received { proven, .. }) in &received {
        eventually("the usage is recorded", async || {
            (delivered(&callers.owner, id).await >= *proven).then_some(())
        })
        .await;
    }
    // Whatever else would be recorded, is by now.
    sleep(USAGE_INTERVAL * 10).await;
    for (id, Received { proven, uncertain }) in received {
        let recorded = delivered(&callers.owner, &id).await;
        let is_exact = (proven..=proven + uncertain).contains(&recorded);
        assert!(
            proven > 0 && is_exact,
            "{id}: {recorded} of {proven} and {uncertain}"
        );
    }
}

/// Begins a stream with relays to all destinations.
async fn begin_stream(callers: &Callers) {
    let created = callers.owner.create_project("Show").await;
    for number in 0..DESTINATIONS {
        let request = pb::CreateDestinationRequest {
            project_id: created.project.as_ref().unwrap().id.clone(),
            platform: pb::Platform::Custom.into(),
            display_name: format!("Destination {number}"),
            url: "rtmp://live.example.com/app".to_owned(),
            stream_key: format!("key-of-destination-{number}"),
            request_id: Uuid::now_v7().to_string(),
            ..Default::default()
        };
        callers
            .owner
            .write("CreateDestination", async |mut client| {
                client.project.create_destination(request.clone()).await
            })
            .await;
    }
    let request = pb::BeginPublishRequest {
        stream_key: created.stream_key,
        publisher: Some(MediaServer::connection("c1")),
        ..Default::default()
    };
    let stream = callers.operator.begin_publish(&request).await;
    callers.operator.heartbeat(&stream).await;
}

/// The bytes that are recorded as delivered to a destination.
async fn delivered(owner: &Caller, destination_id: &str) -> i64 {
    let request = pb::ListUsageRequest {
        destination_id: destination_id.to_owned(),
        start_time: Some(prost_types::Timestamp::default()),
        ..Default::default()
    };
    let answer = owner
        .read("ListUsage", async |mut client| {
            client.usage.list_usage(request.clone()).await
        })
        .await;
    let usages = answer.records.iter().filter_map(|record| record.usage);
    usages.map(|usage| usage.bytes_delivered).sum()
}
