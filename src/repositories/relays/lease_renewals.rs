//! The renewal of leases by reports.
//!
//! A worker that reports all of its leases renews one row: its own. Their rows then have
//! [`RelayLease::WITH_WORKER`] as the expiry: each lasts as long as the worker reports. No index has
//! a column that such a report changes, so PostgreSQL updates the row in place (HOT).
//!
//! A report that leaves out a lease of the worker renews only what it names, in the rows of the
//! relays: the other leases expire when they would have. The worker may not know of them.
//!
//! The row of the worker is written before its leases are read. So no lease that a report finds is
//! lost: whoever expires it locks the row of the worker, and finds it renewed.

use std::collections::HashSet;

use uuid::Uuid;

use crate::{
    database::{Database, Engine},
    domain::{RelayLease, RelayReport, RelayState, Time},
    error::{Error, Result},
};

/// The figures of a relay and its lease, as they are written.
#[derive(Debug)]
pub(super) struct LeaseRenewal {
    lease_id: Uuid,
    /// The expected state of the relay.
    state: RelayState,
    bytes_sent: i64,
    bitrate_bps: i64,
    lag_ms: i64,
    dropped_packets: i64,
    retransmitted_segments: i64,
}

/// Renews the leases of relays `r`. `$renewals` selects the rows `n` of the renewals and joins
/// them. The expiry of the leases is bound as `$2`, the present as `$3`, and the time that stands
/// for the reports of the worker as `$4`.
macro_rules! renew {
    ($greatest:literal, $renewals:literal) => {
        concat!(
            "update relays as r
             set bytes_sent = ",
            $greatest,
            "(n.bytes_sent, r.bytes_sent),
                 bytes_delivered = r.bytes_delivered + ",
            $greatest,
            "(n.bytes_sent - r.bytes_sent, 0),
                 bitrate_bps = case when n.bytes_sent >= r.bytes_sent
                     then n.bitrate_bps else r.bitrate_bps end,
                 lease_expire_time = $2,
                 last_progress_time = case when n.bytes_sent > r.bytes_sent
                     then $3 else r.last_progress_time end,
                 silent_since = case when $2 = $4 then $4
                     when n.bytes_sent > r.bytes_sent or r.silent_since = $4 then $3
                     else r.silent_since end,
                 broadcast_time = case when n.bytes_sent > r.bytes_sent
                     then coalesce(r.broadcast_time, $3) else r.broadcast_time end,
                 lag_ms = case when n.bytes_sent >= r.bytes_sent then n.lag_ms else r.lag_ms end,
                 dropped_packets = ",
            $greatest,
            "(n.dropped_packets, r.dropped_packets),
                 last_drop_time = case when n.dropped_packets > r.dropped_packets
                     then $3 else r.last_drop_time end,
                 retransmitted_segments = ",
            $greatest,
            "(n.retransmitted_segments, r.retransmitted_segments)
             from (",
            $renewals
        )
    };
}

impl LeaseRenewal {
    /// The renewal of a relay that remains in this state.
    pub fn new(report: &RelayReport, state: RelayState) -> Self {
        Self {
            lease_id: report.lease_id,
            state,
            bytes_sent: report.bytes_sent,
            bitrate_bps: report.bitrate_bps,
            lag_ms: report.delivery.lag_ms.into(),
            dropped_packets: report.delivery.dropped_packets,
            retransmitted_segments: report.delivery.retransmitted_segments,
        }
    }

    /// Writes renewals in one statement. Returns the leases of relays that were in the
    /// expected states. Rows that other transactions have locked are skipped.
    pub async fn apply(
        database: &Database,
        worker_id: &str,
        renewals: &[Self],
        expire_time: Time,
        now: Time,
    ) -> Result<HashSet<Uuid>> {
        if renewals.is_empty() {
            return Ok(HashSet::new());
        }
        let renewed: Vec<Uuid> = match database.writer() {
            Engine::Postgres(pool) => {
                let column = |of: fn(&Self) -> i64| renewals.iter().map(of).collect::<Vec<_>>();
                let states: Vec<_> = renewals.iter().map(|one| one.state.as_str()).collect();
                sqlx::query_scalar(renew!(
                    "greatest",
                    "select h.stream_id, h.destination_id, u.bytes_sent, u.bitrate_bps, u.lag_ms,
                            u.dropped_packets, u.retransmitted_segments
                     from unnest($5::uuid[], $6::text[], $7::int8[], $8::int8[], $9::int8[],
                                 $10::int8[], $11::int8[])
                          as u (lease_id, state, bytes_sent, bitrate_bps, lag_ms,
                                dropped_packets, retransmitted_segments)
                     join relays h on h.lease_id = u.lease_id
                     where h.worker_id = $1 and h.state = u.state
                       and (h.silent_since <= $3 or h.silent_since = $4)
                     for no key update of h skip locked) as n
                     where r.stream_id = n.stream_id and r.destination_id = n.destination_id
                     returning r.lease_id"
                ))
                .bind(worker_id)
                .bind(expire_time)
                .bind(now)
                .bind(RelayLease::WITH_WORKER)
                .bind(renewals.iter().map(|one| one.lease_id).collect::<Vec<_>>())
                .bind(states)
                .bind(column(|one| one.bytes_sent))
                .bind(column(|one| one.bitrate_bps))
                .bind(column(|one| one.lag_ms))
                .bind(column(|one| one.dropped_packets))
                .bind(column(|one| one.retransmitted_segments))
                .fetch_all(pool)
                .await?
            }
            Engine::Sqlite(pool) => {
                // SQLite has no arrays.
                let rows = renewals.iter().map(|one| {
                    let lease_id = one.lease_id.simple();
                    (
                        lease_id,
                        one.state,
                        one.bytes_sent,
                        one.bitrate_bps,
                        one.lag_ms,
                        one.dropped_packets,
                        one.retransmitted_segments,
                    )
                });
                let rows = serde_json::to_string(&rows.collect::<Vec<_>>());
                sqlx::query_scalar(renew!(
                    "max",
                    "select unhex(value ->> 0) as lease_id, value ->> 1 as state,
                            value ->> 2 as bytes_sent, value ->> 3 as bitrate_bps,
                            value ->> 4 as lag_ms, value ->> 5 as dropped_packets,
                            value ->> 6 as retransmitted_segments
                     from json_each($5)) as n
                     where r.lease_id = n.lease_id and r.worker_id = $1 and r.state = n.state
                       and (r.silent_since <= $3 or r.silent_since = $4)
                     returning lease_id"
                ))
                .bind(worker_id)
                .bind(expire_time)
                .bind(now)
                .bind(RelayLease::WITH_WORKER)
                .bind(rows.map_err(Error::internal)?)
                .fetch_all(pool)
                .await?
            }
        };
        Ok(renewed.into_iter().collect())
    }
}

