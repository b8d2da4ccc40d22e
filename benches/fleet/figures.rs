//! What a phase costs.

use std::{sync::atomic::Ordering, time::Duration};

use tokio::time::Instant;

use crate::{
    Clock,
    edge::Latencies,
    machine::{cpu_of, cpu_of_postgres},
    seed::Seed,
    servers::Program,
};

/// What a second of a fleet of 10,000 live streams may cost.
const MAX_CORES: f64 = 0.5;
const MAX_WAL: f64 = 2.0;
const MIN_HOT: f64 = 95.0;

/// The counters at a time.
pub struct Snapshot {
    at: Instant,
    transactions: i64,
    wal: i64,
    updates: i64,
    hot_updates: i64,
    postgres: Duration,
    server: Duration,
    reports: u64,
    failures: u64,
}

/// The difference between two snapshots, in a second of the fleet.
pub struct Phase {
    transactions: f64,
    wal: f64,
    updates: f64,
    hot: f64,
    postgres: f64,
    server: f64,
    /// The share of the reports that an unhurried fleet would have made.
    kept_up: f64,
    failures: u64,
}

impl Snapshot {
    pub async fn take(
        seed: &mut Seed,
        server: &Program,
        latencies: &Latencies,
    ) -> anyhow::Result<Self> {
        const TABLES: &str = "from pg_stat_user_tables";
        // The server reports its counters within a second.
        tokio::time::sleep(Duration::from_millis(1500)).await;
        let updates = format!("select sum(n_tup_upd)::bigint {TABLES}");
        let hot_updates = format!("select sum(n_tup_hot_upd)::bigint {TABLES}");
        let transactions = "select xact_commit from pg_stat_database
                            where datname = current_database()";
        let wal = "select pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint";
        Ok(Self {
            transactions: seed.number(transactions).await?,
            wal: seed.number(wal).await?,
            updates: seed.number(&updates).await?,
            hot_updates: seed.number(&hot_updates).await?,
            at: Instant::now(),
            postgres: cpu_of_postgres(),
            server: cpu_of(server.pid()),
            reports: latencies.reports.load(Ordering::Relaxed),
            failures: latencies.failures.load(Ordering::Relaxed),
        })
    }
}

impl Phase {
    pub fn between(before: &Snapshot, after: &Snapshot, clock: Clock, edges: usize) -> Self {
        let seconds = clock.fleet(after.at - before.at).as_secs_f64();
        let rate = |before: i64, after: i64| (after - before) as f64 / seconds;
        let cores = |before: Duration, after: Duration| (after - before).as_secs_f64() / seconds;
        let updates = after.updates - before.updates;
        let hot_updates = after.hot_updates - before.hot_updates;
        // A report of relays every 2 seconds, and one of connections every 10.
        let planned = edges as f64 * seconds * (0.5 + 0.1);
        Self {
            transactions: rate(before.transactions, after.transactions),
            wal: rate(before.wal, after.wal) / 1e6,
            updates: rate(before.updates, after.updates),
            hot: 100.0 * hot_updates as f64 / updates.max(1) as f64,
            postgres: cores(before.postgres, after.postgres),
            server: cores(before.server, after.server),
            kept_up: (after.reports - before.reports) as f64 / planned,
            failures: after.failures - before.failures,
        }
    }

    pub fn print(&self, name: &str) {
        let Self {
            transactions,
            wal,
            updates,
            hot,
            postgres,
            server,
            kept_up,
            failures,
        } = self;
        println!("  {name}, per second of the fleet:");
        println!("    statements and transactions {transactions:.0}, updated rows {updates:.0}");
        println!("    server {server:.2} cores, failed calls {failures}");
        let goal = |is_met| if is_met { "met" } else { "MISSED" };
        let is_met = goal(*postgres < MAX_CORES);
        println!("    PostgreSQL {postgres:.2} cores (goal below {MAX_CORES}: {is_met})");
        let is_met = goal(*wal < MAX_WAL);
        println!("    WAL {wal:.2} MB (goal below {MAX_WAL}: {is_met})");
        let is_met = goal(*hot > MIN_HOT);
        println!("    HOT updates {hot:.1} % (goal above {MIN_HOT}: {is_met})");
        if *kept_up < 0.95 {
            println!(
                "    only {:.0} % of the planned reports were made: choose a slower --clock",
                100.0 * kept_up
            );
        }
    }
}
