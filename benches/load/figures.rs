//! What was measured, and how it is printed.

use std::time::Duration;

use crate::{
    caller::{Load, Outcome, User},
    machine::{cpu_of, cpu_of_postgres},
    servers::Program,
};

/// The figures of one scenario in one round.
pub struct Figures {
    /// Good answers a second.
    pub rate: f64,
    /// How long they took, in milliseconds.
    pub p50: f64,
    pub p95: f64,
    pub p99: f64,
    /// CPU of the server for each answer, and of PostgreSQL, in microseconds.
    pub server: f64,
    pub database: f64,
    /// What was not answered well.
    pub faults: String,
}

impl Figures {
    /// Puts a load on a server, and counts what both use.
    pub async fn of(server: &Program, load: Load, users: &[User]) -> anyhow::Result<Self> {
        let used = || (cpu_of(server.pid()), cpu_of_postgres());
        let before = used();
        let outcome = load.run(server.address, users).await?;
        let after = used();
        let calls: u64 = outcome.codes.values().sum();
        // The warm-up is counted too, on both sides of the fraction.
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

    /// Prints a line of the table.
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

/// The one in the middle, by their rate.
pub fn median(mut rounds: Vec<Figures>) -> Figures {
    rounds.sort_by(|one, other| one.rate.total_cmp(&other.rate));
    let middle = rounds.len() / 2;
    rounds.swap_remove(middle)
}

/// The middle of some numbers.
pub fn middle(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

/// Prints whether a goal is met.
pub fn print_goal(name: &str, value: f64, goal: &str, met: bool) {
    let verdict = if met { "met" } else { "MISSED" };
    println!("  {name}: {value:.2} (goal {goal}: {verdict})");
}
