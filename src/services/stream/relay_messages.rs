//! Conversions of relays between messages and the domain.

use std::collections::HashSet;

use uuid::Uuid;

use crate::{
    domain::{
        DestinationId, Invalid, Publisher, Relay, RelayError, RelayReport, RelayState,
        ReportedState, StreamId,
    },
    error::Error,
    proto::v1 as pb,
    repositories::ClaimingWorker,
    services::fields::{Fields, not_negative, read_enum, timestamp},
};

/// The most relays that a worker can run and report.
const MAX_RELAYS: usize = 1000;

/// The number of violations after which reading stops, to bound the size of the response.
const MAX_VIOLATIONS: usize = 50;

pub(super) struct ReportRelays {
    pub worker_id: String,
    pub reports: Vec<RelayReport>,
}

/// Reads the ids of a relay.
pub(super) fn relay_ids(
    stream_id: &str,
    destination_id: &str,
) -> Result<(StreamId, DestinationId), Error> {
    let mut fields = Fields::default();
    let stream_id = fields.read("stream_id", StreamId::parse(stream_id));
    let destination_id = fields.read("destination_id", DestinationId::parse(destination_id));
    let ids = stream_id.zip(destination_id);
    ids.ok_or_else(|| fields.into_error())
}

impl TryFrom<pb::ClaimRelaysRequest> for ClaimingWorker {
    type Error = Error;

    fn try_from(message: pb::ClaimRelaysRequest) -> Result<Self, Error> {
        let pb::ClaimRelaysRequest {
            worker_id,
            node_id,
            capacity,
        } = message;
        Fields::read_all(|fields| {
            let worker_id = fields.read("worker_id", Publisher::parse_id(&worker_id));
            let node_id = match node_id.is_empty() {
                true => Some(node_id),
                false => fields.read("node_id", Publisher::parse_id(&node_id)),
            };
            let capacity = match usize::try_from(capacity) {
                Ok(1..=MAX_RELAYS) => Ok(i64::from(capacity)),
                _ => Err(Invalid::because("must be 1 to 1000")),
            };
            let capacity = fields.read("capacity", capacity);
            Some(Self {
                worker_id: worker_id?,
                node_id: node_id?,
                capacity: capacity?,
            })
        })
    }
}

impl TryFrom<pb::ReportRelaysRequest> for ReportRelays {
    type Error = Error;

    fn try_from(message: pb::ReportRelaysRequest) -> Result<Self, Error> {
        let pb::ReportRelaysRequest { worker_id, reports } = message;
        Fields::read_all(|fields| {
            let worker_id = fields.read("worker_id", Publisher::parse_id(&worker_id));
            let reports = self::reports(fields, reports);
            Some(Self {
                worker_id: worker_id?,
                reports: reports?,
            })
        })
    }
}

fn reports(fields: &mut Fields, messages: Vec<pb::RelayReport>) -> Option<Vec<RelayReport>> {
    if messages.len() > MAX_RELAYS {
        let invalid = Invalid::because("must have at most 1000 entries");
        return fields.read("reports", Err(invalid));
    }
    let mut seen = HashSet::new();
    let mut reports = Vec::with_capacity(messages.len());
    for (at, message) in messages.into_iter().enumerate() {
        reports.push(report(
            fields,
            &format!("reports[{at}]"),
            message,
            &mut seen,
        ));
        if fields.error_count() >= MAX_VIOLATIONS {
            return None;
        }
    }
    // `None` if one of them is invalid.
    reports.into_iter().collect()
}

