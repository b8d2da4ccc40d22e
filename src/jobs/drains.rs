use std::time::Duration;

use uuid::Uuid;

use super::retries::{Attempt, Retries};
use crate::{
    domain::now,
    error::{Error, Result},
    repositories::RelayLeases,
    telemetry::metrics::JobTimer,
};

/// How often it is checked whether relays can move: one read if no media server drains.
const CHECK_INTERVAL: Duration = Duration::from_secs(2);

/// Moves relays away from media servers that drain, while other workers have free capacity; never
/// returns. Only the leader of the job does.
pub async fn move_relays(leases: RelayLeases) {
    let mut timer = JobTimer::new("drain", CHECK_INTERVAL);
    let mut retries = Retries::default();
    loop {
        let run = timer.next_run().await;
        if !leases.database.leads("drain") {
            run.finish(true);
            continue;
        }
        let moved = move_all(&leases, &mut retries).await;
        if let Err(error) = &moved {
            let error = error.with_causes();
            tracing::warn!(
                error,
                "cannot move relays away from a media server that drains"
            );
        }
        run.finish(moved.is_ok());
    }
}

async fn move_all(leases: &RelayLeases, retries: &mut Retries<(Uuid, Uuid)>) -> Result<()> {
    let nodes = leases.draining_nodes().await?;
    let mut free = match nodes.is_empty() {
        true => return Ok(()),
        false => leases.free_capacities(now()).await?,
    };
    for node_id in nodes {
        for moving in leases.movable(&node_id, now()).await? {
            // One that no worker has room for stays where it is.
            let Some(room) = free.iter_mut().find(|room| **room >= moving.cost) else {
                continue;
            };
            *room -= moving.cost;
            let (stream_id, destination_id) = (moving.key.stream_id, moving.key.destination_id);
            let work = leases.move_away(&moving, now());
            let item = (stream_id.uuid(), destination_id.uuid());
            match retries.attempt(item, work).await? {
                Attempt::Done(Some(_)) => {
                    tracing::info!(%stream_id, %destination_id, node_id, "relay moves away");
                }
                Attempt::Done(None) | Attempt::Postponed => {}
                // Somebody else has changed it.
                Attempt::Failed(Error::ConcurrentChange | Error::NotFound { .. }) => {}
                Attempt::Failed(error) => {
                    let error = error.with_causes();
                    tracing::warn!(%stream_id, %destination_id, error, "cannot move a relay");
                }
            }
        }
    }
    Ok(())
}
