use std::time::Duration;

use sluice::proto::v1 as pb;
use tokio::time::timeout;
use tonic::{Status, Streaming};

use crate::harness::Client;

/// Time limit for an expected message.
const MESSAGE_TIMEOUT: Duration = Duration::from_secs(20);

/// A worker with an open ClaimRelays.
pub struct Worker {
    pub id: String,
    client: Client,
    answer: Streaming<pb::ClaimRelaysResponse>,
    /// Received, and not yet returned.
    assignments: Vec<pb::RelayAssignment>,
    revocations: Vec<pb::RelayRevocation>,
}

impl Worker {
    pub async fn claim(client: &Client, id: &str, node_id: &str, capacity: i32) -> Self {
        let request = pb::ClaimRelaysRequest {
            worker_id: id.to_owned(),
            node_id: node_id.to_owned(),
            capacity,
            ..Default::default()
        };
        Self::claim_with(client, request).await
    }

    pub async fn claim_with(client: &Client, request: pb::ClaimRelaysRequest) -> Self {
        let id = request.worker_id.clone();
        let answer = client.stream.clone().claim_relays(request).await.unwrap();
        Self {
            id,
            client: client.clone(),
            answer: answer.into_inner(),
            assignments: Vec::new(),
            revocations: Vec::new(),
        }
    }

    /// The next message, or the status that ended the call.
    pub async fn next(&mut self) -> Result<pb::ClaimRelaysResponse, Status> {
        let message = self.answer.message().await?;
        Ok(message.expect("it does not end without a reason"))
    }

    /// Reads messages until a condition holds.
    async fn listen_until(&mut self, is_there: impl Fn(&Self) -> bool) {
        let listening = async {
            while !is_there(self) {
                let message = self.next().await.unwrap();
                self.assignments.extend(message.assignments);
                self.revocations.extend(message.revocations);
            }
        };
        timeout(MESSAGE_TIMEOUT, listening)
            .await
            .expect("the message arrives in time");
    }

    /// Waits for `count` assignments.
    pub async fn next_assignments(&mut self, count: usize) -> Vec<pb::RelayAssignment> {
        self.listen_until(|worker| worker.assignments.len() >= count)
            .await;
        assert_eq!(self.assignments.len(), count, "{:?}", self.assignments);
        std::mem::take(&mut self.assignments)
    }

    /// Waits for a destination to check.
    pub async fn next_check(&mut self) -> pb::DestinationCheck {
        let next = async {
            loop {
                let message = self.next().await.unwrap();
                if let Some(check) = message.destination_checks.into_iter().next() {
                    return check;
                }
            }
        };
        timeout(MESSAGE_TIMEOUT, next)
            .await
            .expect("the check arrives in time")
    }

    /// Reports the results of a check.
    pub async fn report_check(&self, check_id: &str, results: Vec<pb::DestinationCheckResult>) {
        let request = pb::ReportRelaysRequest {
            worker_id: self.id.clone(),
            destination_checks: vec![pb::DestinationCheckReport {
                check_id: check_id.to_owned(),
                results,
            }],
            ..Default::default()
        };
        let mut client = self.client.stream.clone();
        client.report_relays(request).await.unwrap();
    }

    /// Waits for revocations of leases that must be released at once; returns their ids.
    pub async fn next_revocations(&mut self) -> Vec<String> {
        self.listen_until(|worker| !worker.revocations.is_empty())
            .await;
        let revoked = std::mem::take(&mut self.revocations).into_iter();
        revoked
            .map(|one| {
                assert_eq!(one.drain_timeout, None);
                one.lease_id
            })
            .collect()
    }

    /// Waits for the revocation of a lease whose relay may drain; returns for how long.
    pub async fn next_drain(&mut self, assignment: &pb::RelayAssignment) -> Duration {
        self.listen_until(|worker| !worker.revocations.is_empty())
            .await;
        let revoked = self.revocations.remove(0);
        assert_eq!(revoked.lease_id, assignment.lease_id);
        let timeout = revoked.drain_timeout.expect("the relay may drain");
        timeout.try_into().unwrap()
    }

    /// The status that ends the call.
    pub async fn ended(&mut self) -> Status {
        let end = async {
            loop {
                if let Err(status) = self.next().await {
                    return status;
                }
            }
        };
        timeout(MESSAGE_TIMEOUT, end)
            .await
            .expect("it ends in time")
    }

    pub async fn report(&self, reports: Vec<pb::RelayReport>) -> pb::ReportRelaysResponse {
        let request = pb::ReportRelaysRequest {
            worker_id: self.id.clone(),
            reports,
            ..Default::default()
        };
        let mut client = self.client.stream.clone();
        client.report_relays(request).await.unwrap().into_inner()
    }

    /// Ends ClaimRelays, and then sends a report.
    pub async fn report_after_leaving(self, report: pb::RelayReport) {
        let Self {
            id,
            mut client,
            answer,
            ..
        } = self;
        drop(answer);
        let request = pb::ReportRelaysRequest {
            worker_id: id,
            reports: vec![report],
            ..Default::default()
        };
        client.stream.report_relays(request).await.unwrap();
    }

    /// Sends a report, whose lease must be renewed.
    pub async fn expect_accepted(&self, report: pb::RelayReport) {
        let answer = self.report(vec![report]).await;
        assert_eq!(answer.lost_lease_ids, [""; 0]);
    }

    /// Sends a report, whose lease must be lost.
    pub async fn expect_lost(&self, report: pb::RelayReport) {
        let lease_id = report.lease_id.clone();
        let answer = self.report(vec![report]).await;
        assert_eq!(answer.lost_lease_ids, [lease_id]);
    }
}

/// A report with a state and a byte count.
pub fn state_report(
    assignment: &pb::RelayAssignment,
    state: pb::RelayState,
    bytes_sent: i64,
) -> pb::RelayReport {
    pb::RelayReport {
        lease_id: assignment.lease_id.clone(),
        state: state.into(),
        bytes_sent,
        bitrate_bps: 8 * bytes_sent,
        error: None,
        ..Default::default()
    }
}

/// A report of a relay that is broadcasting.
pub fn broadcasting_report(assignment: &pb::RelayAssignment, bytes_sent: i64) -> pb::RelayReport {
    state_report(assignment, pb::RelayState::Broadcasting, bytes_sent)
}

/// A report of a relay that has failed.
pub fn failure_report(
    assignment: &pb::RelayAssignment,
    state: pb::RelayState,
    severity: pb::RelayErrorSeverity,
) -> pb::RelayReport {
    pb::RelayReport {
        error: Some(pb::RelayError {
            code: "BROKEN_PIPE".to_owned(),
            severity: severity.into(),
            message: "broken pipe".to_owned(),
        }),
        ..state_report(assignment, state, 0)
    }
}

/// A report of a relay that has failed and can be retried.
pub fn retryable_failure(assignment: &pb::RelayAssignment) -> pb::RelayReport {
    let severity = pb::RelayErrorSeverity::Retryable;
    failure_report(assignment, pb::RelayState::Retrying, severity)
}
