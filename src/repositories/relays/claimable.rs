//! The relays that can be claimed.
//!
//! Where a relay can run is a fact of its stream: the media server that has it. A copy in the
//! relay would have to follow every takeover, also those by servers of an earlier version. So a
//! search begins with the few live streams of the media server (`streams_unended_of_node`) and
//! looks up what is unclaimed of each (`relays_unclaimed_of_stream`). It reads neither the relays
//! that wait at other media servers nor streams that have ended. PostgreSQL might join in another
//! order: the limit in each lateral query prevents that, whatever the planner knows. SQLite
//! keeps the order of a cross join, and is told the indexes: it takes a null in a unique column
//! for one row.

use super::{ClaimingWorker, RelayLeases, rows::relay_cost};
use crate::{
    database::{Engine, Transaction},
    domain::{DestinationId, ProjectId, StreamId, Time},
    error::{Error, Result},
    repositories::sql::json_ids,
};

/// The condition that no worker has a relay `r`, and that one may claim it at `$1`.
macro_rules! is_unclaimed {
    () => {
        "r.wanted and r.lease_id is null and r.state <> 'failed' and r.ready_time <= $1
           and not exists (
               select 1 from relays b
               where b.destination_id = r.destination_id and b.lease_id is not null)"
    };
}

/// The condition that a stream `s` has media.
macro_rules! is_live {
    () => {
        "s.end_time is null and s.status = 'live'"
    };
}

/// Whether a stream `s` has a relay that can be claimed.
macro_rules! has_unclaimed {
    (postgres) => {
        concat!(
            "cross join lateral (
                 select r.stream_id
                 from relays r
                 where r.stream_id = s.id and ",
            is_unclaimed!(),
            " limit 1) unclaimed"
        )
    };
    (sqlite) => {
        concat!(
            "exists (
                 select 1
                 from relays r indexed by relays_unclaimed_of_stream
                 where r.stream_id = s.id and ",
            is_unclaimed!(),
            ")"
        )
    };
}

/// The relays `r` at the media server `$2` that can be claimed, each of which costs at most `$3`.
macro_rules! from_node {
    (postgres) => {
        concat!(
            " from streams s
             cross join lateral (
                 select r.stream_id, r.destination_id, r.project_id, r.ready_time
                 from relays r
                 where r.stream_id = s.id and ",
            is_unclaimed!(),
            " and ",
            relay_cost!("r"),
            " <= $3
                 order by r.ready_time
                 limit 100) r
             where s.node_id = $2 and ",
            is_live!()
        )
    };
    (sqlite) => {
        concat!(
            " from streams s
             cross join relays r indexed by relays_unclaimed_of_stream
             where s.node_id = $2 and ",
            is_live!(),
            " and r.stream_id = s.id and ",
            is_unclaimed!(),
            " and ",
            relay_cost!("r"),
            " <= $3"
        )
    };
}

/// The same at any media server, those that wait for longest first.
macro_rules! from_any_node {
    (postgres) => {
        from_any_node!("relays r")
    };
    (sqlite) => {
        from_any_node!("relays r indexed by relays_unclaimed")
    };
    ($relays:literal) => {
        concat!(
            " from ",
            $relays,
            " join streams s on s.id = r.stream_id
             where ",
            is_unclaimed!(),
            " and ",
            is_live!(),
            " and ",
            relay_cost!("r"),
            " <= $3"
        )
    };
}

