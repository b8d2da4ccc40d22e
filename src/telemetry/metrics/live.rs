use std::sync::LazyLock;

use prometheus::{Gauge, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use super::registry::{counter, counters, fraction, gauge, gauges};

/// Streams, relays, watches and connections.
pub static LIVE: LazyLock<Live> = LazyLock::new(Live::new);

/// See [`LIVE`].
#[derive(Debug)]
pub struct Live {
    /// Streams that have not ended, by status.
    pub streams: IntGaugeVec,
    /// Relays of those streams, by state.
    pub relays: IntGaugeVec,
    /// Workers that have leases.
    pub workers: IntGauge,
    /// Leases that have not run out.
    pub leases: IntGauge,
    /// Messages that wait to be sent.
    pub mail_waiting: IntGauge,
    /// For how long the oldest of them has waited.
    pub mail_age: Gauge,
    /// Watches that this replica serves.
    pub watches: IntGauge,
    /// How many it may serve.
    pub watches_limit: IntGauge,
    /// For how long what was ended was not read.
    pub revocations_age: Gauge,
    /// Calls that are worked on.
    pub calls: IntGauge,
    /// How many there may be.
    pub calls_limit: IntGauge,
    /// Calls that were refused because there were too many.
    pub calls_shed: IntCounter,
    /// Connections to the gRPC port that are open.
    pub connections: IntGauge,
    /// How many there may be.
    pub connections_limit: IntGauge,
    /// Connections that were accepted.
    pub accepted: IntCounter,
    /// Connections that were refused or closed early, by cause.
    pub turned_away: IntCounterVec,
    /// When the certificate of the gRPC port expires.
    pub certificate_expiry: Gauge,
    /// Room on the disk with the data directory.
    pub disk_free: IntGauge,
    /// The size of that disk.
    pub disk_size: IntGauge,
    publishes: IntCounter,
    publishes_refused: IntCounterVec,
    changes: IntCounter,
    hints: IntCounter,
}

impl Live {
    fn new() -> Self {
        let live = Self {
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
            workers: gauge(
                "sluice_relay_workers",
                "Workers that have leases of relays.",
            ),
            leases: gauge(
                "sluice_relay_leases",
                "Leases of relays that have not run out.",
            ),
            mail_waiting: gauge("sluice_mail_waiting", "Messages that wait to be sent."),
            mail_age: fraction(
                "sluice_mail_oldest_age_seconds",
                "For how long the oldest of the messages that wait has waited.",
            ),
            watches: gauge("sluice_watches", "Watches that this replica serves."),
            watches_limit: gauge("sluice_watches_limit", "How many watches it may serve."),
            revocations_age: fraction(
                "sluice_revocations_age_seconds",
                "For how long ended sessions and keys were not read from the database.",
            ),
            calls: gauge("sluice_calls", "Calls that are worked on."),
            calls_limit: gauge(
                "sluice_calls_limit",
                "How many calls may be worked on at once (SLUICE_MAX_CALLS).",
            ),
            calls_shed: counter(
                "sluice_calls_shed_total",
                "Calls that were refused because there were too many.",
            ),
            connections: gauge(
                "sluice_connections",
                "Connections to the gRPC port that are open.",
            ),
            connections_limit: gauge(
                "sluice_connections_limit",
                "How many connections to the gRPC port there may be.",
            ),
            accepted: counter(
                "sluice_connections_accepted_total",
                "Connections to the gRPC port that were accepted.",
            ),
            turned_away: counters(
                "sluice_connections_refused_total",
                "Connections to the gRPC port that were refused or closed early, by cause.",
                &["cause"],
            ),
            certificate_expiry: fraction(
                "sluice_tls_certificate_expiry_timestamp_seconds",
                "When the certificate of the gRPC port expires; 0 without TLS.",
            ),
            disk_free: gauge(
                "sluice_data_dir_free_bytes",
                "Room on the disk with the data directory, which has the embedded database.",
            ),
            disk_size: gauge("sluice_data_dir_size_bytes", "The size of that disk."),
            publishes: counter(
                "sluice_publishes_begun_total",
                "Publishers that were let in.",
            ),
            publishes_refused: counters(
                "sluice_publishes_refused_total",
                "Publishers that were refused, by the reason that they were given.",
                &["reason"],
            ),
            changes: counter(
                "sluice_changes_total",
                "Changes of projects that this replica committed with their events.",
            ),
            hints: counter(
                "sluice_hints_heard_total",
                "Changes that other replicas told of.",
            ),
        };
        for reason in ["PUBLISH_CONFLICT", "STREAM_KEY_INVALID"] {
            live.publishes_refused.with_label_values(&[reason]);
        }
        for cause in ["full", "address", "crowded_out", "handshake", "age", "idle"] {
            live.turned_away.with_label_values(&[cause]);
        }
        live
    }

    /// Counts a publisher that was let in.
    pub fn publish_begun(&self) {
        self.publishes.inc();
    }

    /// Counts a publisher that was refused, for the reason of an error.
    pub fn publish_refused(&self, reason: &'static str) {
        self.publishes_refused.with_label_values(&[reason]).inc();
    }

    /// Counts a change of a project.
    pub fn changed(&self) {
        self.changes.inc();
    }

    /// Counts a change by another replica.
    pub fn heard(&self) {
        self.hints.inc();
    }
}
