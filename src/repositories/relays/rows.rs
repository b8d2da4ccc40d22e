//! Rows of the table `relays`.
//!
//! A relay changes under the lock of its project. Only its bytes and the expiry of its lease
//! change without the lock, and without a revision.
//!
//! `bytes_sent` counts the bytes of the present attempt, `bytes_delivered` those of all attempts: it
//! grows with what each report of the lease adds, and usage is recorded from it.

use sqlx::Row;

use crate::{
    database::{Check, QueueStatements, Transaction},
    domain::{
        Change, DestinationId, OutgoingLease, Relay, RelayDelivery, RelayError, RelayLease,
        StreamId, StreamState, Time,
    },
    error::Result,
    repositories::{
        projects::{events, rows::take_revision},
        sql::{from_json, list_json, to_json},
    },
};

/// The columns of [`Relay`], each after a prefix such as `"t."`.
macro_rules! relay_columns {
    ($prefix:literal) => {
        $crate::repositories::sql::columns!(
            $prefix:
            stream_id, destination_id, project_id, wanted, state, attempt, ready_time,
            last_progress_time, bytes_sent, bitrate_bps, error_code, error_severity,
            error_message, worker_id, lease_id, lease_expire_time, claim_time, broadcast_time,
            silent_since, update_time, lag_ms, dropped_packets, retransmitted_segments,
            last_drop_time, issues, capacity_issue, outgoing_lease_id, outgoing_worker_id,
            outgoing_expire_time, is_proven
        )
    };
}

/// What a relay to a destination `d` takes of the capacity of a worker. An encoder takes much
/// more than a copy.
macro_rules! destination_cost {
    () => {
        "cast(case when d.max_video_bitrate_kbps > 0 or d.max_height > 0 then 10 else 1 end
              as bigint)"
    };
}

/// The same for a relay. The destination is looked up and not joined, so that no plan reads
/// all destinations.
macro_rules! relay_cost {
    ($relay:literal) => {
        concat!(
            "(select ",
            $crate::repositories::relays::rows::destination_cost!(),
            " from destinations d where d.id = ",
            $relay,
            ".destination_id)"
        )
    };
}
pub(crate) use relay_columns;
pub(super) use {destination_cost, relay_cost};

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

/// Whether the stream of a relay waits for its publisher, so that there is nothing to send.
pub(super) async fn is_reconnecting(tx: &mut Transaction, id: StreamId) -> Result<bool> {
    let state: StreamState = fetch_scalar!(tx, "select status from streams where id = $1", [id])?;
    Ok(state == StreamState::Reconnecting)
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
pub(crate) async fn insert(tx: &mut impl QueueStatements, relay: &Relay) -> Result<()> {
    queue!(
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
        ],
        Check::default()
    )
}

/// Writes the mutable columns of a relay whose project is locked.
pub(crate) async fn store(tx: &mut impl QueueStatements, relay: &Relay) -> Result<()> {
    let (error, lease) = (relay.error.as_ref(), relay.lease.as_ref());
    let outgoing = relay.outgoing.as_ref();
    let issues = list_json(&relay.issues)?;
    let capacity_issue = relay.capacity_issue.as_ref().map(to_json).transpose()?;
    queue!(
        tx,
        "update relays
         set wanted = $3, state = $4, attempt = $5, ready_time = $6,
             last_progress_time = $7, bytes_sent = $8,
             bytes_delivered = bytes_delivered + case when $8 > bytes_sent then $8 - bytes_sent else 0 end,
             bitrate_bps = $9, error_code = $10,
             error_severity = $11, error_message = $12, worker_id = $13, lease_id = $14,
             lease_expire_time = $15, claim_time = $16, broadcast_time = $17,
             silent_since = $18, update_time = $19, lag_ms = $20, dropped_packets = $21,
             retransmitted_segments = $22, last_drop_time = $23, issues = $24,
             capacity_issue = $25, outgoing_lease_id = $26, outgoing_worker_id = $27,
             outgoing_expire_time = $28, is_proven = $29
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
            relay.update_time,
            relay.delivery.lag_ms,
            relay.delivery.dropped_packets,
            relay.delivery.retransmitted_segments,
            relay.delivery.last_drop_time,
            issues,
            capacity_issue,
            outgoing.map(|lease| lease.id),
            outgoing.map(|lease| &lease.worker_id),
            outgoing.map(|lease| lease.expire_time),
            relay.is_proven
        ],
        Check::default()
    )
}

fn severity(fatal: bool) -> &'static str {
    match fatal {
        true => "fatal",
        false => "retryable",
    }
}

impl_from_row!(
    Relay:
    stream_id, destination_id, project_id, wanted, state, attempt, ready_time,
    last_progress_time, bytes_sent, bitrate_bps, update_time, is_proven;
    |row|
    error: match row.try_get("error_code")? {
        None => None,
        Some(code) => Some(RelayError {
            code,
            fatal: row.try_get::<String, _>("error_severity")? == severity(true),
            message: row.try_get("error_message")?,
        }),
    },
    lease: match row.try_get("lease_id")? {
        None => None,
        Some(id) => Some(RelayLease {
            id,
            worker_id: row.try_get("worker_id")?,
            claim_time: row.try_get("claim_time")?,
            expire_time: row.try_get("lease_expire_time")?,
            broadcast_time: row.try_get("broadcast_time")?,
            silent_since: row.try_get("silent_since")?,
        }),
    },
    delivery: RelayDelivery {
        lag_ms: row.try_get("lag_ms")?,
        dropped_packets: row.try_get("dropped_packets")?,
        retransmitted_segments: row.try_get("retransmitted_segments")?,
        last_drop_time: row.try_get("last_drop_time")?,
    },
    issues: from_json(row.try_get("issues")?)?,
    capacity_issue: from_json(row.try_get("capacity_issue")?)?,
    outgoing: match row.try_get("outgoing_worker_id")? {
        None => None,
        Some(worker_id) => Some(OutgoingLease {
            id: row.try_get("outgoing_lease_id")?,
            worker_id,
            expire_time: row.try_get("outgoing_expire_time")?,
        }),
    },
);
