//! The relays of a stream, as a transaction sees them.

use sqlx::FromRow;
use uuid::Uuid;

use super::{
    columns::{Timestamp, known},
    engine::Transaction,
};
use crate::{
    domain::{DestinationId, Lease, ProjectId, Relay, RelayError, RelayState, StreamId},
    error::{Error, Result},
};

/// A row of the table `relays`.
#[derive(FromRow)]
struct RelayRow {
    stream_id: StreamId,
    destination_id: DestinationId,
    project_id: ProjectId,
    wanted: bool,
    state: String,
    attempt: i64,
    next_retry_time: Option<Timestamp>,
    last_progress_time: Option<Timestamp>,
    bytes_sent: i64,
    bitrate_bps: i64,
    error_code: Option<String>,
    error_severity: Option<String>,
    error_message: Option<String>,
    worker_id: Option<String>,
    lease_id: Option<Uuid>,
    lease_expire_time: Option<Timestamp>,
    claim_time: Option<Timestamp>,
    update_time: Timestamp,
}

/// All relays of a stream, in the order in which their destinations were made.
pub(super) async fn of_stream(tx: &mut Transaction, id: StreamId) -> Result<Vec<Relay>> {
    on_engine!(tx, tx => sqlx::query_as::<_, RelayRow>(
        "select stream_id, destination_id, project_id, wanted, state, attempt, next_retry_time,
                last_progress_time, bytes_sent, bitrate_bps, error_code, error_severity,
                error_message, worker_id, lease_id, lease_expire_time, claim_time, update_time
         from relays
         where stream_id = $1
         order by destination_id",
    )
    .bind(id)
    .fetch_all(&mut **tx)
    .await)?
    .into_iter()
    .map(Relay::try_from)
    .collect()
}

impl TryFrom<RelayRow> for Relay {
    type Error = Error;

    fn try_from(row: RelayRow) -> Result<Self> {
        let RelayRow {
            stream_id,
            destination_id,
            project_id,
            wanted,
            state,
            attempt,
            next_retry_time,
            last_progress_time,
            bytes_sent,
            bitrate_bps,
            error_code,
            error_severity,
            error_message,
            worker_id,
            lease_id,
            lease_expire_time,
            claim_time,
            update_time,
        } = row;
        let error = error_code.map(|code| RelayError {
            code,
            fatal: error_severity.as_deref() == Some("fatal"),
            message: error_message.unwrap_or_default(),
        });
        let lease = match (lease_id, worker_id, claim_time, lease_expire_time) {
            (Some(id), Some(worker_id), Some(claim_time), Some(expire_time)) => Some(Lease {
                id,
                worker_id,
                claim_time,
                expire_time,
            }),
            _ => None,
        };
        Ok(Self {
            stream_id,
            destination_id,
            project_id,
            wanted,
            state: known("state", RelayState::parse(&state))?,
            attempt,
            next_retry_time,
            last_progress_time,
            bytes_sent,
            bitrate_bps,
            error,
            lease,
            update_time,
        })
    }
}
