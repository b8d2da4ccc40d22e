//! Conversions of relays between messages and the domain.

use std::{collections::HashSet, time::Duration};

use uuid::Uuid;

use crate::{
    auth::Caller,
    domain::{
        CheckResult, DestinationId, Invalid, Publisher, Relay, RelayDelivery, RelayError,
        RelayReport, RelayState, ReportedState, StreamId, Tenant,
    },
    error::Error,
    proto::v1 as pb,
    repositories::ClaimingWorker,
    services::{
        enums::{read_enum, read_is_fatal},
        fields::{Fields, not_negative, read_duration, timestamp},
        paging::{PageRequest, PageTokens},
    },
};

/// The most relays that a worker can run and report.
const MAX_RELAYS: usize = 1000;

/// The most checks of destinations in a report, the most results of one, and the longest step.
const MAX_CHECKS: usize = 100;
const MAX_CHECK_RESULTS: usize = 10;
const MAX_CHECK_DURATION: Duration = Duration::from_secs(60);

/// Reads the ids of a relay.
pub(super) fn read_relay_ids(
    fields: &mut Fields,
    stream_id: &str,
    destination_id: &str,
) -> Option<(StreamId, DestinationId)> {
    let stream_id = fields.read("stream_id", StreamId::parse(stream_id));
    let destination_id = fields.read("destination_id", DestinationId::parse(destination_id));
    stream_id.zip(destination_id)
}

/// Reads the stream, the state and the page of a list of relays.
pub(super) fn read_list_relays(
    message: pb::ListRelaysRequest,
    tenant: Tenant,
    page_tokens: &PageTokens,
) -> Result<(StreamId, Option<RelayState>, PageRequest), Error> {
    let pb::ListRelaysRequest {
        stream_id,
        page_size,
        page_token,
        state,
    } = message;
    Fields::read_all(|fields| {
        let id = fields.read("stream_id", StreamId::parse(&stream_id));
        let state = fields.read_optional("state", state.map(read_enum));
        let list = format!("relays/{tenant:?}/{id:?}/{state:?}");
        let list = page_tokens.read(fields, list, page_size, &page_token);
        Some((id?, state?, list?))
    })
}

/// Reads the worker that claims. Its node is that of the caller's key, if that is bound to one:
/// `NodeMismatch` if the request has another.
pub(super) fn read_claimant(
    message: pb::ClaimRelaysRequest,
    caller: &Caller,
) -> Result<(ClaimingWorker, Option<String>), Error> {
    let pb::ClaimRelaysRequest {
        worker_id,
        node_id,
        capacity,
        previous_worker_id,
        checks_destinations: _,
    } = message;
    let (mut claimant, previous) = Fields::read_all(|fields| {
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
        let previous = match previous_worker_id.is_empty() {
            true => Some(None),
            false => fields
                .read(
                    "previous_worker_id",
                    parse_previous(&previous_worker_id, worker_id.as_deref()),
                )
                .map(Some),
        };
        let claimant = ClaimingWorker {
            worker_id: worker_id?,
            node_id: node_id?,
            capacity: capacity?,
        };
        Some((claimant, previous?))
    })?;
    match caller.bound_node() {
        Some(bound) if claimant.node_id.is_empty() => {
            claimant.node_id = bound.as_str().to_owned();
        }
        _ => caller.require_node(&claimant.node_id)?,
    }
    Ok((claimant, previous))
}

/// The id of the run before that of a worker: another one.
fn parse_previous(previous: &str, worker_id: Option<&str>) -> Result<String, Invalid> {
    match worker_id == Some(previous) {
        true => Err(Invalid::because(
            "must not be worker_id, which is new at every start",
        )),
        false => Publisher::parse_id(previous),
    }
}

/// What a worker reports.
pub(super) struct WorkerReports {
    pub worker_id: String,
    pub reports: Vec<RelayReport>,
    /// The results of checks of destinations.
    pub checks: Vec<(Uuid, Vec<CheckResult>)>,
}

/// Reads the worker and its reports.
pub(super) fn read_report_relays(message: pb::ReportRelaysRequest) -> Result<WorkerReports, Error> {
    let pb::ReportRelaysRequest {
        worker_id,
        reports,
        destination_checks,
    } = message;
    Fields::read_all(|fields| {
        let worker_id = fields.read("worker_id", Publisher::parse_id(&worker_id));
        let reports = self::reports(fields, reports);
        let checks = self::checks(fields, destination_checks);
        Some(WorkerReports {
            worker_id: worker_id?,
            reports: reports?,
            checks: checks?,
        })
    })
}

fn checks(
    fields: &mut Fields,
    messages: Vec<pb::DestinationCheckReport>,
) -> Option<Vec<(Uuid, Vec<CheckResult>)>> {
    if messages.len() > MAX_CHECKS {
        let invalid = Invalid::because("must have at most 100 entries");
        return fields.read("destination_checks", Err(invalid));
    }
    fields.read_each("destination_checks", messages, |fields, message| {
        let pb::DestinationCheckReport { check_id, results } = message;
        let id = Uuid::try_parse(&check_id)
            .map_err(|_| Invalid::because("must be a check_id of ClaimRelays"));
        let id = fields.read("check_id", id);
        if !matches!(results.len(), 1..=MAX_CHECK_RESULTS) {
            let invalid = Invalid::because("must have 1 to 10 entries");
            return fields.read("results", Err(invalid));
        }
        let results = fields.read_each("results", results, check_result);
        id.zip(results)
    })
}

