use std::sync::LazyLock;

use prometheus::{
    Counter, Encoder, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter,
    IntCounterVec, IntGauge, IntGaugeVec, Opts, TextEncoder, core::Collector, default_registry,
};

use super::{BACKGROUND, DATABASE, LINES, LIVE, PASSWORDS, TRACES, calls, process};

/// All metrics as Prometheus reads them (text format 0.0.4).
pub fn text() -> String {
    // So that what never happened is there too, as a zero.
    LazyLock::force(&BACKGROUND);
    LazyLock::force(&DATABASE);
    LazyLock::force(&LINES);
    LazyLock::force(&LIVE);
    LazyLock::force(&PASSWORDS);
    LazyLock::force(&TRACES);
    calls::begin();
    process::read();

    let mut text = Vec::new();
    if let Err(fault) = TextEncoder::new().encode(&default_registry().gather(), &mut text) {
        tracing::warn!(%fault, "cannot write the metrics");
    }
    String::from_utf8_lossy(&text).into_owned()
}

/// Names and labels are literals of this room: a wrong one shows in every test.
fn registered<C: Collector + Clone + 'static>(made: prometheus::Result<C>) -> C {
    let collector = made.expect("the name and the labels are valid");
    default_registry()
        .register(Box::new(collector.clone()))
        .expect("no other metric has the name");
    collector
}

pub(super) fn counter(name: &str, help: &str) -> IntCounter {
    registered(IntCounter::new(name, help))
}

pub(super) fn counters(name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    registered(IntCounterVec::new(Opts::new(name, help), labels))
}

pub(super) fn gauge(name: &str, help: &str) -> IntGauge {
    registered(IntGauge::new(name, help))
}

pub(super) fn gauges(name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
    registered(IntGaugeVec::new(Opts::new(name, help), labels))
}

pub(super) fn fraction(name: &str, help: &str) -> Gauge {
    registered(Gauge::new(name, help))
}

pub(super) fn fraction_counter(name: &str, help: &str) -> Counter {
    registered(Counter::new(name, help))
}

pub(super) fn fractions(name: &str, help: &str, labels: &[&str]) -> GaugeVec {
    registered(GaugeVec::new(Opts::new(name, help), labels))
}

pub(super) fn seconds(name: &str, help: &str, buckets: &[f64]) -> Histogram {
    let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
    registered(Histogram::with_opts(options))
}

pub(super) fn seconds_by(name: &str, help: &str, buckets: &[f64], labels: &[&str]) -> HistogramVec {
    let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
    registered(HistogramVec::new(options, labels))
}
