use sluice::proto::v1 as pb;
use tokio::time::{Duration, Instant};
use tonic::{Response, Status};

use super::{caller::Caller, destinations::create_destination, writer::Writer};
use crate::harness::{MediaServer, eventually};

/// The duration of a lease. After a kill, an assignment may be lost until its lease expires.
pub const LEASE: &str = "5s";

/// Time after a report within which its lease is valid for certain.
const SAFE_TIME: Duration = Duration::from_secs(2);

/// Number of relays of one stream.
const STREAM_SIZE: usize = 20;

/// Starts, claims, reports and stops relays.
pub struct Relays {
    owner: Caller,
    /// The media server and the workers.
    operator: Caller,
    stream: pb::Stream,
    relays: Vec<KnownRelay>,
}

/// The acknowledged state of a relay.
struct KnownRelay {
    stream_id: String,
    destination_id: String,
    state: (pb::RelayDesiredState, pb::RelayState),
}

impl Relays {
    pub fn new(owner: &Caller, operator: &Caller) -> Self {
        Self {
            owner: owner.clone(),
            operator: operator.clone(),
            stream: pb::Stream::default(),
            relays: Vec::new(),
        }
    }

    /// Begins a stream of a new project.
    async fn begin_stream(&mut self, number: usize) {
        let created = self.owner.create_project("Relays").await;
        let request = pb::BeginPublishRequest {
            stream_key: created.stream_key,
            publisher: Some(MediaServer::connection(&format!("relayed{number}"))),
            ..Default::default()
        };
        self.stream = self.operator.begin_publish(&request).await;
        self.operator.heartbeat(&self.stream).await;
    }

    async fn start_relay(&self, destination_id: &str) {
        let request = pb::StartRelayRequest {
            stream_id: self.stream.id.clone(),
            destination_id: destination_id.to_owned(),
            ..Default::default()
        };
        self.owner
            .write("StartRelay", async |mut client| {
                client.stream.start_relay(request.clone()).await
            })
            .await;
        let relay = self.relay(&self.stream.id, destination_id).await;
        assert_eq!(relay.desired_state(), pb::RelayDesiredState::Started);
    }

    async fn stop_relay(&self, destination_id: &str) {
        let request = pb::StopRelayRequest {
            stream_id: self.stream.id.clone(),
            destination_id: destination_id.to_owned(),
            ..Default::default()
        };
        self.owner
            .write("StopRelay", async |mut client| {
                client.stream.stop_relay(request.clone()).await
            })
            .await;
        let relay = self.relay(&self.stream.id, destination_id).await;
        assert_eq!(relay.desired_state(), pb::RelayDesiredState::Stopped);
    }

    /// The lease of a relay that a worker is assigned.
    async fn claim(&self, worker_id: &str, destination_id: &str) -> String {
        let request = pb::ClaimRelaysRequest {
            worker_id: worker_id.to_owned(),
            node_id: String::new(),
            capacity: 1,
            ..Default::default()
        };
        let is_claimed = |assignment: &pb::RelayAssignment| {
            assignment.relay.as_ref().unwrap().destination_id == destination_id
        };
        let assignment = self
            .operator
            .write("ClaimRelays", async |mut client| {
                let answer = client.stream.claim_relays(request.clone()).await?;
                let mut messages = answer.into_inner();
                while let Some(message) = messages.message().await? {
                    let assigned = message.assignments.into_iter().find(is_claimed);
                    if let Some(assignment) = assigned {
                        return Ok(Response::new(assignment));
                    }
                }
                Err(Status::unavailable("the call has ended"))
            })
            .await;
        assignment.lease_id
    }

    /// Reports a relay; returns whether the lease was valid.
    async fn report(&self, worker_id: &str, report: pb::RelayReport) -> bool {
        let request = pb::ReportRelaysRequest {
            worker_id: worker_id.to_owned(),
            reports: vec![report],
            ..Default::default()
        };
        let answer = self
            .operator
            .write("ReportRelays", async |mut client| {
                client.stream.report_relays(request.clone()).await
            })
            .await;
        answer.lost_lease_ids.is_empty()
    }

