use std::{cell::RefCell, collections::BTreeMap, rc::Rc, time::Duration};

use sluice::proto::v1::{self as pb, watch_project_response::Event};
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};
use tonic::Response;
use uuid::Uuid;

use crate::{
    harness::eventually,
    kills::{
        caller::{Caller, Callers},
        watches::WatchedProject,
    },
};

const NODE: &str = "media-1";
const WORKER: &str = "worker-1";

/// Numbers of live streams, and of the relays of each.
const STREAMS: usize = 4;
const RELAYS: usize = 2;

/// Between two reports of all connections, or of all relays: an edge's, scaled down like the lease.
const REPORT_INTERVAL: Duration = Duration::from_secs(2);

/// Streams that are live during the whole test, and their relays: what an edge does for them.
pub struct BusyMediaServer {
    streams: Vec<LiveStream>,
    assignments: Rc<RefCell<BTreeMap<String, Assigned>>>,
    tasks: JoinSet<()>,
}

/// A stream that must not end.
struct LiveStream {
    project: WatchedProject,
    stream_key: String,
    stream: pb::Stream,
}

/// A relay that must not stop: its destination, lease and the bytes sent.
struct Assigned {
    lease_id: String,
    bytes_sent: i64,
}

impl BusyMediaServer {
    /// Begins the streams, and runs their relays.
    pub async fn start(callers: &Callers) -> Self {
        let (owner, media) = (&callers.owner, &callers.operator);
        let mut streams = Vec::new();
        for number in 0..STREAMS {
            streams.push(LiveStream::begin(owner, media, number).await);
        }
        let assignments = Rc::<RefCell<_>>::default();
        let mut tasks = JoinSet::new();
        tasks.spawn_local(sync(media.clone(), connections(&streams)));
        tasks.spawn_local(claim(media.clone(), Rc::clone(&assignments)));
        tasks.spawn_local(report(media.clone(), Rc::clone(&assignments)));
        let server = Self {
            streams,
            assignments,
            tasks,
        };
        eventually("all relays broadcast", async || {
            let states = server.relay_states().await;
            (states == [pb::RelayState::Broadcasting; STREAMS * RELAYS]).then_some(())
        })
        .await;
        server
    }

    /// Fails as soon as a stream or a relay has failed.
    pub fn assert_running(&mut self) {
        if let Some(ended) = self.tasks.try_join_next() {
            ended.expect("no stream and no relay fails");
        }
    }

    /// Checks that no stream has ended and no relay has stopped, according to the events.
    pub async fn check(mut self) {
        self.assert_running();
        let states = self.relay_states().await;
        assert_eq!(states, [pb::RelayState::Broadcasting; STREAMS * RELAYS]);
        for live in &self.streams {
            let (mut stream_states, mut relay_states) = (Vec::new(), BTreeMap::<_, Vec<_>>::new());
            for event in live.project.history().await.into_values() {
                match event {
                    Event::StreamChanged(stream) => stream_states.push(stream.state()),
                    Event::RelayChanged(relay) => {
                        let state = relay.state();
                        let of_relay = relay_states.entry(relay.destination_id).or_default();
                        if of_relay.last() != Some(&state) {
                            of_relay.push(state);
                        }
                    }
                    _ => {}
                }
            }
            stream_states.dedup();
            let ended = |state: &pb::StreamState| *state != pb::StreamState::Live;
            assert!(
                !stream_states.iter().skip(1).any(ended),
                "{stream_states:?}"
            );
            assert_eq!(relay_states.len(), RELAYS);
            for states in relay_states.values() {
                use pb::RelayState::{Broadcasting, Idle, Starting};
                assert_eq!(states[..], [Idle, Starting, Broadcasting]);
            }
        }
        assert_eq!(self.assignments.borrow().len(), STREAMS * RELAYS);
    }

    async fn relay_states(&self) -> Vec<pb::RelayState> {
        let mut states = Vec::new();
        for live in &self.streams {
            let request = pb::ListRelaysRequest {
                stream_id: live.stream.id.clone(),
                ..Default::default()
            };
            let answer = live
                .project
                .owner
                .read("ListRelays", async |mut client| {
                    client.stream.list_relays(request.clone()).await
                })
                .await;
            states.extend(answer.relays.iter().map(pb::Relay::state));
        }
        states
    }
}

