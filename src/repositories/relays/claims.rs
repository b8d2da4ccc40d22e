//! Claims of relays by workers.
//!
//! A claim locks projects that no other transaction has locked, and checks their relays
//! again under the lock. So workers and replicas do not wait for each other, and no relay
//! has two leases.

use std::collections::HashSet;

use sqlx::FromRow;
use uuid::Uuid;

use super::rows::{destination_cost, load, record, relay_columns, relay_cost, store};
use crate::{
    database::{Database, Transaction},
    domain::{
        DRAINING_CLAIM_DELAY, DestinationId, OutagePolicy, ProjectId, Relay, RelayState,
        RelayTimeouts, SealedPlayUrl, StreamDelay, StreamId, StreamState, Time,
    },
    error::Result,
};

/// The maximum number of relays that one transaction claims.
const MAX_CLAIMS_PER_TRANSACTION: i64 = 10;

/// Relays, as workers claim and report them.
#[derive(Debug, Clone)]
pub struct RelayLeases {
    pub(crate) database: Database,
    pub(crate) times: RelayTimeouts,
}

/// The worker that claims relays.
#[derive(Debug, Clone)]
pub struct ClaimingWorker {
    /// The id of the worker.
    pub worker_id: String,
    /// The media server whose streams the worker relays. Empty means any.
    pub node_id: String,
    /// The maximum number of relays that the worker runs concurrently. One with a rendition
    /// counts as ten.
    pub capacity: i64,
}

/// A claimed relay, and what the worker needs to run it.
#[derive(Debug, Clone)]
pub struct ClaimedRelay {
    /// The relay, with its lease.
    pub relay: Relay,
    /// The publishing connection.
    pub connection_id: String,
    /// The number of the publishing connection.
    pub epoch: i64,
    /// The sealed URL from which the media can be read.
    pub play_url: Option<SealedPlayUrl>,
    /// The ingest URL of the destination.
    pub url: String,
    /// The sealed stream key of the destination.
    pub stream_key_sealed: Vec<u8>,
    /// The sealed SRT passphrase of the destination, if it has one.
    pub srt_passphrase_sealed: Option<Vec<u8>>,
    /// The length of the SRT key in bytes; 0 leaves the choice to the worker.
    pub srt_pbkeylen: i32,
    /// What the destination gets while the publisher is away.
    pub outage_policy: OutagePolicy,
    /// How much later the media is sent.
    pub delay: StreamDelay,
    /// The most bits of video in a second, in thousands; 0 means no limit.
    pub max_video_bitrate_kbps: i32,
    /// The greatest height of the picture in pixels; 0 means no limit.
    pub max_height: i32,
}

/// A lease that a worker holds.
#[derive(Debug, Clone, Copy, FromRow)]
pub struct WorkerLease {
    /// The id of the lease.
    pub lease_id: Uuid,
    /// The project of the relay.
    pub project_id: ProjectId,
    /// The state of the relay. The worker must release the lease of one that stops.
    pub state: RelayState,
    /// Until when a relay may drain, if it drains.
    pub ready_time: Time,
    /// The number of the publishing connection whose media is relayed.
    pub epoch: i64,
    /// What the destination gets while the publisher is away.
    pub outage_policy: OutagePolicy,
    /// What the relay takes of the capacity of the worker.
    pub cost: i64,
}

/// The source and the destination of a relay.
#[derive(FromRow)]
struct RelayEndpoints {
    #[sqlx(rename = "status")]
    state: StreamState,
    node_id: String,
    connection_id: String,
    epoch: i64,
    play_url_id: Option<Uuid>,
    play_url_sealed: Option<Vec<u8>>,
    url: String,
    stream_key_sealed: Vec<u8>,
    srt_passphrase_sealed: Option<Vec<u8>>,
    srt_pbkeylen: i32,
    outage_policy: OutagePolicy,
    delay_ms: i32,
    max_video_bitrate_kbps: i32,
    max_height: i32,
    /// What it takes of the capacity of a worker.
    cost: i64,
    /// Whether another lease for the destination exists.
    is_busy: bool,
}