    /// Claims a relay and reports bytes, until a report comes before the lease expires; returns the
    /// lease.
    async fn broadcast(&self, worker_id: &str, destination_id: &str) -> String {
        loop {
            let lease_id = self.claim(worker_id, destination_id).await;
            let report = pb::RelayReport {
                lease_id: lease_id.clone(),
                state: pb::RelayState::Broadcasting.into(),
                bytes_sent: 1000,
                ..Default::default()
            };
            let before = Instant::now();
            if !self.report(worker_id, report).await {
                continue;
            }
            let relay = self.relay(&self.stream.id, destination_id).await;
            if before.elapsed() < SAFE_TIME {
                assert_eq!(relay.state(), pb::RelayState::Broadcasting, "{relay:?}");
                assert_eq!((&*relay.worker_id, relay.bytes_sent), (worker_id, 1000));
            }
            return lease_id;
        }
    }

    /// Stops a relay that a worker holds.
    async fn finish(&self, worker_id: &str, lease_id: String, destination_id: &str) {
        self.stop_relay(destination_id).await;
        let report = pb::RelayReport {
            lease_id,
            state: pb::RelayState::Idle.into(),
            ..Default::default()
        };
        // The lease is lost if an interrupted try has given it back, or if it has expired.
        self.report(worker_id, report).await;
    }

    /// Fails a relay that a worker holds. Another lease follows if this one has expired.
    async fn fail(&self, worker_id: &str, mut lease_id: String, destination_id: &str) {
        loop {
            let report = pb::RelayReport {
                lease_id,
                state: pb::RelayState::Failed.into(),
                error: Some(pb::RelayError {
                    code: "KEY_REFUSED".to_owned(),
                    severity: pb::RelayErrorSeverity::Fatal.into(),
                    message: "the key was refused".to_owned(),
                }),
                ..Default::default()
            };
            let is_applied = self.report(worker_id, report).await;
            let relay = self.relay(&self.stream.id, destination_id).await;
            if is_applied || relay.state() == pb::RelayState::Failed {
                return;
            }
            lease_id = self.broadcast(worker_id, destination_id).await;
        }
    }

    async fn relay(&self, stream_id: &str, destination_id: &str) -> pb::Relay {
        let relays = self.list(stream_id).await.into_iter();
        let mut relays = relays.filter(|relay| relay.destination_id == destination_id);
        relays.next().expect("the relay was started")
    }

    async fn list(&self, stream_id: &str) -> Vec<pb::Relay> {
        let request = pb::ListRelaysRequest {
            stream_id: stream_id.to_owned(),
            ..Default::default()
        };
        let answer = self
            .owner
            .read("ListRelays", async |mut client| {
                client.stream.list_relays(request.clone()).await
            })
            .await;
        answer.relays
    }
}

impl Writer for Relays {
    async fn write(&mut self, number: usize) {
        if number.is_multiple_of(STREAM_SIZE) {
            self.begin_stream(number).await;
        }
        let (name, worker) = (format!("Relay {number}"), format!("w{number}"));
        let project_id = &self.stream.project_id;
        let destination_id = create_destination(&self.owner, project_id, &name).await.id;
        self.start_relay(&destination_id).await;
        let lease_id = self.broadcast(&worker, &destination_id).await;
        let state = match number % 2 {
            0 => {
                self.finish(&worker, lease_id, &destination_id).await;
                (pb::RelayDesiredState::Stopped, pb::RelayState::Idle)
            }
            _ => {
                self.fail(&worker, lease_id, &destination_id).await;
                (pb::RelayDesiredState::Started, pb::RelayState::Failed)
            }
        };
        self.relays.push(KnownRelay {
            stream_id: self.stream.id.clone(),
            destination_id,
            state,
        });
    }

    async fn check(&self) {
        for known in &self.relays {
            // An expired lease ends soon.
            eventually("the relay has its last state", async || {
                let relay = self.relay(&known.stream_id, &known.destination_id).await;
                ((relay.desired_state(), relay.state()) == known.state).then_some(())
            })
            .await;
        }
    }
}
