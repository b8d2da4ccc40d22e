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
use sqlx::Connection;
use sqlx_postgres::PgConnection;
use tokio::{
    sync::Notify,
    time::{Instant, sleep, timeout},
};

use super::{
    Database, Pools,
    postgres_connector::{PostgresConnector, check_role},
};
use crate::error::{Error, Result};

/// How often locks are tried, and the session is used.
const INTERVAL: Duration = Duration::from_secs(2);

/// How long a statement or an attempt to connect may take.
const TIMEOUT: Duration = Duration::from_secs(3);

/// How long a session that was not heard of counts.
const CONFIRMED: Duration = Duration::from_secs(6);

/// How long a new candidate waits for its leadership.
const CANDIDACY: Duration = Duration::from_secs(10);

/// The delay before another connection.
const RECONNECT_DELAY: Duration = Duration::from_secs(1);

/// The name of the connection.
const APPLICATION_NAME: &str = "sluice-leader";

/// Ends the session within 8 seconds if its process hangs or its machine is gone. Versions of
/// PostgreSQL that lack a setting go without it.
const SET_UP: &str = "select set_config(s.name, v.value, false)
     from (values ('idle_session_timeout', '8s'), ('tcp_keepalives_idle', '3'),
                  ('tcp_keepalives_interval', '1'), ('tcp_keepalives_count', '3'),
                  ('tcp_user_timeout', '7000')) as v (name, value)
     join pg_settings s on s.name = v.name";

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

impl Database {
    /// Whether this replica leads a job. One that asks for the first time is a candidate from then
    /// on.
    pub fn leads(&self, job: &'static str) -> bool {
        match self.connector() {
            Some(_) => self.leadership.leads(job),
            None => true,
        }
    }

    /// The same for a job that runs rarely: a replica that has just started waits for its
    /// candidacy.
    pub async fn leads_soon(&self, job: &'static str) -> bool {
        let leads = async {
            while !self.leads(job) {
                sleep(INTERVAL / 4).await;
            }
        };
        timeout(CANDIDACY, leads).await.is_ok()
    }

    /// How often the session was lost that proves leadership: the database may have been
    /// unreachable for all replicas.
    pub fn leadership_losses(&self) -> u64 {
        self.leadership.0.losses.load(Ordering::Relaxed)
    }

    /// Competes for the jobs; never returns.
    pub async fn compete(&self) {
        let Some(connector) = self.connector() else {
            return std::future::pending().await;
        };
        let mut is_reachable = true;
        loop {
            let failure = match connect(connector).await {
                Ok(mut session) => {
                    is_reachable = true;
                    self.leadership.hold(&mut session).await
                }
                Err(failure) => failure,
            };
            self.leadership.lose();
            if is_reachable {
                let error = failure.with_causes();
                tracing::warn!(error, "the connection for the leadership of jobs was lost");
            }
            is_reachable = false;
            sleep(RECONNECT_DELAY).await;
        }
    }

    /// The connector of PostgreSQL; `None` if every process leads.
    fn connector(&self) -> Option<&PostgresConnector> {
        match &self.pools {
            Pools::Postgres { reader, .. } => {
                let connector = reader.connector();
                (!connector.is_transaction_pooled()).then_some(connector)
            }
            Pools::Sqlite { .. } => None,
        }
    }
}

async fn connect(connector: &PostgresConnector) -> Result<PgConnection> {
    let connecting = connector.first_usable(|server| {
        let (server, setup) = (server.clone(), connector.setup());
        async move {
            let server = server.application_name(APPLICATION_NAME);
            let mut session = PgConnection::connect_with(&server).await?;
            check_role(setup, &mut session).await?;
            sqlx::query(SET_UP).fetch_all(&mut session).await?;
            Ok(session)
        }
    });
    Ok(connecting.await?)
}

impl Leadership {
    fn leads(&self, job: &'static str) -> bool {
        let mut jobs = self.0.jobs.lock();
        let leads = *jobs.entry(job).or_insert_with(|| {
            self.0.is_new.notify_one();
            false
        });
        let confirmed_at = *self.0.confirmed_at.lock();
        leads && confirmed_at.is_some_and(|at| at.elapsed() < CONFIRMED)
    }

    /// Locks jobs until the session is lost; returns why.
    async fn hold(&self, session: &mut PgConnection) -> Error {
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

    fn lose(&self) {
        *self.0.confirmed_at.lock() = None;
        self.0.losses.fetch_add(1, Ordering::Relaxed);
        self.0
            .jobs
            .lock()
            .values_mut()
            .for_each(|leads| *leads = false);
    }
}
