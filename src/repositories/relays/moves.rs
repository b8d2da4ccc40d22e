//! Moves of relays away from media servers that drain.
//!
//! Their workers drain like them. So a relay can move only to a worker of any media server, and only
//! if the media server has told where its media can be read.

use sqlx::FromRow;

use super::{
    RelayKey, RelayLeases,
    claims::used_capacity,
    overdue::try_lock_project,
    progress::RelayProgress,
    rows::{load, relay_cost},
    workers::CLAIMS_NOW,
};
use crate::{
    domain::{MIN_RUN, Relay, Time},
    error::Result,
};

/// The most relays of a media server that are read at once.
const BATCH_SIZE: i64 = 100;

/// A relay that has to move.
#[derive(Debug, Clone, FromRow)]
pub struct MovingRelay {
    /// The relay.
    #[sqlx(flatten)]
    pub key: RelayKey,
    /// What it takes of the capacity of a worker.
    pub cost: i64,
    /// Whether the destination permits a second connection.
    pub allows_second_connection: bool,
}

impl RelayLeases {
    /// The media servers that drain.
    pub async fn draining_nodes(&self) -> Result<Vec<String>> {
        fetch_scalars!(
            self.database.reader(),
            "select node_id from nodes where drain_time is not null order by node_id",
            []
        )
    }

    /// Relays that workers of a media server run and others could: those that they have for longest
    /// first.
    pub async fn movable(&self, node_id: &str, now: Time) -> Result<Vec<MovingRelay>> {
        fetch_all!(
            self.database.reader(),
            concat!(
                "select r.stream_id, r.destination_id, r.project_id, d.allows_second_connection, ",
                relay_cost!("r"),
                " as cost
                 from streams s
                 join relays r on r.stream_id = s.id
                 join workers w on w.worker_id = r.worker_id
                 join destinations d on d.id = r.destination_id
                 where s.node_id = $1 and s.end_time is null and s.status = 'live'
                   and s.play_url_id is not null
                   and r.wanted and r.state in ('starting', 'broadcasting', 'holding', 'stalled')
                   and r.claim_time <= $2 and w.node_id = $1
                 order by r.claim_time
                 limit $3",
            ),
            [node_id, now - MIN_RUN, BATCH_SIZE]
        )
    }

    /// The free capacity of each worker that claims relays of any media server now.
    pub async fn free_capacities(&self, now: Time) -> Result<Vec<i64>> {
        fetch_scalars!(
            self.database.reader(),
            concat!(
                "select w.capacity - ",
                used_capacity!("w.worker_id"),
                " as free
                 from workers w
                 where w.last_claim_time > $1 and w.node_id = ''",
            ),
            [now - CLAIMS_NOW]
        )
    }

    /// Moves a relay to another worker. `None` if nothing changes, or if another transaction has
    /// locked its project.
    pub async fn move_away(&self, moving: &MovingRelay, now: Time) -> Result<Option<Relay>> {
        let MovingRelay {
            key,
            cost: _,
            allows_second_connection: overlaps,
        } = moving;
        self.database
            .transaction(|mut tx| async move {
                let Some(revision) = try_lock_project(&mut tx, key.project_id).await? else {
                    return tx.rollback(None).await;
                };
                let relay = load(&mut tx, key.stream_id, key.destination_id).await?;
                let Some(mut relay) = relay else {
                    return tx.rollback(None).await;
                };
                let progress = self.database.local_state::<RelayProgress>();
                progress.add_to(&mut relay);
                if !relay.move_away(*overlaps, now) {
                    return tx.rollback(None).await;
                }
                self.finish(tx, revision, &relay, now).await?;
                Ok(Some(relay))
            })
            .await
    }
}
