//! The RPCs of relays.

use std::time::Duration;

use sluice::proto::v1 as pb;
use tokio::time::timeout;

use super::recorder::{
    Outcome::{Fails, Succeeds},
    Recorder,
};
use crate::harness::Client;

/// The timeout of a claim.
const CLAIM_TIMEOUT: Duration = Duration::from_secs(20);

impl Recorder {
    /// Calls the RPCs of a relay, as the owner and as a worker whose error text contains
    /// the key.
    pub async fn relay_rpcs(&mut self, token: &str, worker: &str, project: &str, stream: &str) {
        let request = pb::ListDestinationsRequest {
            project_id: project.to_owned(),
            ..Default::default()
        };
        let rpc = "ProjectService/ListDestinations";
        let list: pb::ListDestinationsResponse = self.call(Succeeds, rpc, token, request).await;
        let destination_id = list.destinations[0].id.clone();
        let stream_id = || stream.to_owned();
        let request = pb::StartRelayRequest {
            stream_id: stream_id(),
            destination_id: destination_id.clone(),
            ..Default::default()
        };
        self.call::<()>(Succeeds, "StreamService/StartRelay", token, request)
            .await;
        let wrong = pb::StartRelayRequest {
            stream_id: stream_id(),
            destination_id: self.new_secret("secret instead of a destination id"),
            ..Default::default()
        };
        self.call::<()>(Fails, "StreamService/StartRelay", token, wrong)
            .await;

        let assignment = self.claim(worker).await;
        let report = pb::RelayReport {
            lease_id: assignment.lease_id,
            state: pb::RelayState::Failed.into(),
            bytes_sent: 1,
            bitrate_bps: 1,
            error: Some(pb::RelayError {
                code: "BROKEN_PIPE".to_owned(),
                severity: pb::RelayErrorSeverity::Fatal.into(),
                message: format!("'{}' -> '{}'", assignment.input_url, assignment.output_url),
            }),
            ..Default::default()
        };
        let wrong = pb::RelayReport {
            lease_id: self.new_secret("secret instead of a lease"),
            ..report.clone()
        };
        let reports = |reports| pb::ReportRelaysRequest {
            worker_id: "w1".to_owned(),
            reports,
            ..Default::default()
        };
        let rpc = "StreamService/ReportRelays";
        self.call::<()>(Fails, rpc, worker, reports(vec![wrong]))
            .await;
        self.call::<()>(Succeeds, rpc, worker, reports(vec![report]))
            .await;

        let request = pb::ListRelaysRequest {
            stream_id: stream_id(),
            ..Default::default()
        };
        self.call::<()>(Succeeds, "StreamService/ListRelays", token, request)
            .await;
        let request = pb::StopRelayRequest {
            stream_id: stream_id(),
            destination_id,
            ..Default::default()
        };
        self.call::<()>(Succeeds, "StreamService/StopRelay", token, request)
            .await;
    }

    /// The first assignment of a worker.
    async fn claim(&mut self, worker: &str) -> pb::RelayAssignment {
        let request = pb::ClaimRelaysRequest {
            worker_id: "w1".to_owned(),
            node_id: String::new(),
            capacity: 10,
            ..Default::default()
        };
        let mut streams = Client::with_token(&self.channel, worker).stream;
        let mut answer = streams.claim_relays(request).await.unwrap().into_inner();
        self.called
            .insert("/sluice.v1.StreamService/ClaimRelays".to_owned());
        let assigned = async {
            loop {
                let mut message = answer.message().await.unwrap().unwrap();
                if !message.assignments.is_empty() {
                    return message.assignments.remove(0);
                }
            }
        };
        timeout(CLAIM_TIMEOUT, assigned)
            .await
            .expect("an assignment comes")
    }
}