fn report(
    fields: &mut Fields,
    path: &str,
    message: pb::RelayReport,
    seen: &mut HashSet<Uuid>,
) -> Option<RelayReport> {
    let pb::RelayReport {
        lease_id,
        state,
        bytes_sent,
        bitrate_bps,
        error,
    } = message;
    let path = |field| format!("{path}.{field}");
    let lease_id = read_lease_id(&lease_id).and_then(|id| match seen.insert(id) {
        true => Ok(id),
        false => Err(Invalid::because("must not be reported twice")),
    });
    let lease_id = fields.read(&path("lease_id"), lease_id);
    let state = fields.read(&path("state"), read_enum::<pb::RelayState>(state));
    let bytes_sent = fields.read(&path("bytes_sent"), not_negative(bytes_sent));
    let bitrate_bps = fields.read(&path("bitrate_bps"), not_negative(bitrate_bps));
    let error = match error {
        None => Some(None),
        Some(error) => relay_error(fields, &path("error"), error).map(Some),
    };
    let needs_error = matches!(
        state,
        Some(pb::RelayState::Retrying | pb::RelayState::Failed)
    );
    if needs_error && error == Some(None) {
        let invalid = Err(Invalid::because("must be given with RETRYING and FAILED"));
        return fields.read(&path("error"), invalid);
    }
    Some(RelayReport {
        lease_id: lease_id?,
        bytes_sent: bytes_sent?,
        bitrate_bps: bitrate_bps?,
        state: reported_state(state?, error?),
    })
}

fn reported_state(state: pb::RelayState, error: Option<RelayError>) -> ReportedState {
    match (state, error) {
        (pb::RelayState::Retrying, Some(error)) => ReportedState::Retrying(error),
        (pb::RelayState::Failed, Some(error)) => ReportedState::Failed(error),
        (pb::RelayState::Starting, _) => ReportedState::Starting,
        (pb::RelayState::Broadcasting, _) => ReportedState::Broadcasting,
        (pb::RelayState::Stalled, _) => ReportedState::Stalled,
        (pb::RelayState::Stopping, _) => ReportedState::Stopping,
        _ => ReportedState::Stopped,
    }
}

fn relay_error(fields: &mut Fields, path: &str, message: pb::RelayError) -> Option<RelayError> {
    let pb::RelayError {
        code,
        severity,
        message,
    } = message;
    let code = fields.read(&format!("{path}.code"), RelayError::parse_code(&code));
    let severity = read_enum::<pb::RelayErrorSeverity>(severity);
    let severity = fields.read(&format!("{path}.severity"), severity);
    Some(RelayError {
        code: code?,
        fatal: severity? == pb::RelayErrorSeverity::Fatal,
        message: RelayError::redact(&message),
    })
}

fn read_lease_id(text: &str) -> Result<Uuid, Invalid> {
    match Uuid::try_parse(text) {
        Ok(id) if text.len() == 36 => Ok(id),
        _ => Err(Invalid::because("must be a lease_id of ClaimRelays")),
    }
}

impl From<Relay> for pb::Relay {
    fn from(relay: Relay) -> Self {
        let Relay {
            stream_id,
            destination_id,
            project_id: _,
            wanted,
            state,
            attempt,
            ready_time,
            last_progress_time,
            bytes_sent,
            bitrate_bps,
            error,
            lease,
            update_time,
        } = relay;
        let retrying = state == RelayState::Retrying;
        let desired = match wanted {
            true => pb::RelayDesiredState::Started,
            false => pb::RelayDesiredState::Stopped,
        };
        Self {
            stream_id: stream_id.to_string(),
            destination_id: destination_id.to_string(),
            desired: desired.into(),
            state: pb::RelayState::from(state).into(),
            attempt,
            next_retry_time: retrying.then(|| timestamp(ready_time)),
            last_progress_time: last_progress_time.map(timestamp),
            bytes_sent,
            bitrate_bps,
            error: error.map(pb::RelayError::from),
            worker_id: lease.map(|lease| lease.worker_id).unwrap_or_default(),
            update_time: Some(timestamp(update_time)),
        }
    }
}

impl From<RelayState> for pb::RelayState {
    fn from(state: RelayState) -> Self {
        match state {
            RelayState::Idle => Self::Idle,
            RelayState::Starting => Self::Starting,
            RelayState::Broadcasting => Self::Broadcasting,
            RelayState::Stalled => Self::Stalled,
            RelayState::Retrying => Self::Retrying,
            RelayState::Failed => Self::Failed,
            RelayState::Stopping => Self::Stopping,
        }
    }
}

impl From<RelayError> for pb::RelayError {
    fn from(error: RelayError) -> Self {
        let RelayError {
            code,
            fatal,
            message,
        } = error;
        let severity = match fatal {
            true => pb::RelayErrorSeverity::Fatal,
            false => pb::RelayErrorSeverity::Retryable,
        };
        Self {
            code,
            severity: severity.into(),
            message,
        }
    }
}