/// Selects the [`RelayEndpoints`] of the stream `$1` and the destination `$2`.
const SELECT_ENDPOINTS: &str = concat!(
    "select s.status, s.node_id, s.connection_id, s.epoch, s.play_url_id, s.play_url_sealed,
            d.url, d.stream_key_sealed, d.srt_passphrase_sealed, d.srt_pbkeylen, p.outage_policy,
            d.delay_ms, d.max_video_bitrate_kbps, d.max_height, ",
    destination_cost!(),
    " as cost,
            exists (
                select 1 from relays b
                where b.destination_id = d.id and b.lease_id is not null) as is_busy
     from streams s, destinations d, projects p
     where s.id = $1 and d.id = $2 and p.id = d.project_id",
);

/// What the relays of a worker `$worker` take of its capacity.
macro_rules! used_capacity {
    ($worker:literal) => {
        concat!(
            "(select cast(coalesce(sum(",
            relay_cost!("h"),
            "), 0) as bigint)
              from relays h
              where h.worker_id = ",
            $worker,
            ")"
        )
    };
}

impl RelayLeases {
    /// Relays in this database, with these timeouts.
    pub fn new(database: Database, times: RelayTimeouts) -> Self {
        Self { database, times }
    }

    /// The leases that a worker holds, also those of relays that move away and with which it goes
    /// on.
    pub async fn list_leases(&self, worker_id: &str, now: Time) -> Result<Vec<WorkerLease>> {
        fetch_all!(
            self.database.reader(),
            concat!(
                "select r.lease_id, r.project_id, r.state, r.ready_time, s.epoch,
                        p.outage_policy, ",
                relay_cost!("r"),
                " as cost
                 from relays r
                 join streams s on s.id = r.stream_id
                 join projects p on p.id = r.project_id
                 where r.worker_id = $1
                 union all
                 select r.outgoing_lease_id, r.project_id, 'broadcasting', r.ready_time, s.epoch,
                        p.outage_policy, ",
                relay_cost!("r"),
                "
                 from relays r
                 join streams s on s.id = r.stream_id
                 join projects p on p.id = r.project_id
                 where r.outgoing_worker_id = $1 and r.wanted and r.outgoing_expire_time > $2",
            ),
            [worker_id, now]
        )
    }

    /// Claims relays for a worker, up to its remaining capacity and the maximum of a
    /// transaction. `used` is what its relays take of the capacity, as far as its caller knows.
    pub async fn claim(
        &self,
        claimant: &ClaimingWorker,
        used: i64,
        now: Time,
    ) -> Result<Vec<ClaimedRelay>> {
        let capacity = claimant.capacity - used;
        if capacity <= 0 || !self.has_claimable_relay(claimant, capacity, now).await? {
            return Ok(Vec::new());
        }
        self.database
            .transaction(|mut tx| async move {
                let (mut capacity, drains) = remaining_capacity(&mut tx, claimant).await?;
                let mut claimed = Vec::new();
                let limit = capacity.min(MAX_CLAIMS_PER_TRANSACTION);
                // At a media server that drains, a worker leaves relays to others at first.
                let ready_until = match drains {
                    true => now - DRAINING_CLAIM_DELAY,
                    false => now,
                };
                let candidates =
                    self.lock_candidates(&mut tx, claimant, capacity, limit, ready_until);
                for candidate in candidates.await? {
                    let relay =
                        self.claim_candidate(&mut tx, claimant, candidate, &mut capacity, now);
                    claimed.extend(relay.await?);
                }

                let projects = claimed.iter().map(|claimed| claimed.relay.project_id);
                let projects: HashSet<_> = projects.collect();
                tx.commit(()).await?;
                for id in projects {
                    self.database.change_notifications().notify(id);
                }
                Ok(claimed)
            })
            .await
    }