impl RelayLeases {
    /// Those of these media servers where a relay can be claimed.
    pub async fn claimable_nodes(&self, nodes: &[String], now: Time) -> Result<Vec<String>> {
        Ok(match self.database.reader() {
            Engine::Postgres(executor) => {
                sqlx::query_scalar(concat!(
                    "select n.node_id
                     from unnest($2::text[]) as n (node_id)
                     cross join lateral (
                         select s.id
                         from streams s ",
                    has_unclaimed!(postgres),
                    " where s.node_id = n.node_id and ",
                    is_live!(),
                    " limit 1) live",
                ))
                .bind(now)
                .bind(nodes)
                .fetch_all(executor)
                .await?
            }
            Engine::Sqlite(executor) => {
                sqlx::query_scalar(concat!(
                    "select n.value
                     from json_each($2) n
                     where exists (
                         select 1
                         from streams s
                         where s.node_id = n.value and ",
                    is_live!(),
                    " and ",
                    has_unclaimed!(sqlite),
                    ")",
                ))
                .bind(now)
                .bind(serde_json::to_string(nodes).map_err(Error::internal)?)
                .fetch_all(executor)
                .await?
            }
        })
    }

    /// The media servers that have the live streams of these projects, if a relay of the stream
    /// can be claimed.
    pub async fn claimable_nodes_of(
        &self,
        projects: &[ProjectId],
        now: Time,
    ) -> Result<Vec<String>> {
        Ok(match self.database.reader() {
            Engine::Postgres(executor) => {
                let ids: Vec<_> = projects.iter().map(|id| id.uuid()).collect();
                sqlx::query_scalar(concat!(
                    "select distinct s.node_id
                     from unnest($2::uuid[]) as p (id)
                     cross join lateral (
                         select s.id, s.node_id
                         from streams s
                         where s.project_id = p.id and ",
                    is_live!(),
                    " limit 1) s ",
                    has_unclaimed!(postgres),
                ))
                .bind(now)
                .bind(ids)
                .fetch_all(executor)
                .await?
            }
            Engine::Sqlite(executor) => {
                sqlx::query_scalar(concat!(
                    "select distinct s.node_id
                     from json_each($2) p
                     cross join streams s
                     where s.project_id = unhex(p.value) and ",
                    is_live!(),
                    " and ",
                    has_unclaimed!(sqlite),
                ))
                .bind(now)
                .bind(json_ids(projects))
                .fetch_all(executor)
                .await?
            }
        })
    }

    /// Whether there is a relay that a worker with this remaining capacity can claim; else the
    /// claim needs no transaction.
    pub(super) async fn has_claimable_relay(
        &self,
        claimant: &ClaimingWorker,
        capacity: i64,
        now: Time,
    ) -> Result<bool> {
        const OF_NODE: &str = concat!("select r.stream_id", from_node!(postgres), " limit 1");
        const OF_NODE_SQLITE: &str = concat!("select r.stream_id", from_node!(sqlite), " limit 1");
        const OF_ANY: &str = concat!(
            "select r.stream_id",
            from_any_node!(postgres),
            " order by r.ready_time limit 1"
        );
        const OF_ANY_SQLITE: &str = concat!(
            "select r.stream_id",
            from_any_node!(sqlite),
            " order by r.ready_time limit 1"
        );
        let sql = match (self.database.reader(), claimant.node_id.is_empty()) {
            (Engine::Postgres(_), true) => OF_ANY,
            (Engine::Postgres(_), false) => OF_NODE,
            (Engine::Sqlite(_), true) => OF_ANY_SQLITE,
            (Engine::Sqlite(_), false) => OF_NODE_SQLITE,
        };
        exists!(
            self.database.reader(),
            sql,
            [now, &claimant.node_id, capacity]
        )
    }

    /// Locks projects that no other transaction has locked, and returns at most `limit` of their
    /// relays that may be claimable.
    pub(super) async fn lock_candidates(
        &self,
        tx: &mut Transaction,
        claimant: &ClaimingWorker,
        capacity: i64,
        limit: i64,
        now: Time,
    ) -> Result<Vec<(StreamId, DestinationId)>> {
        // More than are claimed, because projects may be locked.
        const OF_NODE: &str = concat!(
            "with candidates as materialized (
                 select r.stream_id, r.destination_id, r.project_id, r.ready_time",
            from_node!(postgres),
            " order by r.ready_time, r.stream_id, r.destination_id
                 limit 100)
             select c.stream_id, c.destination_id
             from candidates c
             join projects p on p.id = c.project_id
             order by c.ready_time, c.stream_id, c.destination_id
             limit $4
             for no key update of p skip locked",
        );
        const OF_ANY: &str = concat!(
            "select r.stream_id, r.destination_id
             from (select r.stream_id, r.destination_id, r.project_id, r.ready_time",
            from_any_node!(postgres),
            ") r
             join projects p on p.id = r.project_id
             order by r.ready_time, r.stream_id, r.destination_id
             limit $4
             for no key update of p skip locked",
        );
        let sql = match tx {
            Transaction::Postgres(_) if claimant.node_id.is_empty() => OF_ANY,
            Transaction::Postgres(_) => OF_NODE,
            Transaction::Sqlite(_) if claimant.node_id.is_empty() => concat!(
                "select r.stream_id, r.destination_id",
                from_any_node!(sqlite),
                " order by r.ready_time, r.stream_id, r.destination_id limit $4"
            ),
            Transaction::Sqlite(_) => concat!(
                "select r.stream_id, r.destination_id",
                from_node!(sqlite),
                " order by r.ready_time, r.stream_id, r.destination_id limit $4"
            ),
        };
        fetch_all!(tx, sql, [now, &claimant.node_id, capacity, limit])
    }
}