/// Renews the leases of a worker that last with its reports, unless it has a lease that is not
/// among the reported ones; returns whether it did.
pub(super) async fn renew_worker(
    database: &Database,
    worker_id: &str,
    reported: &[Uuid],
    expire_time: Time,
) -> Result<bool> {
    let renewed = match database.writer() {
        Engine::Postgres(executor) => sqlx::query(
            "update workers
             set lease_expire_time = greatest(lease_expire_time, $2)
             where worker_id = $1
               and not exists (
                   select 1
                   from relays r
                   where r.worker_id = $1 and r.lease_id <> all($3::uuid[]))",
        )
        .bind(worker_id)
        .bind(expire_time)
        .bind(reported)
        .execute(executor)
        .await?
        .rows_affected(),
        Engine::Sqlite(executor) => {
            let reported: Vec<_> = reported.iter().map(|id| id.simple()).collect();
            let reported = serde_json::to_string(&reported).map_err(Error::internal)?;
            sqlx::query(
                "update workers
                 set lease_expire_time = max(coalesce(lease_expire_time, $2), $2)
                 where worker_id = $1
                   and not exists (
                       select 1
                       from relays r
                       where r.worker_id = $1
                         and r.lease_id not in (select unhex(value) from json_each($3)))",
            )
            .bind(worker_id)
            .bind(expire_time)
            .bind(reported)
            .execute(executor)
            .await?
            .rows_affected()
        }
    };
    Ok(renewed > 0)
}

/// Extends leases of a worker, and changes nothing else. Rows that other transactions have
/// locked are skipped.
pub(super) async fn extend_leases(
    database: &Database,
    worker_id: &str,
    leases: &[Uuid],
    expire_time: Time,
) -> Result<()> {
    match database.writer() {
        Engine::Postgres(pool) => {
            sqlx::query(
                "update relays
                 set lease_expire_time = $3
                 where lease_id in (
                     select lease_id from relays
                     where lease_id = any($1) and worker_id = $2 and state <> 'stopping'
                     for no key update skip locked)",
            )
            .bind(leases)
            .bind(worker_id)
            .bind(expire_time)
            .execute(pool)
            .await?;
        }
        Engine::Sqlite(pool) => {
            let leases: Vec<_> = leases.iter().map(|id| id.simple()).collect();
            let leases = serde_json::to_string(&leases).map_err(Error::internal)?;
            sqlx::query(
                "update relays
                 set lease_expire_time = $3
                 where lease_id in (select unhex(value) from json_each($1))
                   and worker_id = $2 and state <> 'stopping'",
            )
            .bind(leases)
            .bind(worker_id)
            .bind(expire_time)
            .execute(pool)
            .await?;
        }
    }
    Ok(())
}
