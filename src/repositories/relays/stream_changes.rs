//! The changes of relays that follow from a change of their stream or destination.

use std::collections::HashMap;

use super::rows::{insert, load, load_all, record, store};
use crate::{
    database::{Check, QueueStatements, Transaction},
    domain::{
        DestinationId, EndReason, OutagePolicy, ProjectId, Relay, RelayState, Stream, StreamDelay,
        StreamId, StreamState, Time,
    },
    error::Result,
};

/// What a change of a stream does to its relays.
pub(crate) enum RelayChange {
    /// Nothing.
    None,
    /// The stream goes live: a relay starts to each enabled destination.
    Start,
    /// Each relay may change; the function tells whether it does. The stream was ended, or
    /// continues on another connection, so that leases must be released.
    Each(fn(&mut Relay, Time) -> bool),
    /// The stream has ended by itself: relays to destinations with a delay drain, others end.
    Drain,
    /// The stream continues on another connection of its media server, and workers continue
    /// with its media under their leases.
    Follow,
    /// Media flows again. The time without it does not count as silence of the relays.
    ResetSilence,
}

impl RelayChange {
    /// What the change of a stream from `before`, or its begin, does.
    pub fn of(before: Option<&Stream>, after: &Stream, policy: OutagePolicy) -> Self {
        if after.live_time.is_none() {
            return Self::None;
        }
        match before.filter(|before| before.live_time.is_some()) {
            None => Self::Start,
            Some(_) if after.state == StreamState::Ended => {
                match after.end_reason.is_some_and(EndReason::is_deliberate) {
                    true => Self::Each(Relay::end),
                    false => Self::Drain,
                }
            }
            Some(before) if after.epoch != before.epoch => {
                let stays = before.publisher.node_id == after.publisher.node_id;
                match policy == OutagePolicy::Hold && stays {
                    true => Self::Follow,
                    false => Self::Each(Relay::relocate),
                }
            }
            Some(before)
                if before.state == StreamState::Reconnecting
                    && after.state == StreamState::Live =>
            {
                Self::ResetSilence
            }
            Some(_) => Self::None,
        }
    }
}

/// Updates the relays of a locked project after a change of its stream on the same connection.
pub(crate) async fn update_relays(
    tx: &mut Transaction,
    before: Option<&Stream>,
    after: &Stream,
    now: Time,
) -> Result<()> {
    match RelayChange::of(before, after, OutagePolicy::End) {
        RelayChange::None => Ok(()),
        RelayChange::Start => start_enabled(tx, after, now).await,
        RelayChange::Each(change) => change_all(tx, after.id, change, now).await,
        RelayChange::Drain => drain_all(tx, after, now).await,
        RelayChange::Follow | RelayChange::ResetSilence => reset_silence(tx, after.id, now).await,
    }
}

/// Starts a relay for each enabled destination.
async fn start_enabled(tx: &mut Transaction, stream: &Stream, now: Time) -> Result<()> {
    let enabled: Vec<DestinationId> = fetch_scalars!(
        tx,
        "select id
         from destinations
         where project_id = $1 and enabled and delete_time is null
         order by id",
        [stream.project_id]
    )?;
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
    change: impl Fn(&mut Relay, Time) -> bool,
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

/// Drains or ends the relays of a stream whose project is locked.
async fn drain_all(tx: &mut Transaction, stream: &Stream, now: Time) -> Result<()> {
    let delayed: Vec<(DestinationId, i32)> = fetch_all!(
        tx,
        "select id, delay_ms
         from destinations
         where project_id = $1 and delay_ms > 0 and delete_time is null",
        [stream.project_id]
    )?;
    let delays: HashMap<_, _> = delayed.into_iter().collect();
    let drain = |relay: &mut Relay, now| {
        let millis = delays.get(&relay.destination_id).copied();
        relay.drain(StreamDelay::from_millis(millis.unwrap_or_default()), now)
    };
    change_all(tx, stream.id, drain, now).await
}

/// Stops the relays of an ended stream that drain, under the lock of its project.
pub(crate) async fn stop_draining(tx: &mut Transaction, id: StreamId, now: Time) -> Result<()> {
    let stop = |relay: &mut Relay, now| relay.state == RelayState::Draining && relay.stop(now);
    change_all(tx, id, stop, now).await
}

/// Stops all relays of a locked project that drain; returns whether there was one.
pub(crate) async fn stop_all_draining(
    tx: &mut Transaction,
    project_id: ProjectId,
    now: Time,
) -> Result<bool> {
    let streams: Vec<StreamId> = fetch_scalars!(
        tx,
        "select distinct stream_id from relays where project_id = $1 and state = 'draining'",
        [project_id]
    )?;
    for id in &streams {
        stop_draining(tx, *id, now).await?;
    }
    Ok(!streams.is_empty())
}

/// Whether a relay of a stream drains.
pub(crate) async fn is_draining(tx: &mut Transaction, id: StreamId) -> Result<bool> {
    exists!(
        tx,
        "select stream_id from relays where stream_id = $1 and state = 'draining'",
        [id]
    )
}

/// Restarts the silence timeout: the time without media does not count.
pub(crate) async fn reset_silence(
    tx: &mut impl QueueStatements,
    id: StreamId,
    now: Time,
) -> Result<()> {
    queue!(
        tx,
        "update relays
         set silent_since = $2
         where stream_id = $1 and lease_id is not null",
        [id, now],
        Check::default()
    )
}

/// Makes workers release the leases for a destination whose URL or key has changed, under
/// the lock of its project. The next claim gets the new one.
pub(crate) async fn release_leases_to(
    tx: &mut Transaction,
    id: DestinationId,
    now: Time,
) -> Result<()> {
    let streams: Vec<StreamId> = fetch_scalars!(
        tx,
        "select stream_id
         from relays
         where destination_id = $1 and lease_id is not null
         order by stream_id",
        [id]
    )?;
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
