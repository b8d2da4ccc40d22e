use std::{path::PathBuf, sync::Arc};

use tokio::{
    sync::Mutex,
    time::{Duration, Instant, timeout},
};

use crate::{
    auth::Revocations,
    database::Database,
    domain::{RelayState, Status, now},
    readiness::{Health, Readiness},
    repositories::{Census, Counted},
    telemetry::metrics::{DATABASE, LIVE, PoolLoad},
    watching::Hub,
};

/// How long what the database counted is good for, however often somebody asks.
const COUNTED: Duration = Duration::from_secs(10);

/// How long the database may take to count.
const PATIENCE: Duration = Duration::from_secs(2);

/// What the metrics are read from when somebody asks for them. A clone shares it.
#[derive(Debug, Clone)]
pub struct Observed {
    parts: Arc<Parts>,
    census: Census,
    counted: Arc<Mutex<Option<Instant>>>,
}

/// The parts of a server that are looked at.
#[derive(Debug)]
pub struct Parts {
    /// Whether it can serve.
    pub readiness: Readiness,
    /// The database.
    pub database: Database,
    /// What was ended.
    pub revocations: Revocations,
    /// The watches.
    pub hub: Hub,
    /// Where the embedded database is.
    pub data_dir: PathBuf,
}

impl Observed {
    /// A server of these parts.
    pub fn new(parts: Parts) -> Self {
        Self {
            census: Census::new(parts.database.clone()),
            parts: Arc::new(parts),
            counted: Arc::default(),
        }
    }

    /// Whether the server can serve.
    pub fn health(&self) -> Health {
        self.parts.readiness.health()
    }

    /// Sets what is not counted as it happens.
    pub async fn measure(&self) {
        let Parts {
            readiness,
            database,
            revocations,
            hub,
            data_dir,
        } = &*self.parts;
        let is_up = matches!(readiness.health(), Health::Serving | Health::Draining);
        DATABASE.set_up(is_up);
        let connections = database.connections();
        DATABASE.set_pool(PoolLoad {
            pool: if database.engine() == "sqlite" {
                "reader"
            } else {
                "all"
            },
            limit: connections.size,
            used: connections.in_use,
            idle: connections.idle,
            waiting: connections.waiting,
        });
        let age = revocations.age().unwrap_or_default();
        LIVE.revocations_age.set(age.as_secs_f64());
        let (watches, limit) = hub.load();
        LIVE.watches.set(watches.into());
        LIVE.watches_limit.set(limit.into());
        if let Ok(disk) = rustix::fs::statvfs(data_dir) {
            let bytes = |blocks: u64| i64::try_from(blocks * disk.f_frsize).unwrap_or(i64::MAX);
            LIVE.disk_free.set(bytes(disk.f_bavail));
            LIVE.disk_size.set(bytes(disk.f_blocks));
        }
        if is_up {
            self.count().await;
        }
    }

    /// Has the database count, unless it did so lately. What it could not count
    /// stays as it was; whether it answers is a metric of its own.
    async fn count(&self) {
        let mut counted = self.counted.lock().await;
        if counted.is_some_and(|at| at.elapsed() < COUNTED) {
            return;
        }
        *counted = Some(Instant::now());
        match timeout(PATIENCE, self.census.take(now())).await {
            Ok(Ok(census)) => show(&census),
            Ok(Err(error)) => {
                let error = error.with_causes();
                tracing::warn!(error, "cannot count streams and relays");
            }
            Err(_) => tracing::warn!("the database takes too long to count streams and relays"),
        }
    }
}

fn show(census: &Counted) {
    let of = |counts: &[(String, i64)], name: &str| {
        let found = counts.iter().find(|(counted, _)| counted == name);
        found.map_or(0, |(_, count)| *count)
    };
    for status in Status::UNENDED {
        let name = status.as_str();
        let streams = LIVE.streams.with_label_values(&[name]);
        streams.set(of(&census.streams, name));
    }
    for state in RelayState::ALL {
        let name = state.as_str();
        let relays = LIVE.relays.with_label_values(&[name]);
        relays.set(of(&census.relays, name));
    }
    LIVE.workers.set(census.workers);
    LIVE.leases.set(census.leases);
    LIVE.mail_waiting.set(census.mail_waiting);
    let age = census.mail_age.as_secs_f64();
    LIVE.mail_age.set(age);
}
