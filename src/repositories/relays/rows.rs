//! Rows of the table `relays`.
//!
//! A relay changes under the lock of its project. Only its bytes and the expiry of its lease
//! change without the lock, and without a revision.

use sqlx::FromRow;
use uuid::Uuid;

use crate::{
    database::{Transaction, decode_column},
    domain::{
        Change, DestinationId, ProjectId, Relay, RelayError, RelayLease, RelayState, StreamId, Time,
    },
    error::Result,
    repositories::projects::{events, revisions::take_revision},
};

/// The columns of [`RelayRow`], each after a prefix such as `"t."`.
macro_rules! relay_columns {
    ($prefix:literal) => {
        $crate::repositories::sql::columns!(
            $prefix:
            stream_id, destination_id, project_id, wanted, state, attempt, ready_time,
            last_progress_time, bytes_sent, bitrate_bps, error_code, error_severity,
            error_message, worker_id, lease_id, lease_expire_time, claim_time, broadcast_time,
            silent_since, update_time
        )
    };
}
pub(crate) use relay_columns;

/// A row of the table `relays`.
#[derive(FromRow)]
pub(crate) struct RelayRow {
    stream_id: StreamId,
    destination_id: DestinationId,
    project_id: ProjectId,
    wanted: bool,
    state: String,
    attempt: i64,
    ready_time: Time,
    last_progress_time: Option<Time>,
    bytes_sent: i64,
    bitrate_bps: i64,
    error_code: Option<String>,
    error_severity: Option<String>,
    error_message: Option<String>,
    worker_id: Option<String>,
    lease_id: Option<Uuid>,
    lease_expire_time: Option<Time>,
    claim_time: Option<Time>,
    broadcast_time: Option<Time>,
    silent_since: Option<Time>,
    update_time: Time,
}

/// Takes the next revision of a locked project and writes the event of a relay's change.
pub(crate) async fn record(tx: &mut Transaction, relay: &Relay, now: Time) -> Result<()> {
    let revision = take_revision(tx, relay.project_id).await?;
    record_with_revision(tx, revision, relay, now).await
}

/// Writes the event of a relay's change with this revision.
pub(crate) async fn record_with_revision(
    tx: &mut Transaction,
    revision: i64,
    relay: &Relay,
    now: Time,
) -> Result<()> {
    let change = Change::Relay(relay.clone());
    events::record(tx, relay.project_id, revision, &change, now).await
}

/// A relay, locked for a change against concurrent reports.
pub(crate) async fn load(
    tx: &mut Transaction,
    stream_id: StreamId,
    destination_id: DestinationId,
) -> Result<Option<Relay>> {
    fetch_optional!(
        tx,
        concat!(
            "update relays
             set attempt = attempt
             where stream_id = $1 and destination_id = $2
             returning ",
            relay_columns!(""),
        ),
        [stream_id, destination_id]
    )
}

/// The relays of a stream, locked for a change.
pub(super) async fn load_all(tx: &mut Transaction, id: StreamId) -> Result<Vec<Relay>> {
    fetch_all!(
        tx,
        concat!(
            "update relays
             set attempt = attempt
             where stream_id = $1
             returning ",
            relay_columns!(""),
        ),
        [id]
    )
}

/// Inserts a new relay.
pub(super) async fn insert(tx: &mut Transaction, relay: &Relay) -> Result<()> {
    execute!(
        tx,
        "insert into relays
             (stream_id, destination_id, project_id, wanted, state, attempt, ready_time,
              bytes_sent, bitrate_bps, update_time)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        [
            relay.stream_id,
            relay.destination_id,
            relay.project_id,
            relay.wanted,
            relay.state.as_str(),
            relay.attempt,
            relay.ready_time,
            relay.bytes_sent,
            relay.bitrate_bps,
            relay.update_time
        ]
    )
    .map(drop)
}

/// Writes the mutable columns of a relay whose project is locked.
pub(crate) async fn store(tx: &mut Transaction, relay: &Relay) -> Result<()> {
    let (error, lease) = (relay.error.as_ref(), relay.lease.as_ref());
    execute!(
        tx,
        "update relays
         set wanted = $3, state = $4, attempt = $5, ready_time = $6,
             last_progress_time = $7, bytes_sent = $8, bitrate_bps = $9, error_code = $10,
             error_severity = $11, error_message = $12, worker_id = $13, lease_id = $14,
             lease_expire_time = $15, claim_time = $16, broadcast_time = $17,
             silent_since = $18, update_time = $19
         where stream_id = $1 and destination_id = $2",
        [
            relay.stream_id,
            relay.destination_id,
            relay.wanted,
            relay.state.as_str(),
            relay.attempt,
            relay.ready_time,
            relay.last_progress_time,
            relay.bytes_sent,
            relay.bitrate_bps,
            error.map(|error| &error.code),
            error.map(|error| severity(error.fatal)),
            error.map(|error| &error.message),
            lease.map(|lease| &lease.worker_id),
            lease.map(|lease| lease.id),
            lease.map(|lease| lease.expire_time),
            lease.map(|lease| lease.claim_time),
            lease.and_then(|lease| lease.broadcast_time),
            lease.map(|lease| lease.silent_since),
            relay.update_time
        ]
    )
    .map(drop)
}

fn severity(fatal: bool) -> &'static str {
    match fatal {
        true => "fatal",
        false => "retryable",
    }
}

impl<'r, R: sqlx::Row> FromRow<'r, R> for Relay
where
    RelayRow: FromRow<'r, R>,
{
    fn from_row(row: &'r R) -> sqlx::Result<Self> {
        let RelayRow {
            stream_id,
            destination_id,
            project_id,
            wanted,
            state,
            attempt,
            ready_time,
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
            broadcast_time,
            silent_since,
            update_time,
        } = RelayRow::from_row(row)?;
        let error = error_code.map(|code| RelayError {
            code,
            fatal: error_severity.as_deref() == Some(severity(true)),
            message: error_message.unwrap_or_default(),
        });
        let lease = match (lease_id, worker_id, lease_expire_time) {
            (Some(id), Some(worker_id), Some(expire_time)) => Some(RelayLease {
                id,
                worker_id,
                claim_time: claim_time.unwrap_or(update_time),
                expire_time,
                broadcast_time,
                silent_since: silent_since.unwrap_or(update_time),
            }),
            _ => None,
        };
        Ok(Self {
            stream_id,
            destination_id,
            project_id,
            wanted,
            state: decode_column("state", RelayState::parse(&state))?,
            attempt,
            ready_time,
            last_progress_time,
            bytes_sent,
            bitrate_bps,
            error,
            lease,
            update_time,
        })
    }
}