impl LiveStream {
    async fn begin(owner: &Caller, media: &Caller, number: usize) -> Self {
        let created = owner.create_project(&format!("Live {number}")).await;
        let project = WatchedProject::new(owner, &created.project.unwrap());
        for relay in 0..RELAYS {
            let request = pb::CreateDestinationRequest {
                project_id: project.id.clone(),
                platform: pb::Platform::Custom.into(),
                display_name: format!("Destination {relay}"),
                url: "rtmp://live.example.com/app".to_owned(),
                stream_key: Uuid::now_v7().to_string(),
                request_id: Uuid::now_v7().to_string(),
                ..Default::default()
            };
            owner
                .write("CreateDestination", async |mut client| {
                    client.project.create_destination(request.clone()).await
                })
                .await;
        }
        let request = pb::BeginPublishRequest {
            stream_key: created.stream_key.clone(),
            publisher: Some(pb::Publisher {
                node_id: NODE.to_owned(),
                boot_id: "b1".to_owned(),
                connection_id: format!("c{number}"),
                ..Default::default()
            }),
            media_flowing: true,
            ..Default::default()
        };
        Self {
            project,
            stream_key: created.stream_key,
            stream: media.begin_publish(&request).await,
        }
    }
}

fn connections(streams: &[LiveStream]) -> Vec<pb::NodeConnection> {
    let connection = |live: &LiveStream| pb::NodeConnection {
        connection_id: live
            .stream
            .publisher
            .as_ref()
            .unwrap()
            .connection_id
            .clone(),
        stream_id: live.stream.id.clone(),
        epoch: live.stream.epoch,
        stream_key: live.stream_key.clone(),
        ..Default::default()
    };
    streams.iter().map(connection).collect()
}

/// Reports all connections again and again: none is to be closed, and none is unknown.
async fn sync(media: Caller, connections: Vec<pb::NodeConnection>) {
    let request = pb::SyncNodeRequest {
        node_id: NODE.to_owned(),
        boot_id: "b1".to_owned(),
        connections,
    };
    loop {
        let answer = media
            .write("SyncNode", async |mut client| {
                client.stream.sync_node(request.clone()).await
            })
            .await;
        assert!(
            answer.kicks.is_empty()
                && answer.adoptions.is_empty()
                && answer.ended_stream_ids.is_empty(),
            "{answer:?}"
        );
        sleep(REPORT_INTERVAL).await;
    }
}

/// Takes relays. Each is assigned once, and none is revoked.
async fn claim(media: Caller, assignments: Rc<RefCell<BTreeMap<String, Assigned>>>) {
    let request = pb::ClaimRelaysRequest {
        worker_id: WORKER.to_owned(),
        node_id: NODE.to_owned(),
        capacity: 100,
        ..Default::default()
    };
    loop {
        let mut messages = media
            .read("ClaimRelays", async |mut client| {
                client
                    .stream
                    .claim_relays(request.clone())
                    .await
                    .map(|answer| Response::new(answer.into_inner()))
            })
            .await;
        loop {
            // A keep-alive is sent after 10 seconds.
            match timeout(Duration::from_secs(20), messages.message()).await {
                Ok(Ok(Some(message))) => {
                    assert_eq!(message.revocations, []);
                    for assignment in message.assignments {
                        let destination_id = assignment.relay.unwrap().destination_id;
                        let assigned = Assigned {
                            lease_id: assignment.lease_id,
                            bytes_sent: 0,
                        };
                        let earlier = assignments.borrow_mut().insert(destination_id, assigned);
                        assert!(earlier.is_none(), "a relay is assigned once");
                    }
                }
                Ok(Err(status)) => {
                    assert!(media.is_interrupted_by(&status), "{status:?}");
                    break;
                }
                Ok(Ok(None)) | Err(_) => break,
            }
        }
    }
}

/// Reports all relays again and again: no lease is lost.
async fn report(media: Caller, assignments: Rc<RefCell<BTreeMap<String, Assigned>>>) {
    loop {
        let report = |assigned: &mut Assigned| {
            assigned.bytes_sent += 100_000;
            pb::RelayReport {
                lease_id: assigned.lease_id.clone(),
                state: pb::RelayState::Broadcasting.into(),
                bytes_sent: assigned.bytes_sent,
                ..Default::default()
            }
        };
        let reports: Vec<_> = assignments.borrow_mut().values_mut().map(report).collect();
        if !reports.is_empty() {
            let request = pb::ReportRelaysRequest {
                worker_id: WORKER.to_owned(),
                reports,
                ..Default::default()
            };
            let answer = media
                .write("ReportRelays", async |mut client| {
                    client.stream.report_relays(request.clone()).await
                })
                .await;
            assert_eq!(answer.lost_lease_ids, Vec::<String>::new());
        }
        sleep(REPORT_INTERVAL).await;
    }
}
