//! Constructors of registered metrics.
//!
//! Names and labels are literals of this module: an invalid one fails every test.

use prometheus::{
    Counter, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec,
    IntGauge, IntGaugeVec, Opts, core::Collector, default_registry,
};

fn register<C: Collector + Clone + 'static>(created: prometheus::Result<C>) -> C {
    let collector = created.expect("the name and the labels are valid");
    default_registry()
        .register(Box::new(collector.clone()))
        .expect("no other metric has the name");
    collector
}

pub(super) fn counter(name: &str, help: &str) -> IntCounter {
    register(IntCounter::new(name, help))
}

pub(super) fn counters(name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    register(IntCounterVec::new(Opts::new(name, help), labels))
}

pub(super) fn gauge(name: &str, help: &str) -> IntGauge {
    register(IntGauge::new(name, help))
}

pub(super) fn gauges(name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
    register(IntGaugeVec::new(Opts::new(name, help), labels))
}

pub(super) fn fraction(name: &str, help: &str) -> Gauge {
    register(Gauge::new(name, help))
}

pub(super) fn fraction_counter(name: &str, help: &str) -> Counter {
    register(Counter::new(name, help))
}

pub(super) fn fractions(name: &str, help: &str, labels: &[&str]) -> GaugeVec {
    register(GaugeVec::new(Opts::new(name, help), labels))
}

pub(super) fn seconds(name: &str, help: &str, buckets: &[f64]) -> Histogram {
    let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
    register(Histogram::with_opts(options))
}

pub(super) fn seconds_by(name: &str, help: &str, buckets: &[f64], labels: &[&str]) -> HistogramVec {
    let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
    register(HistogramVec::new(options, labels))
}
