use std::time::Duration;

use crate::{
    database::{Database, Timestamp},
    domain::Time,
    error::Result,
};

/// Counts what there is, for who runs the server: of all tenants together.
#[derive(Debug, Clone)]
pub struct Census {
    database: Database,
}

/// What there was at a moment.
#[derive(Debug, Default)]
pub struct Counted {
    /// Streams that have not ended, by the names of their statuses.
    pub streams: Vec<(String, i64)>,
    /// Their relays, by the names of their states.
    pub relays: Vec<(String, i64)>,
    /// Leases that have not run out.
    pub leases: i64,
    /// Workers that have one.
    pub workers: i64,
    /// Messages that wait to be sent.
    pub mail_waiting: i64,
    /// For how long the oldest of them has waited.
    pub mail_age: Duration,
}

impl Census {
    /// A census of this database.
    pub fn new(database: Database) -> Self {
        Self { database }
    }

    /// Counts. What has ended costs nothing, however much of it there is.
    pub async fn take(&self, now: Time) -> Result<Counted> {
        let rows = on_engine!(self.database.reader(), pool => {
            sqlx::query_as::<_, (String, String, i64)>(
                "select 'stream', status, count(*)
                 from streams
                 where end_time is null
                 group by status
                 union all
                 select 'relay', r.state, count(*)
                 from streams s
                 join relays r on r.stream_id = s.id
                 where s.end_time is null
                 group by r.state
                 union all
                 select 'lease', '', count(*)
                 from relays
                 where lease_id is not null and lease_expire_time > $1
                 union all
                 select 'worker', '', count(distinct worker_id)
                 from relays
                 where lease_id is not null and lease_expire_time > $1
                 union all
                 select 'message', '', count(*)
                 from outbox",
            )
            .bind(now)
            .fetch_all(pool)
            .await
        })?;
        let oldest = on_engine!(self.database.reader(), pool => {
            sqlx::query_scalar::<_, Timestamp>(
                "select create_time from outbox order by create_time limit 1",
            )
            .fetch_optional(pool)
            .await
        })?;

        let mut counted = Counted::default();
        for (noun, name, count) in rows {
            match noun.as_str() {
                "stream" => counted.streams.push((name, count)),
                "relay" => counted.relays.push((name, count)),
                "lease" => counted.leases = count,
                "worker" => counted.workers = count,
                _ => counted.mail_waiting = count,
            }
        }
        let age = oldest.map(|oldest| (now - oldest).to_std().unwrap_or_default());
        counted.mail_age = age.unwrap_or_default();
        Ok(counted)
    }
}
