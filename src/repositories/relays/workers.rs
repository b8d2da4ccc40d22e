//! The relay workers that have claimed relays.
//!
//! A worker belongs to the node for which it claims. So a key that is bound to another node can
//! neither claim nor report in its name.

use std::collections::HashMap;

use uuid::Uuid;

use super::{ClaimingWorker, RelayLeases};
use crate::{
    database::{Batch, Database, DeletedBatch},
    domain::{ApiKeyId, NodeId, Page, Time, Worker},
    error::{Error, Result},
};

/// How long a worker without a lease is listed after its last claim.
const LISTED: chrono::TimeDelta = chrono::TimeDelta::hours(1);

/// A worker claims now if it was recorded since: it is every minute.
pub(super) const CLAIMS_NOW: chrono::TimeDelta = chrono::TimeDelta::minutes(2);

/// Relay workers, for operators.
#[derive(Debug, Clone)]
pub struct Workers {
    database: Database,
}

impl Workers {
    /// Relay workers in this database.
    pub fn new(database: Database) -> Self {
        Self { database }
    }

    /// The workers that claim now or did recently, or hold a lease; of one media server; newest
    /// first.
    pub async fn list(
        &self,
        node_id: Option<&NodeId>,
        page: Page,
        now: Time,
    ) -> Result<Vec<Worker>> {
        fetch_all!(
            self.database.reader(),
            "select id, worker_id, node_id, capacity, api_key_id, create_time, last_claim_time,
                    relay_count
             from (
                 select w.id, w.worker_id, w.node_id, w.capacity, w.api_key_id, w.create_time,
                        w.last_claim_time,
                        (select count(*) from relays r where r.worker_id = w.worker_id)
                            as relay_count
                 from workers w
                 where w.id < $1 and ($2 is null or w.node_id = $2)) listed
             where relay_count > 0 or last_claim_time > $3
             order by id desc
             limit $4",
            [
                page.below,
                node_id.map(NodeId::as_str),
                now - LISTED,
                page.limit()
            ]
        )
    }

    /// The number of workers that claim relays now or did in the last two minutes, by the media
    /// server for which they do; empty means any.
    pub async fn count_by_node(&self, now: Time) -> Result<HashMap<String, i64>> {
        let counts: Vec<(String, i64)> = fetch_all!(
            self.database.reader(),
            "select node_id, count(*)
             from workers
             where last_claim_time > $1
             group by node_id",
            [now - CLAIMS_NOW]
        )?;
        Ok(counts.into_iter().collect())
    }

    /// Deletes a batch of workers that last claimed before a time and hold no lease.
    pub async fn purge(&self, before: Time, batch: Batch) -> Result<DeletedBatch> {
        const DELETE: &str = "delete from workers
             where id in (
                 select w.id
                 from workers w
                 where w.last_claim_time < $1
                   and not exists (select 1 from relays r where r.worker_id = w.worker_id)
                 order by w.last_claim_time
                 limit $2 offset $3)";
        self.database.delete_batch(DELETE, before, batch).await
    }
}

impl RelayLeases {
    /// Records that a worker claims relays, with this operator key. `NodeMismatch` if the key is
    /// bound to a media server, and the worker belongs to another one.
    pub async fn record_worker(
        &self,
        claimant: &ClaimingWorker,
        key: ApiKeyId,
        bound: Option<&NodeId>,
        now: Time,
    ) -> Result<()> {
        self.require_worker_of(&claimant.worker_id, bound).await?;
        let recorded = rows_affected!(
            self.database.writer(),
            "insert into workers
                 (id, worker_id, node_id, capacity, api_key_id, create_time, last_claim_time)
             values ($1, $2, $3, $4, $5, $6, $6)
             on conflict (worker_id) do update
             set node_id = excluded.node_id, capacity = excluded.capacity,
                 api_key_id = excluded.api_key_id, last_claim_time = excluded.last_claim_time
             where $7 or workers.node_id = excluded.node_id",
            [
                Uuid::now_v7(),
                &claimant.worker_id,
                &claimant.node_id,
                claimant.capacity,
                key,
                now,
                bound.is_none()
            ]
        )?;
        match bound {
            Some(bound) if recorded == 0 => Err(Error::NodeMismatch(bound.clone())),
            _ => Ok(()),
        }
    }

    /// `NodeMismatch` if an operator key is bound to a media server, and the worker belongs to
    /// another one.
    pub async fn require_worker_of(&self, worker_id: &str, bound: Option<&NodeId>) -> Result<()> {
        let Some(bound) = bound else {
            return Ok(());
        };
        // A worker that is not recorded, but holds leases, is one of an earlier version.
        let is_foreign = exists!(
            self.database.writer(),
            "select 1 as found
             from workers
             where worker_id = $1 and node_id <> $2
             union all
             select 1
             from relays
             where worker_id = $1
               and not exists (select 1 from workers w where w.worker_id = $1)",
            [worker_id, bound.as_str()]
        )?;
        match is_foreign {
            true => Err(Error::NodeMismatch(bound.clone())),
            false => Ok(()),
        }
    }
}

impl_from_row!(
    Worker:
    id, worker_id, node_id, capacity, api_key_id, create_time, last_claim_time, relay_count
);
