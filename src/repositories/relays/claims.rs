//! How workers get relays to run.
//!
//! Whoever claims locks projects, of those that nobody holds at the moment, and
//! then decides on relays as they are under that lock. So workers and replicas
//! do not wait for each other, and no relay is given twice.

use std::collections::BTreeSet;

use sqlx::FromRow;
use uuid::Uuid;

use super::rows::{load, record, store};
use crate::{
    database::{Database, Pools, Transaction},
    domain::{DestinationId, ProjectId, Relay, RelayTimes, SealedPlayUrl, Status, StreamId, Time},
    error::Result,
};

/// How many relays one transaction gives.
const BATCH: i64 = 10;

/// Relays that workers may take.
#[derive(Debug, Clone)]
pub struct RelayClaims {
    database: Database,
    times: RelayTimes,
}

/// Who claims relays.
#[derive(Debug, Clone)]
pub struct Claimant {
    /// The worker.
    pub worker_id: String,
    /// The media server whose streams it takes; empty means any.
    pub node_id: String,
    /// How many relays it can run at once.
    pub capacity: i64,
}

/// A relay that a worker has just taken, and what it needs to run it.
#[derive(Debug, Clone)]
pub struct ClaimedRelay {
    /// The relay, with its lease.
    pub relay: Relay,
    /// The connection that publishes.
    pub connection_id: String,
    /// Where its media can be read.
    pub play_url: Option<SealedPlayUrl>,
    /// The address of the destination.
    pub url: String,
    /// The key of the destination, sealed.
    pub stream_key_sealed: Vec<u8>,
}

/// A lease that a worker has.
#[derive(Debug, Clone, Copy, FromRow)]
pub struct HeldLease {
    /// The lease.
    pub lease_id: Uuid,
    /// The project of its relay.
    pub project_id: ProjectId,
    /// Whether the worker is to give it back.
    pub is_asked_back: bool,
}

#[derive(FromRow)]
struct Candidate {
    stream_id: StreamId,
    destination_id: DestinationId,
}

/// What a worker needs beside the relay.
#[derive(FromRow)]
struct Ends {
    status: String,
    node_id: String,
    connection_id: String,
    play_url_id: Option<Uuid>,
    play_url_sealed: Option<Vec<u8>>,
    url: String,
    stream_key_sealed: Vec<u8>,
    /// Whether a worker may still send there.
    is_busy: bool,
}

impl RelayClaims {
    /// Relays in this database, which are taken for this time.
    pub fn new(database: Database, times: RelayTimes) -> Self {
        Self { database, times }
    }

    /// Wakes those who wait for relays.
    pub fn database(&self) -> &Database {
        &self.database
    }

    /// The leases that a worker has.
    pub async fn held(&self, worker_id: &str) -> Result<Vec<HeldLease>> {
        Ok(
            on_engine!(self.database.reader(), pool => sqlx::query_as::<_, HeldLease>(
                "select lease_id, project_id, state = 'stopping' as is_asked_back
                 from relays
                 where worker_id = $1",
            )
            .bind(worker_id)
            .fetch_all(pool)
            .await)?,
        )
    }

    /// Gives a worker relays: at most so many as it can run beside those that it
    /// has, and at most a batch.
    pub async fn claim(&self, claimant: &Claimant, now: Time) -> Result<Vec<ClaimedRelay>> {
        if !self.is_something_claimable(claimant, now).await? {
            return Ok(Vec::new());
        }
        self.database
            .retried(|| async {
                let mut tx = self.database.begin().await?;
                let room = room(&mut tx, claimant).await?;
                let mut claimed = Vec::new();
                for candidate in self.candidates(&mut tx, claimant, room, now).await? {
                    claimed.extend(self.take(&mut tx, claimant, candidate, now).await?);
                }

                let projects: BTreeSet<_> = claimed.iter().map(project_of).collect();
                tx.commit().await?;
                for id in projects {
                    self.database.hints().changed(ProjectId::from(id));
                }
                Ok(claimed)
            })
            .await
    }

    /// Whether it is worth a transaction.
    async fn is_something_claimable(&self, claimant: &Claimant, now: Time) -> Result<bool> {
        let found = on_engine!(self.database.reader(), pool => sqlx::query_scalar::<_, StreamId>(
            "select r.stream_id
             from relays r
             join streams s on s.id = r.stream_id
             where r.wanted and r.lease_id is null and r.state <> 'failed'
               and r.ready_time <= $1
               and s.status = 'live' and ($2 = '' or s.node_id = $2)
               and not exists (
                   select 1 from relays b
                   where b.destination_id = r.destination_id and b.lease_id is not null)
               and (select count(*) from relays h where h.worker_id = $3) < $4
             limit 1",
        )
        .bind(now)
        .bind(&claimant.node_id)
        .bind(&claimant.worker_id)
        .bind(claimant.capacity)
        .fetch_optional(pool)
        .await)?;
        Ok(found.is_some())
    }