    /// Claims a relay if it is still claimable under the lock of its project, and takes what it
    /// costs from the capacity.
    async fn claim_candidate(
        &self,
        tx: &mut Transaction,
        claimant: &ClaimingWorker,
        (stream_id, destination_id): (StreamId, DestinationId),
        capacity: &mut i64,
        now: Time,
    ) -> Result<Option<ClaimedRelay>> {
        let Some(mut relay) = load(tx, stream_id, destination_id).await? else {
            return Ok(None);
        };
        // The purge of a deleted destination locks no project.
        let endpoints: Option<RelayEndpoints> =
            fetch_optional!(tx, SELECT_ENDPOINTS, [stream_id, destination_id])?;
        let Some(endpoints) = endpoints else {
            return Ok(None);
        };
        let is_on_node = claimant.node_id.is_empty() || endpoints.node_id == claimant.node_id;
        let is_live = endpoints.state == StreamState::Live;
        let is_too_large = endpoints.cost > *capacity;
        if !relay.is_claimable(now) || !is_on_node || !is_live || endpoints.is_busy || is_too_large
        {
            return Ok(None);
        }
        *capacity -= endpoints.cost;

        relay.claim(&claimant.worker_id, self.times, now);
        store(tx, &relay).await?;
        record(tx, &relay, now).await?;
        Ok(Some(endpoints.of(relay)))
    }

    /// The relay of a lease as it is now; `None` if the worker does not hold the lease or must
    /// release it, also after draining.
    pub async fn claimed(&self, worker_id: &str, lease_id: Uuid) -> Result<Option<ClaimedRelay>> {
        let relay: Option<Relay> = fetch_optional!(
            self.database.reader(),
            concat!(
                "select ",
                relay_columns!(""),
                " from relays
                 where lease_id = $1 and worker_id = $2
                   and state not in ('stopping', 'draining')",
            ),
            [lease_id, worker_id]
        )?;
        let Some(mut relay) = relay else {
            return Ok(None);
        };
        if let Some(lease) = relay.lease.as_mut().filter(|one| one.lasts_with_worker()) {
            let expire_time: Option<Option<Time>> = fetch_optional_scalar!(
                self.database.reader(),
                "select lease_expire_time from workers where worker_id = $1",
                [worker_id]
            )?;
            lease.expire_time = expire_time.flatten().unwrap_or(lease.claim_time);
        }
        let endpoints: Option<RelayEndpoints> = fetch_optional!(
            self.database.reader(),
            SELECT_ENDPOINTS,
            [relay.stream_id, relay.destination_id]
        )?;
        Ok(endpoints.map(|endpoints| endpoints.of(relay)))
    }
}

pub(super) use used_capacity;

impl RelayEndpoints {
    fn of(self, relay: Relay) -> ClaimedRelay {
        let play_url = self.play_url_id.zip(self.play_url_sealed);
        ClaimedRelay {
            relay,
            connection_id: self.connection_id,
            epoch: self.epoch,
            play_url: play_url.map(|(id, sealed)| SealedPlayUrl { id, sealed }),
            url: self.url,
            stream_key_sealed: self.stream_key_sealed,
            srt_passphrase_sealed: self.srt_passphrase_sealed,
            srt_pbkeylen: self.srt_pbkeylen,
            outage_policy: self.outage_policy,
            delay: StreamDelay::from_millis(self.delay_ms),
            max_video_bitrate_kbps: self.max_video_bitrate_kbps,
            max_height: self.max_height,
        }
    }
}

/// What a worker may claim: nothing while another call claims for it; and whether its media server
/// drains.
async fn remaining_capacity(
    tx: &mut Transaction,
    claimant: &ClaimingWorker,
) -> Result<(i64, bool)> {
    if let Transaction::Postgres(tx) = tx {
        let is_locked = sqlx::query_scalar::<_, bool>(
            "select pg_try_advisory_xact_lock(hashtextextended('relays/' || $1, 0))",
        )
        .bind(&claimant.worker_id)
        .fetch_one(&mut **tx)
        .await?;
        if !is_locked {
            return Ok((0, false));
        }
    }
    let (held, drains): (i64, bool) = fetch_one!(
        tx,
        concat!(
            "select ",
            used_capacity!("$1"),
            ", exists (
                 select 1 from nodes n where n.node_id = $2 and n.drain_time is not null)",
        ),
        [&claimant.worker_id, &claimant.node_id]
    )?;
    Ok(((claimant.capacity - held).max(0), drains))
}
