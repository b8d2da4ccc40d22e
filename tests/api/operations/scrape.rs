use std::collections::BTreeMap;

use crate::harness::Process;

/// The metrics of a program, as they were when they were read.
#[derive(Debug)]
pub struct Sample {
    pub text: String,
}

impl Sample {
    pub async fn of(program: &Process) -> Self {
        let answer = program.operations("GET", "/metrics", "").await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let head = answer.head;
        assert!(head.contains("text/plain; version=0.0.4"), "{head}");
        Self { text: answer.text }
    }

    /// The names of all series with their labels, and their values.
    pub fn series(&self) -> BTreeMap<&str, f64> {
        let lines = self.text.lines().filter(|line| !line.starts_with('#'));
        let parted = lines.map(|line| line.rsplit_once(' ').unwrap());
        parted
            .map(|(name, value)| (name, value.parse().unwrap()))
            .collect()
    }

    /// The sum of the series with this name that have all of these labels, for example
    /// `grpc_method="SignIn"`; `None` if there is none.
    pub fn value(&self, name: &str, labels: &[&str]) -> Option<f64> {
        let series = self.series();
        let named = series.iter().filter(|(series, _)| {
            let (its_name, its_labels) = series.split_once('{').unwrap_or((series, ""));
            its_name == name && labels.iter().all(|label| its_labels.contains(label))
        });
        named
            .map(|(_, value)| *value)
            .reduce(|sum, value| sum + value)
    }
}
