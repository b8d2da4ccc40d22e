//! Constructors of registered metrics.
//!
//! Names and labels are literals of this module: an invalid one fails every test.

use prometheus::{
    Counter, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec,
    IntGauge, IntGaugeVec, Opts, core::Collector, default_registry,
};

/// Declares a static with metrics, which are registered when it is first used. The help text of
/// a metric is also its documentation.
///
/// A macro, because each metric would otherwise be written twice.
macro_rules! metrics {
    (
        $(#[$doc:meta])*
        $vis:vis static $STATIC:ident: $Metrics:ident {
            $($field:ident: $Metric:ty =
                $create:ident($name:literal, $help:literal $(, $more:expr)* $(,)?);)+
        }
    ) => {
        $(#[$doc])*
        $vis static $STATIC: std::sync::LazyLock<$Metrics> =
            std::sync::LazyLock::new(|| $Metrics {
                $($field: $create($name, $help $(, $more)*),)+
            });

        #[doc = concat!("See [`", stringify!($STATIC), "`].")]
        #[derive(Debug)]
        $vis struct $Metrics {
            $(#[doc = $help] $vis $field: $Metric,)+
        }
    };
}
pub(super) use metrics;

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

/// Counters, of which those with these values of the label exist from the start.
pub(super) fn counters_with(name: &str, help: &str, label: &str, values: &[&str]) -> IntCounterVec {
    let counters = counters(name, help, &[label]);
    for value in values {
        counters.with_label_values(&[value]);
    }
    counters
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
