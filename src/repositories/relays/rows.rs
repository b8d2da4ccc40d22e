//! Rows of the table `relays`.
//!
//! A relay changes under the lock of its project. Only its bytes and the expiry of its lease
//! change without the lock, and without a revision.

use sqlx::FromRow;
use uuid::Uuid;

use crate::{
    database::{Transaction, decode_column},
    domain::{
        Change, DestinationId, ProjectId, Relay, RelayError, RelayLease, RelayState, Stream,
        StreamId, StreamStatus, Time,
    },
    error::{Error, Result},
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

/// Updates the relays of a locked project after a change of its stream. They start when it
/// goes live, their leases must be released when it continues on another connection, and
/// they stop when it ends.
pub(crate) async fn update_after_stream(
    tx: &mut Transaction,
    before: Option<&Stream>,
    after: &Stream,
    now: Time,
) -> Result<()> {
    let was_live = before.is_some_and(|before| before.live_time.is_some());
    if after.live_time.is_none() {
        return Ok(());
    }
    if !was_live {
        return start_enabled(tx, after, now).await;
    }
    let Some(before) = before else {
        return Ok(());
    };
    if after.status == StreamStatus::Ended {
        return change_all(tx, after.id, Relay::end, now).await;
    }
    if after.epoch != before.epoch {
        return change_all(tx, after.id, Relay::relocate, now).await;
    }
    if before.status == StreamStatus::Reconnecting && after.status == StreamStatus::Live {
        return reset_silence(tx, after.id, now).await;
    }
    Ok(())
}

/// Starts a relay for each enabled destination.
async fn start_enabled(tx: &mut Transaction, stream: &Stream, now: Time) -> Result<()> {
    let enabled = on_engine!(tx, tx => sqlx::query_scalar::<_, DestinationId>(
        "select id from destinations where project_id = $1 and enabled order by id",
    )
    .bind(stream.project_id)
    .fetch_all(&mut **tx)
    .await)?;
    for destination_id in enabled {
        let relay = Relay::new(stream, destination_id, now);
        insert(tx, &relay).await?;
        record(tx, &relay, now).await?;
    }
    Ok(())
}

/// Changes the relays of a stream whose project is locked.
async fn change_all(
    tx: &mut Transaction,
    id: StreamId,
    change: fn(&mut Relay, Time) -> bool,
    now: Time,
) -> Result<()> {
    for mut relay in load_all(tx, id).await? {
        if change(&mut relay, now) {
            store(tx, &relay).await?;
            record(tx, &relay, now).await?;
        }
    }
    Ok(())
}

/// Restarts the silence timeout: the time without media does not count.
async fn reset_silence(tx: &mut Transaction, id: StreamId, now: Time) -> Result<()> {
    Ok(on_engine!(tx, tx => sqlx::query(
        "update relays
         set silent_since = $2
         where stream_id = $1 and lease_id is not null",
    )
    .bind(id)
    .bind(now)
    .execute(&mut **tx)
    .await
    .map(drop))?)
}

/// Makes workers release the leases for a destination whose URL or key has changed, under
/// the lock of its project. The next claim gets the new one.
pub(crate) async fn release_leases_to(
    tx: &mut Transaction,
    id: DestinationId,
    now: Time,
) -> Result<()> {
    let streams = on_engine!(tx, tx => sqlx::query_scalar::<_, StreamId>(
        "select stream_id
         from relays
         where destination_id = $1 and lease_id is not null
         order by stream_id",
    )
    .bind(id)
    .fetch_all(&mut **tx)
    .await)?;
    for stream_id in streams {
        if let Some(mut relay) = load(tx, stream_id, id).await?
            && relay.redirect(now)
        {
            store(tx, &relay).await?;
            record(tx, &relay, now).await?;
        }
    }
    Ok(())
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
    on_engine!(tx, tx => sqlx::query_as::<_, RelayRow>(
        concat!(
            "update relays
             set attempt = attempt
             where stream_id = $1 and destination_id = $2
             returning ",
            relay_columns!(""),
        ),
    )
    .bind(stream_id)
    .bind(destination_id)
    .fetch_optional(&mut **tx)
    .await)?
    .map(Relay::try_from)
    .transpose()
}

/// The relays of a stream, locked for a change.
async fn load_all(tx: &mut Transaction, id: StreamId) -> Result<Vec<Relay>> {
    on_engine!(tx, tx => sqlx::query_as::<_, RelayRow>(
        concat!(
            "update relays
             set attempt = attempt
             where stream_id = $1
             returning ",
            relay_columns!(""),
        ),
    )
    .bind(id)
    .fetch_all(&mut **tx)
    .await)?
    .into_iter()
    .map(Relay::try_from)
    .collect()
}

/// Inserts a new relay.
pub(super) async fn insert(tx: &mut Transaction, relay: &Relay) -> Result<()> {
    Ok(on_engine!(tx, tx => sqlx::query(
        "insert into relays
             (stream_id, destination_id, project_id, wanted, state, attempt, ready_time,
              bytes_sent, bitrate_bps, update_time)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
    )
    .bind(relay.stream_id)
    .bind(relay.destination_id)
    .bind(relay.project_id)
    .bind(relay.wanted)
    .bind(relay.state.as_str())
    .bind(relay.attempt)
    .bind(relay.ready_time)
    .bind(relay.bytes_sent)
    .bind(relay.bitrate_bps)
    .bind(relay.update_time)
    .execute(&mut **tx)
    .await
    .map(drop))?)
}

/// Writes the mutable columns of a relay whose project is locked.
pub(crate) async fn store(tx: &mut Transaction, relay: &Relay) -> Result<()> {
    let (error, lease) = (relay.error.as_ref(), relay.lease.as_ref());
    Ok(on_engine!(tx, tx => sqlx::query(
        "update relays
         set wanted = $3, state = $4, attempt = $5, ready_time = $6,
             last_progress_time = $7, bytes_sent = $8, bitrate_bps = $9, error_code = $10,
             error_severity = $11, error_message = $12, worker_id = $13, lease_id = $14,
             lease_expire_time = $15, claim_time = $16, broadcast_time = $17,
             silent_since = $18, update_time = $19
         where stream_id = $1 and destination_id = $2",
    )
    .bind(relay.stream_id)
    .bind(relay.destination_id)
    .bind(relay.wanted)
    .bind(relay.state.as_str())
    .bind(relay.attempt)
    .bind(relay.ready_time)
    .bind(relay.last_progress_time)
    .bind(relay.bytes_sent)
    .bind(relay.bitrate_bps)
    .bind(error.map(|error| &error.code))
    .bind(error.map(|error| severity(error.fatal)))
    .bind(error.map(|error| &error.message))
    .bind(lease.map(|lease| &lease.worker_id))
    .bind(lease.map(|lease| lease.id))
    .bind(lease.map(|lease| lease.expire_time))
    .bind(lease.map(|lease| lease.claim_time))
    .bind(lease.and_then(|lease| lease.broadcast_time))
    .bind(lease.map(|lease| lease.silent_since))
    .bind(relay.update_time)
    .execute(&mut **tx)
    .await
    .map(drop))?)
}

fn severity(fatal: bool) -> &'static str {
    match fatal {
        true => "fatal",
        false => "retryable",
    }
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
        } = row;
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
