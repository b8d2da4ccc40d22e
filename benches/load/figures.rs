//! The results, and their table.

use std::time::Duration;

use crate::{
    caller::{Load, Outcome, User},
    machine::{cpu_of, cpu_of_postgres},
    servers::Program,
};

/// The figures of one scenario in one round.
pub struct Figures {
    /// Successful calls per second.
    pub rate: f64,
    /// Latency quantiles of successful calls, in milliseconds.
    pub p50: f64,
    pub p95: f64,
    pub p99: f64,
    /// CPU time per call of the server and of PostgreSQL, in microseconds.
    pub server: f64,
    pub database: f64,
    /// The failed calls by code.
    pub faults: String,
}

impl Figures {
    /// Loads a server and measures the CPU time.
    pub async fn of(server: &Program, load: Load, users: &[User]) -> anyhow::Result<Self> {
        let used = || (cpu_of(server.pid()), cpu_of_postgres());
        let before = used();
        let outcome = load.run(server.address, users).await?;
        let after = used();
        let calls: u64 = outcome.codes.values().sum();
        // The CPU time includes the warm-up, so its calls are counted too.
        let all = calls as f64 * (load.time + load.warm_up).div_duration_f64(load.time);
        let each = |before: Duration, after: Duration| {
            after.saturating_sub(before).as_secs_f64() * 1e6 / all.max(1.0)
        };
        Ok(Self {
            server: each(before.0, after.0),
            database: each(before.1, after.1),
            ..Self::from(&outcome)
        })
    }

    /// Prints a row of the table.
    pub fn print(&self, name: &str) {
        let Self {
            rate,
            p50,
            p95,
            p99,
            server,
            database,
            faults,
        } = self;
        println!(
            "{name:<44} {rate:>9.0} {p50:>8.2} {p95:>8.2} {p99:>8.2} {server:>8.1} {database:>8.1}  {faults}"
        );
    }
}

impl From<&Outcome> for Figures {
    fn from(outcome: &Outcome) -> Self {
        let faults = outcome.faults();
        let faults: Vec<_> = faults
            .iter()
            .map(|(code, count)| format!("{code:?} {count}"))
            .collect();
        Self {
            rate: outcome.rate(),
            p50: outcome.quantile(0.5),
            p95: outcome.quantile(0.95),
            p99: outcome.quantile(0.99),
            server: 0.0,
            database: 0.0,
            faults: match &*faults {
                [] => "none".to_owned(),
                faults => faults.join(", "),
            },
        }
    }
}

/// Prints the head of the table.
pub fn print_head() {
    println!(
        "{:<44} {:>9} {:>8} {:>8} {:>8} {:>8} {:>8}  faults",
        "scenario", "calls/s", "p50 ms", "p95 ms", "p99 ms", "us srv", "us db"
    );
}

/// The round with the median rate.
pub fn median(mut rounds: Vec<Figures>) -> Figures {
    rounds.sort_by(|one, other| one.rate.total_cmp(&other.rate));
    let middle = rounds.len() / 2;
    rounds.swap_remove(middle)
}

/// The median.
pub fn middle(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

/// Prints whether a goal is met.
pub fn print_goal(name: &str, value: f64, goal: &str, met: bool) {
    let verdict = if met { "met" } else { "MISSED" };
    println!("  {name}: {value:.2} (goal {goal}: {verdict})");
}
