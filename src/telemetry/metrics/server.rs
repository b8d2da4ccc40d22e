use std::sync::LazyLock;

use prometheus::{Gauge, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use super::registry::{counter, counters, fraction, gauge, gauges};

/// Streams, relays, watches, calls and connections.
pub(crate) static SERVER: LazyLock<ServerMetrics> = LazyLock::new(ServerMetrics::new);

/// See [`SERVER`]; the help text of each metric describes it.
#[derive(Debug)]
pub(crate) struct ServerMetrics {
    pub streams: IntGaugeVec,
    pub relays: IntGaugeVec,
    pub workers: IntGauge,
    pub leases: IntGauge,
    pub mail_waiting: IntGauge,
    pub mail_age: Gauge,
    pub watches: IntGauge,
    pub watches_limit: IntGauge,
    pub revocations_age: Gauge,
    pub calls: IntGauge,
    pub calls_limit: IntGauge,
    pub calls_shed: IntCounter,
    pub connections: IntGauge,
    pub connections_limit: IntGauge,
    pub accepted: IntCounter,
    pub refused_connections: IntCounterVec,
    pub certificate_expiry: Gauge,
    pub disk_free: IntGauge,
    pub disk_size: IntGauge,
    pub publishes_begun: IntCounter,
    pub publishes_refused: IntCounterVec,
    pub changes: IntCounter,
    pub change_notifications: IntCounter,
}

impl ServerMetrics {
    fn new() -> Self {
        let metrics = Self {
            streams: gauges(
                "sluice_streams",
                "Streams that have not ended, by status.",
                &["status"],
            ),
            relays: gauges(
                "sluice_relays",
                "Relays of streams that have not ended, by state.",
                &["state"],
            ),
            workers: gauge("sluice_relay_workers", "Workers with leases of relays."),
            leases: gauge(
                "sluice_relay_leases",
                "Leases of relays that have not expired.",
            ),
            mail_waiting: gauge(
                "sluice_mail_waiting",
                "E-mail messages that wait to be sent.",
            ),
            mail_age: fraction(
                "sluice_mail_oldest_age_seconds",
                "Age of the oldest e-mail message that waits to be sent.",
            ),
            watches: gauge("sluice_watches", "Watches of this replica."),
            watches_limit: gauge(
                "sluice_watches_limit",
                "Maximum number of watches of this replica.",
            ),
            revocations_age: fraction(
                "sluice_revocations_age_seconds",
                "Time since revoked sessions and API keys were last read from the database.",
            ),
            calls: gauge("sluice_calls", "Calls that run."),
            calls_limit: gauge(
                "sluice_calls_limit",
                "Maximum number of concurrent calls (SLUICE_MAX_CALLS).",
            ),
            calls_shed: counter(
                "sluice_calls_shed_total",
                "Calls refused because of overload.",
            ),
            connections: gauge("sluice_connections", "Open connections to the gRPC port."),
            connections_limit: gauge(
                "sluice_connections_limit",
                "Maximum number of connections to the gRPC port.",
            ),
            accepted: counter(
                "sluice_connections_accepted_total",
                "Connections to the gRPC port accepted.",
            ),
            refused_connections: counters(
                "sluice_connections_refused_total",
                "Connections to the gRPC port refused or closed early, by cause.",
                &["cause"],
            ),
            certificate_expiry: fraction(
                "sluice_tls_certificate_expiry_timestamp_seconds",
                "When the certificate of the gRPC port expires; 0 without TLS.",
            ),
            disk_free: gauge(
                "sluice_data_dir_free_bytes",
                "Free bytes on the file system of the data directory, which holds the embedded database.",
            ),
            disk_size: gauge(
                "sluice_data_dir_size_bytes",
                "Size of the file system of the data directory.",
            ),
            publishes_begun: counter("sluice_publishes_begun_total", "Publishers admitted."),
            publishes_refused: counters(
                "sluice_publishes_refused_total",
                "Publishers refused, by the reason of the error.",
                &["reason"],
            ),
            changes: counter(
                "sluice_changes_total",
                "Changes of projects committed by this replica, with their events.",
            ),
            change_notifications: counter(
                "sluice_hints_heard_total",
                "Change notifications received from other replicas.",
            ),
        };
        for reason in ["PUBLISH_CONFLICT", "STREAM_KEY_INVALID"] {
            metrics.publishes_refused.with_label_values(&[reason]);
        }
        for cause in ["full", "address", "crowded_out", "handshake", "age", "idle"] {
            metrics.refused_connections.with_label_values(&[cause]);
        }
        metrics
    }
}
