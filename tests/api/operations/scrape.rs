use std::collections::BTreeMap;

use crate::harness::{Process, http};

/// One scrape of the metrics of a program.
#[derive(Debug)]
pub struct Scrape {
    pub text: String,
}

impl Scrape {
    pub async fn of(program: &Process) -> Self {
        Self::at(&program.operations_address().await).await
    }

    /// Of a program with this address of its operations port.
    pub async fn at(address: &str) -> Self {
        let answer = http(address, "GET", "/metrics", "").await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let head = answer.head;
        assert!(head.contains("text/plain; version=0.0.4"), "{head}");
        Self { text: answer.body }
    }

    /// The names of all series with their labels, and their values.
    pub fn series(&self) -> BTreeMap<&str, f64> {
        let lines = self.text.lines().filter(|line| !line.starts_with('#'));
        let pairs = lines.map(|line| line.rsplit_once(' ').unwrap());
        pairs
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
