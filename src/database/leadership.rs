//! Which replica runs a job.
//!
//! Each job has one leader: the replica whose session holds the job's advisory lock. The session is on a
//! connection of its own. Every two seconds a replica tries to lock the jobs that it does not lead,
//! with one statement for all, which also shows that its session still exists. PostgreSQL
//! releases the locks of a session that has ended: at once if the process or its machine
//! says so, and else within 8 seconds, because it then ends a session that is idle or does not answer.
//! So another replica leads within 10 seconds.
//!
//! A replica that hangs may believe for a moment that it still leads. Jobs therefore
//! tolerate a second run at the same time. SQLite has one process, which leads. Through a pooler in
//! transaction mode no session can be kept: every replica runs all jobs.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use sqlx_postgres::PgConnection;
use tokio::{
    sync::Notify,
    time::{Instant, timeout},
};

use crate::error::Error;

/// How often locks are tried, and the session is used.
pub(super) const INTERVAL: Duration = Duration::from_secs(2);

/// How long a statement or an attempt to connect may take.
const TIMEOUT: Duration = Duration::from_secs(3);

/// How long a session that was not heard of counts.
const CONFIRMED: Duration = Duration::from_secs(6);

/// The jobs that replicas lead. A clone shares them.
#[derive(Debug, Clone, Default)]
pub(super) struct Leadership(Arc<LeadershipState>);

#[derive(Debug, Default)]
struct LeadershipState {
    /// Whether this replica leads each job that it has asked for.
    jobs: Mutex<BTreeMap<&'static str, bool>>,
    /// When the session last answered.
    confirmed_at: Mutex<Option<Instant>>,
    /// How many sessions were lost.
    losses: AtomicU64,
    /// A job was asked for the first time.
    is_new: Notify,
}

impl Leadership {
    /// Whether this replica leads a job.
    pub(super) fn leads(&self, job: &'static str) -> bool {
        let mut jobs = self.0.jobs.lock();
        let leads = *jobs.entry(job).or_insert_with(|| {
            self.0.is_new.notify_one();
            false
        });
        let confirmed_at = *self.0.confirmed_at.lock();
        leads && confirmed_at.is_some_and(|at| at.elapsed() < CONFIRMED)
    }

    /// Locks jobs until the session is lost; returns why.
    pub(super) async fn hold(&self, session: &mut PgConnection) -> Error {
        loop {
            let wanted: Vec<_> = {
                let jobs = self.0.jobs.lock();
                let wanted = jobs.iter().filter(|(_, leads)| !**leads);
                wanted.map(|(job, _)| *job).collect()
            };
            let locking = sqlx::query_scalar::<_, bool>(
                "select pg_try_advisory_lock(hashtextextended('sluice/job/' || j.name, 0))
                 from unnest($1::text[]) with ordinality as j (name, number)
                 order by j.number",
            );
            let locking = locking.bind(&wanted).fetch_all(&mut *session);
            let locked = match timeout(TIMEOUT, locking).await {
                Ok(Ok(locked)) => locked,
                Ok(Err(error)) => return error.into(),
                Err(_) => return Error::OutOfDate,
            };
            *self.0.confirmed_at.lock() = Some(Instant::now());
            for (job, _) in wanted.into_iter().zip(locked).filter(|(_, locked)| *locked) {
                tracing::info!(job, "this replica leads the job");
                self.0.jobs.lock().insert(job, true);
            }
            // A job that is asked for first is tried at once.
            let _ = timeout(INTERVAL, self.0.is_new.notified()).await;
        }
    }

    /// Leads no job any more.
    pub(super) fn lose(&self) {
        *self.0.confirmed_at.lock() = None;
        self.0.losses.fetch_add(1, Ordering::Relaxed);
        self.0
            .jobs
            .lock()
            .values_mut()
            .for_each(|leads| *leads = false);
    }

    /// How many sessions were lost.
    pub(super) fn losses(&self) -> u64 {
        self.0.losses.load(Ordering::Relaxed)
    }
}
