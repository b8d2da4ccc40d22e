use std::{path::PathBuf, sync::LazyLock};

use tokio::{
    sync::Mutex,
    time::{Duration, Instant, timeout},
};

use super::http_server::Monitored;
use crate::{
    auth::Revocations,
    database::Database,
    domain::{MediaIssueCode, RelayState, StreamState, now},
    readiness::{Health, Readiness},
    repositories::ResourceCounts,
    telemetry::metrics::{
        DATABASE, JOBS, LOG_LINES, NATS, PASSWORDS, SERVER, STATEMENTS, TRACES, WEBHOOKS,
        exposition, register_calls,
    },
    watching::WatchHub,
};

/// How long the counts of the database stay valid, however often the metrics are scraped.
const COUNTS_TTL: Duration = Duration::from_secs(10);

/// The job whose leader counts.
const COUNTING: &str = "resource_counts";

/// How long the database may take to count.
const COUNT_TIMEOUT: Duration = Duration::from_secs(2);

/// Exposes the metrics. States are read when the metrics are scraped.
#[derive(Debug)]
pub struct MetricsCollector {
    readiness: Readiness,
    counted_at: Mutex<Option<Instant>>,
    database: Database,
    revocations: Revocations,
    hub: WatchHub,
    data_dir: PathBuf,
}

impl MetricsCollector {
    /// A collector of the state of these. `data_dir` has the embedded database.
    pub fn new(
        readiness: Readiness,
        database: Database,
        revocations: Revocations,
        hub: WatchHub,
        data_dir: PathBuf,
    ) -> Self {
        Self {
            readiness,
            counted_at: Mutex::default(),
            database,
            revocations,
            hub,
            data_dir,
        }
    }

    fn health(&self) -> Health {
        self.readiness.health()
    }

    /// Sets the metrics that are states.
    async fn collect(&self) {
        let is_up = match self.health() {
            Health::Serving | Health::ClockSkewed | Health::Draining => true,
            Health::Starting | Health::DatabaseAway => false,
        };
        DATABASE.up.set(is_up.into());
        self.set_pool();
        let age = self.revocations.age().unwrap_or_default();
        SERVER.update_overloaded();
        SERVER.revocations_age.set(age.as_secs_f64());
        let (watches, limit) = self.hub.load();
        SERVER.watches.set(watches.into());
        SERVER.watches_limit.set(limit.into());
        if let Ok(disk) = rustix::fs::statvfs(&self.data_dir) {
            let bytes = |blocks: u64| i64::try_from(blocks * disk.f_frsize).unwrap_or(i64::MAX);
            SERVER.disk_free.set(bytes(disk.f_bavail));
            SERVER.disk_size.set(bytes(disk.f_blocks));
        }
        if is_up {
            self.count().await;
        }
    }

    /// Sets the connections of the pool: all of PostgreSQL, or the readers of SQLite.
    fn set_pool(&self) {
        let name = match self.database.engine() {
            "sqlite" => "reader",
            _ => "all",
        };
        let pool = self.database.pool_state();
        let number = |count| i64::try_from(count).unwrap_or(i64::MAX);
        let connections = |state| DATABASE.connections.with_label_values(&[name, state]);
        connections("used").set(number(pool.in_use));
        connections("idle").set(number(pool.idle));
        let limit = DATABASE.limits.with_label_values(&[name]);
        limit.set(number(pool.size));
        DATABASE.waiting.set(number(pool.waiting));
    }

    /// Lets the database count, unless it did so recently. If it fails, the metrics keep
    /// their values; whether the database answers is a metric of its own. Only one replica
    /// counts; the others expose zeros, so that the maximum of all is the number.
    async fn count(&self) {
        let mut counted_at = self.counted_at.lock().await;
        if !self.database.leads(COUNTING) {
            *counted_at = None;
            return set_counts(&ResourceCounts::default());
        }
        if counted_at.is_some_and(|at| at.elapsed() < COUNTS_TTL) {
            return;
        }
        *counted_at = Some(Instant::now());
        let counting = ResourceCounts::load(&self.database, now());
        match timeout(COUNT_TIMEOUT, counting).await {
            Ok(Ok(counts)) => set_counts(&counts),
            Ok(Err(error)) => {
                let error = error.with_causes();
                tracing::warn!(error, "cannot count streams and relays");
            }
            Err(_) => tracing::warn!("the database takes too long to count streams and relays"),
        }
    }
}

impl Monitored for MetricsCollector {
    fn readiness(&self) -> (bool, &'static str) {
        let health = self.health();
        let is_ready = match health {
            Health::Serving => true,
            Health::Starting | Health::DatabaseAway | Health::ClockSkewed | Health::Draining => {
                false
            }
        };
        (is_ready, health.as_str())
    }

    async fn metrics(&self) -> String {
        self.collect().await;
        // Registers all metrics, so that unused ones are exposed as zero.
        LazyLock::force(&DATABASE);
        LazyLock::force(&JOBS);
        LazyLock::force(&WEBHOOKS);
        LazyLock::force(&LOG_LINES);
        LazyLock::force(&NATS);
        LazyLock::force(&PASSWORDS);
        LazyLock::force(&SERVER);
        for code in MediaIssueCode::ALL {
            SERVER.issues.with_label_values(&[code.as_str()]);
        }
        LazyLock::force(&STATEMENTS);
        LazyLock::force(&TRACES);
        register_calls();
        exposition()
    }
}

fn set_counts(counts: &ResourceCounts) {
    let count_of = |counts: &[(String, i64)], name: &str| {
        let found = counts.iter().find(|(counted, _)| counted == name);
        found.map_or(0, |(_, count)| *count)
    };
    for state in StreamState::UNENDED {
        let name = state.as_str();
        let streams = SERVER.streams.with_label_values(&[name]);
        streams.set(count_of(&counts.streams, name));
    }
    for state in RelayState::ALL {
        let name = state.as_str();
        let relays = SERVER.relays.with_label_values(&[name]);
        relays.set(count_of(&counts.relays, name));
    }
    SERVER.workers.set(counts.workers);
    SERVER.leases.set(counts.leases);
    SERVER.suspended_users.set(counts.suspended_users);
    SERVER.mail_waiting.set(counts.mail_waiting);
    SERVER.mail_age.set(counts.mail_age.as_secs_f64());
}