    /// Relays that may be claimed, of projects that this locks.
    async fn candidates(
        &self,
        tx: &mut Transaction,
        claimant: &Claimant,
        limit: i64,
        now: Time,
    ) -> Result<Vec<Candidate>> {
        let sql = match &self.database.pools {
            Pools::Postgres(_) => {
                "select r.stream_id, r.destination_id
                 from relays r
                 join streams s on s.id = r.stream_id
                 join projects p on p.id = r.project_id
                 where r.wanted and r.lease_id is null and r.state <> 'failed'
                   and r.ready_time <= $1
                   and s.status = 'live' and ($2 = '' or s.node_id = $2)
                   and not exists (
                       select 1 from relays b
                       where b.destination_id = r.destination_id and b.lease_id is not null)
                 order by r.ready_time, r.stream_id, r.destination_id
                 limit $3
                 for no key update of p skip locked"
            }
            Pools::Sqlite { .. } => {
                "select r.stream_id, r.destination_id
                 from relays r
                 join streams s on s.id = r.stream_id
                 where r.wanted and r.lease_id is null and r.state <> 'failed'
                   and r.ready_time <= $1
                   and s.status = 'live' and ($2 = '' or s.node_id = $2)
                   and not exists (
                       select 1 from relays b
                       where b.destination_id = r.destination_id and b.lease_id is not null)
                 order by r.ready_time, r.stream_id, r.destination_id
                 limit $3"
            }
        };
        Ok(on_engine!(tx, tx => sqlx::query_as::<_, Candidate>(sql)
            .bind(now)
            .bind(&claimant.node_id)
            .bind(limit)
            .fetch_all(&mut **tx)
            .await)?)
    }

    /// Takes a candidate, if it is still one now that its project is locked.
    async fn take(
        &self,
        tx: &mut Transaction,
        claimant: &Claimant,
        candidate: Candidate,
        now: Time,
    ) -> Result<Option<ClaimedRelay>> {
        let (stream_id, destination_id) = (candidate.stream_id, candidate.destination_id);
        let Some(mut relay) = load(tx, stream_id, destination_id).await? else {
            return Ok(None);
        };
        let ends = ends(tx, stream_id, destination_id).await?;
        let is_there = claimant.node_id.is_empty() || ends.node_id == claimant.node_id;
        let is_live = ends.status == Status::Live.as_str();
        if !relay.is_claimable(now) || !is_there || !is_live || ends.is_busy {
            return Ok(None);
        }

        relay.claim(&claimant.worker_id, self.times, now);
        store(tx, &relay).await?;
        record(tx, &relay, now).await?;
        Ok(Some(ClaimedRelay {
            relay,
            connection_id: ends.connection_id,
            play_url: ends
                .play_url_id
                .zip(ends.play_url_sealed)
                .map(|(id, sealed)| SealedPlayUrl { id, sealed }),
            url: ends.url,
            stream_key_sealed: ends.stream_key_sealed,
        }))
    }
}

fn project_of(claimed: &ClaimedRelay) -> Uuid {
    claimed.relay.project_id.uuid()
}

/// How many relays a worker may take now; none while another call takes some for it.
async fn room(tx: &mut Transaction, claimant: &Claimant) -> Result<i64> {
    if let Transaction::Postgres(tx) = tx {
        let alone = sqlx::query_scalar::<_, bool>(
            "select pg_try_advisory_xact_lock(hashtextextended('relays/' || $1, 0))",
        )
        .bind(&claimant.worker_id)
        .fetch_one(&mut **tx)
        .await?;
        if !alone {
            return Ok(0);
        }
    }
    let held = on_engine!(tx, tx => sqlx::query_scalar::<_, i64>(
        "select count(*) from relays where worker_id = $1",
    )
    .bind(&claimant.worker_id)
    .fetch_one(&mut **tx)
    .await)?;
    Ok((claimant.capacity - held).clamp(0, BATCH))
}

async fn ends(
    tx: &mut Transaction,
    stream_id: StreamId,
    destination_id: DestinationId,
) -> Result<Ends> {
    Ok(on_engine!(tx, tx => sqlx::query_as::<_, Ends>(
        "select s.status, s.node_id, s.connection_id, s.play_url_id, s.play_url_sealed,
                d.url, d.stream_key_sealed,
                exists (
                    select 1 from relays b
                    where b.destination_id = d.id and b.lease_id is not null) as is_busy
         from streams s, destinations d
         where s.id = $1 and d.id = $2",
    )
    .bind(stream_id)
    .bind(destination_id)
    .fetch_one(&mut **tx)
    .await)?)
}