fn check_result(fields: &mut Fields, message: pb::DestinationCheckResult) -> Option<CheckResult> {
    let pb::DestinationCheckResult {
        step,
        outcome,
        detail,
        duration,
    } = message;
    let step = fields.read("step", read_enum(step));
    let outcome = fields.read("outcome", read_enum(outcome));
    let bounds = Duration::ZERO..=MAX_CHECK_DURATION;
    let duration = read_duration(duration, bounds, "must be 0 to 1 minute");
    let duration = fields.read("duration", duration);
    Some(CheckResult {
        step: step?,
        outcome: outcome?,
        detail: RelayError::redact(&detail),
        millis: u64::try_from(duration?.as_millis()).unwrap_or(u64::MAX),
    })
}

fn reports(fields: &mut Fields, messages: Vec<pb::RelayReport>) -> Option<Vec<RelayReport>> {
    if messages.len() > MAX_RELAYS {
        let invalid = Invalid::because("must have at most 1000 entries");
        return fields.read("reports", Err(invalid));
    }
    let mut seen = HashSet::new();
    fields.read_each("reports", messages, |fields, message| {
        report(fields, message, &mut seen)
    })
}

fn report(
    fields: &mut Fields,
    message: pb::RelayReport,
    seen: &mut HashSet<Uuid>,
) -> Option<RelayReport> {
    let pb::RelayReport {
        lease_id,
        state,
        bytes_sent,
        bitrate_bps,
        error,
        lag_ms,
        dropped_packets,
        retransmitted_segments,
    } = message;
    let lease_id = read_lease_id(&lease_id).and_then(|id| match seen.insert(id) {
        true => Ok(id),
        false => Err(Invalid::because("must not be reported twice")),
    });
    let lease_id = fields.read("lease_id", lease_id);
    let state = fields.read("state", read_enum(state));
    let bytes_sent = fields.read("bytes_sent", not_negative(bytes_sent));
    let bitrate_bps = fields.read("bitrate_bps", not_negative(bitrate_bps));
    let lag_ms = fields.read("lag_ms", not_negative(lag_ms));
    let dropped_packets = fields.read("dropped_packets", not_negative(dropped_packets));
    let segments = not_negative(retransmitted_segments);
    let retransmitted_segments = fields.read("retransmitted_segments", segments);
    let error = match error {
        None => Some(None),
        Some(error) => relay_error(fields, error).map(Some),
    };
    let needs_error = matches!(state, Some(RelayState::Retrying | RelayState::Failed));
    if needs_error && error == Some(None) {
        let invalid = Err(Invalid::because("must be given with RETRYING and FAILED"));
        return fields.read("error", invalid);
    }
    Some(RelayReport {
        lease_id: lease_id?,
        bytes_sent: bytes_sent?,
        bitrate_bps: bitrate_bps?,
        delivery: RelayDelivery {
            lag_ms: lag_ms?,
            dropped_packets: dropped_packets?,
            retransmitted_segments: retransmitted_segments?,
            last_drop_time: None,
        },
        state: reported_state(state?, error?),
    })
}

fn reported_state(state: RelayState, error: Option<RelayError>) -> ReportedState {
    match (state, error) {
        (RelayState::Retrying, Some(error)) => ReportedState::Retrying(error),
        (RelayState::Failed, Some(error)) => ReportedState::Failed(error),
        (RelayState::Starting, _) => ReportedState::Starting,
        (RelayState::Broadcasting | RelayState::Draining, _) => ReportedState::Broadcasting,
        (RelayState::Holding, _) => ReportedState::Holding,
        (RelayState::Stalled, _) => ReportedState::Stalled,
        (RelayState::Stopping, _) => ReportedState::Stopping,
        _ => ReportedState::Stopped,
    }
}

fn relay_error(fields: &mut Fields, message: pb::RelayError) -> Option<RelayError> {
    let pb::RelayError {
        code,
        severity,
        message,
    } = message;
    let code = fields.read("error.code", RelayError::parse_code(&code));
    let fatal = fields.read("error.severity", read_is_fatal(severity));
    Some(RelayError {
        code: code?,
        fatal: fatal?,
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
        let present = relay.present_issues().cloned();
        let present = present.map(pb::MediaIssue::from).collect();
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
            delivery,
            issues: _,
            capacity_issue: _,
            outgoing: _,
            is_proven: _,
        } = relay;
        let RelayDelivery {
            lag_ms,
            dropped_packets,
            retransmitted_segments,
            last_drop_time: _,
        } = delivery;
        let retrying = state == RelayState::Retrying;
        let desired_state = match wanted {
            true => pb::RelayDesiredState::Started,
            false => pb::RelayDesiredState::Stopped,
        };
        Self {
            stream_id: stream_id.to_string(),
            destination_id: destination_id.to_string(),
            desired_state: desired_state.into(),
            state: pb::RelayState::from(state).into(),
            attempt,
            next_retry_time: retrying.then(|| timestamp(ready_time)),
            last_progress_time: last_progress_time.map(timestamp),
            bytes_sent,
            bitrate_bps,
            error: error.map(pb::RelayError::from),
            worker_id: lease.map(|lease| lease.worker_id).unwrap_or_default(),
            update_time: Some(timestamp(update_time)),
            issues: present,
            lag_ms,
            dropped_packets,
            retransmitted_segments,
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
