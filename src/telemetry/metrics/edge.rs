use std::time::Duration;

use prometheus::{Gauge, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};
use tonic::Code;

use super::{
    calls::CODES,
    registry::{counter, counters, fraction, gauge, gauges, metrics, seconds_by},
};

/// Histogram bounds for the duration of a hook or a call, in seconds. Media servers wait for
/// hooks for 10 seconds and more.
const DURATION_BUCKETS: [f64; 10] = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0];

metrics! {
    /// The state of an edge, its hooks, calls and relays.
    pub(crate) static EDGE: EdgeMetrics {
        ready: IntGauge =
            gauge("sluice_edge_ready", "Whether new publishers can be admitted, as in /readyz.");
        media_server_up: IntGauge = gauge(
            "sluice_edge_media_server_up",
            "Whether the media server answers requests to its API.",
        );
        control_plane_up: IntGauge = gauge(
            "sluice_edge_control_plane_up",
            "Whether the control plane has accepted the last report of publishers.",
        );
        publishers: IntGauge =
            gauge("sluice_edge_publishers", "Connections that the control plane has accepted.");
        disconnects: IntCounter = counter(
            "sluice_edge_disconnects_total",
            "Requests to the media server to disconnect a publisher.",
        );
        hooks: IntCounterVec = counters(
            "sluice_edge_hooks_total",
            "Hooks of the media server: accepted, refused by a decision, unavailable because the control plane did not decide, or invalid.",
            &["hook", "outcome"],
        );
        hook_durations: HistogramVec = seconds_by(
            "sluice_edge_hook_seconds",
            "Duration of hooks.",
            &DURATION_BUCKETS,
            &["hook"],
        );
        unknown_requests: IntCounter = counter(
            "sluice_edge_unknown_requests_total",
            "Requests to the hook address with an unknown path or a wrong secret.",
        );
        calls: IntCounterVec = counters(
            "sluice_edge_calls_total",
            "Calls to the control plane, by code.",
            &["method", "code"],
        );
        call_durations: HistogramVec = seconds_by(
            "sluice_edge_call_seconds",
            "Duration of calls to the control plane; of ClaimRelays, until the stream is open.",
            &DURATION_BUCKETS,
            &["method"],
        );
        relays: IntGaugeVec =
            gauges("sluice_edge_relays", "Relays that run here, by state.", &["state"]);
        relays_load: IntGauge = gauge(
            "sluice_edge_relays_load",
            "What the relays take of their maximum: ten each if their video is encoded, else one.",
        );
        relays_limit: IntGauge = gauge(
            "sluice_edge_relays_limit",
            "Maximum number of relays that run here (SLUICE_RELAY_CAPACITY).",
        );
        relay_bytes: IntCounter = counter(
            "sluice_edge_relay_bytes_total",
            "Bytes that destinations have received.",
        );
        relay_lag: Gauge = fraction(
            "sluice_edge_relay_lag_seconds",
            "Media that waits to be sent, of the relay with the most.",
        );
        relay_dropped_packets: IntCounter = counter(
            "sluice_edge_relay_dropped_packets_total",
            "Packets of media dropped because a destination was too slow.",
        );
        relay_retransmitted_segments: IntCounter = counter(
            "sluice_edge_relay_retransmitted_segments_total",
            "TCP segments that were sent to destinations again.",
        );
        relay_failures: IntCounterVec = counters(
            "sluice_edge_relay_failures_total",
            "Relays that ended with an error, by its code.",
            &["code"],
        );
    }
}

/// The outcome of a hook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HookOutcome {
    /// The media server may continue.
    Accepted,
    /// The publisher must not publish.
    Refused,
    /// There is no decision: the publisher may try again.
    Unavailable,
    /// The hook cannot be parsed, or belongs to another kind of media server.
    Invalid,
}

impl HookOutcome {
    fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Refused => "refused",
            Self::Unavailable => "unavailable",
            Self::Invalid => "invalid",
        }
    }
}

impl EdgeMetrics {
    /// Counts a hook with this name.
    pub(crate) fn hook(&self, name: &'static str, outcome: HookOutcome, duration: Duration) {
        let labels = [name, outcome.as_str()];
        self.hooks.with_label_values(&labels).inc();
        let durations = self.hook_durations.with_label_values(&[name]);
        durations.observe(duration.as_secs_f64());
    }

    /// Counts a call of an RPC with this name.
    pub(crate) fn call(&self, method: &'static str, code: Code, duration: Duration) {
        let labels = [method, CODES[code as usize]];
        self.calls.with_label_values(&labels).inc();
        let durations = self.call_durations.with_label_values(&[method]);
        durations.observe(duration.as_secs_f64());
    }
}
