use std::sync::LazyLock;

use prometheus::{IntCounter, IntGauge, IntGaugeVec};

use super::registry::{counter, gauge, gauges};

/// The database, as this process uses it.
pub static DATABASE: LazyLock<DatabaseMetrics> = LazyLock::new(DatabaseMetrics::new);

/// See [`DATABASE`].
#[derive(Debug)]
pub struct DatabaseMetrics {
    /// Whether the database answers.
    pub up: IntGauge,
    connections: IntGaugeVec,
    waiting: IntGauge,
    limits: IntGaugeVec,
    /// Statements logged as slow.
    pub slow_statements: IntCounter,
}

/// The connections of one pool.
#[derive(Debug, Clone, Copy)]
pub struct PoolLoad {
    /// Which pool: `all` of PostgreSQL, `reader` of SQLite.
    pub pool: &'static str,
    /// The maximum number of connections.
    pub limit: usize,
    /// Connections in use.
    pub used: usize,
    /// Connections that are idle.
    pub idle: usize,
    /// Calls that wait for a connection, or for the writer.
    pub waiting: usize,
}

impl DatabaseMetrics {
    fn new() -> Self {
        Self {
            up: gauge(
                "sluice_database_up",
                "Whether the database answers and is migrated.",
            ),
            connections: gauges(
                "sluice_database_connections",
                "Connections to the database, used and idle.",
                &["pool", "state"],
            ),
            waiting: gauge(
                "sluice_database_waiting",
                "Calls that wait for a connection to the database.",
            ),
            limits: gauges(
                "sluice_database_connections_limit",
                "Maximum number of connections of a pool.",
                &["pool"],
            ),
            slow_statements: counter(
                "sluice_database_slow_statements_total",
                "Statements logged because they took longer than SLUICE_SLOW_QUERY.",
            ),
        }
    }

    /// Sets the connections of a pool.
    pub fn set_pool(&self, load: PoolLoad) {
        let PoolLoad {
            pool,
            limit,
            used,
            idle,
            waiting,
        } = load;
        let number = |count| i64::try_from(count).unwrap_or(i64::MAX);
        let connections = |state| self.connections.with_label_values(&[pool, state]);
        connections("used").set(number(used));
        connections("idle").set(number(idle));
        self.limits.with_label_values(&[pool]).set(number(limit));
        self.waiting.set(number(waiting));
    }
}
