use std::time::Duration;

use crate::{database::Database, domain::Time, error::Result};

/// The numbers of resources of all tenants together, for the metrics.
#[derive(Debug, Default)]
pub struct ResourceCounts {
    /// Streams that have not ended, by state.
    pub streams: Vec<(String, i64)>,
    /// Their relays, by state.
    pub relays: Vec<(String, i64)>,
    /// Leases that have not expired.
    pub leases: i64,
    /// Workers that hold a lease.
    pub workers: i64,
    /// Suspended accounts that are not being deleted.
    pub suspended_users: i64,
    /// E-mail messages in the queue.
    pub mail_waiting: i64,
    /// The age of the oldest of them.
    pub mail_age: Duration,
}

impl ResourceCounts {
    /// Counts the resources. The cost does not depend on the number of ended streams, nor
    /// on that of active accounts.
    pub async fn load(database: &Database, now: Time) -> Result<Self> {
        let rows: Vec<(String, String, i64)> = fetch_all!(
            database.reader(),
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
                 select 'suspended', '', count(*)
                 from users
                 where suspend_time is not null and delete_time is null
                 union all
                 select 'message', '', count(*)
                 from outbox",
            [now]
        )?;
        let oldest: Option<Time> = fetch_optional_scalar!(
            database.reader(),
            "select create_time from outbox order by create_time limit 1",
            []
        )?;

        let mut counts = Self::default();
        for (noun, name, count) in rows {
            match noun.as_str() {
                "stream" => counts.streams.push((name, count)),
                "relay" => counts.relays.push((name, count)),
                "lease" => counts.leases = count,
                "worker" => counts.workers = count,
                "suspended" => counts.suspended_users = count,
                _ => counts.mail_waiting = count,
            }
        }
        let age = oldest.map(|oldest| (now - oldest).to_std().unwrap_or_default());
        counts.mail_age = age.unwrap_or_default();
        Ok(counts)
    }
}
