//! The programs of this build and of another one, measured in turn.

use crate::{
    caller::{Load, User},
    figures::{Figures, median, middle, print_goal},
    servers::Program,
};

/// The rounds of each program, in the order of the sides, with a ceiling beside each of them.
pub struct Comparison {
    rounds: Vec<Vec<Figures>>,
    ceilings: Vec<f64>,
}

/// A figure that two programs are compared by.
#[derive(Clone, Copy)]
pub struct Metric {
    name: &'static str,
    of: fn(&Figures) -> f64,
    goal: Option<Goal>,
}

/// What the ratio of this build's figure to the other one's must be.
#[derive(Clone, Copy)]
enum Goal {
    AtLeast(f64),
    AtMost(f64),
}

/// Calls, or sequences of calls, per second.
pub const RATE: Metric = Metric {
    name: "rate",
    of: |figures| figures.rate,
    goal: None,
};

/// The median latency.
pub const P50: Metric = Metric {
    name: "p50",
    of: |figures| figures.p50,
    goal: None,
};

/// The latency that 95 % do not exceed.
pub const P95: Metric = Metric {
    name: "p95",
    of: |figures| figures.p95,
    goal: None,
};

/// The CPU time of the server and of PostgreSQL.
pub const CPU: Metric = Metric {
    name: "CPU time",
    of: |figures| figures.server + figures.database,
    goal: None,
};

impl Metric {
    /// The same, at least this multiple of the other one's.
    pub const fn at_least(self, ratio: f64) -> Self {
        Self {
            goal: Some(Goal::AtLeast(ratio)),
            ..self
        }
    }

    /// The same, at most this part of the other one's.
    pub const fn at_most(self, ratio: f64) -> Self {
        Self {
            goal: Some(Goal::AtMost(ratio)),
            ..self
        }
    }

    fn print(self, ratio: f64) {
        let name = format!("{} of the baseline's", self.name);
        match self.goal {
            None => println!("  {name}: {ratio:.2}"),
            Some(Goal::AtLeast(goal)) => {
                print_goal(&name, ratio, &format!("at least {goal}"), ratio >= goal)
            }
            Some(Goal::AtMost(goal)) => {
                print_goal(&name, ratio, &format!("at most {goal}"), ratio <= goal)
            }
        }
    }
}

impl Comparison {
    /// Loads each program in each round, each with its own users, after the measurement of the
    /// ceiling, if there is one.
    pub async fn run(
        rounds: usize,
        load: Load,
        sides: &[(&Program, Vec<User>)],
        ceiling: impl AsyncFn() -> anyhow::Result<Option<f64>>,
    ) -> anyhow::Result<Self> {
        let mut measured: Vec<Vec<Figures>> = sides.iter().map(|_| Vec::new()).collect();
        let mut ceilings = Vec::new();
        for _ in 0..rounds {
            ceilings.extend(ceiling().await?);
            for ((program, users), rounds) in sides.iter().zip(&mut measured) {
                rounds.push(Figures::of(program, load, users).await?);
            }
        }
        Ok(Self {
            rounds: measured,
            ceilings,
        })
    }

    /// The median ratio of this build's rates to the ceilings beside them.
    pub fn of_ceiling(&self) -> f64 {
        let pairs = self.rounds[0].iter().zip(&self.ceilings);
        middle(pairs.map(|(round, ceiling)| round.rate / ceiling).collect())
    }

    /// The median ratio of this build's figures to those of the other one, if there is one.
    fn of_baseline(&self, metric: Metric) -> Option<f64> {
        let [ours, baseline] = &self.rounds[..] else {
            return None;
        };
        let pairs = ours.iter().zip(baseline);
        let ratios = pairs.map(|(our, their)| (metric.of)(our) / (metric.of)(their));
        Some(middle(ratios.collect()))
    }

    /// Prints the median ceiling.
    pub fn print_ceiling(&self, name: &str) {
        println!("{name:<44} {:>9.0}", middle(self.ceilings.clone()));
    }

    /// Prints the medians, and the ratios to the other build. Returns the median round of this
    /// build.
    pub fn print(self, name: &str, metrics: &[Metric]) -> Figures {
        let ratios: Vec<_> = metrics
            .iter()
            .filter_map(|metric| Some((metric, self.of_baseline(*metric)?)))
            .collect();
        let mut medians = self.rounds.into_iter().map(median);
        let ours = medians.next().expect("a program");
        ours.print(name);
        for baseline in medians {
            baseline.print("  the same with the baseline");
        }
        for (metric, ratio) in ratios {
            metric.print(ratio);
        }
        ours
    }
}

/// No ceiling.
pub async fn no_ceiling() -> anyhow::Result<Option<f64>> {
    Ok(None)
}
