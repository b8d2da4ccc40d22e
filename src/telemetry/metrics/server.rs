use std::{
    sync::LazyLock,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use prometheus::{Gauge, Histogram, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use super::registry::{
    counter, counters, counters_with, fraction, gauge, gauges, metrics, seconds, seconds_by,
};

/// Histogram bounds for the duration of a statement, in seconds.
const STATEMENT_BUCKETS: [f64; 13] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0,
];

metrics! {
    /// Streams, relays, watches, calls and connections.
    pub(crate) static SERVER: ServerMetrics {
        streams: IntGaugeVec =
            gauges("sluice_streams", "Streams that have not ended, by state.", &["state"]);
        relays: IntGaugeVec =
            gauges("sluice_relays", "Relays of streams that have not ended, by state.", &["state"]);
        issues: IntGaugeVec = gauges(
            "sluice_media_issues",
            "Issues of the media of streams and relays that are raised, by code.",
            &["code"],
        );
        workers: IntGauge = gauge("sluice_relay_workers", "Workers with leases of relays.");
        leases: IntGauge = gauge("sluice_relay_leases", "Leases of relays that have not expired.");
        suspended_users: IntGauge =
            gauge("sluice_suspended_users", "Accounts that an operator has suspended.");
        mail_waiting: IntGauge =
            gauge("sluice_mail_waiting", "E-mail messages that wait to be sent.");
        mail_age: Gauge = fraction(
            "sluice_mail_oldest_age_seconds",
            "Age of the oldest e-mail message that waits to be sent.",
        );
        watches: IntGauge = gauge("sluice_watches", "Watches of this replica.");
        watches_limit: IntGauge =
            gauge("sluice_watches_limit", "Maximum number of watches of this replica.");
        revocations_age: Gauge = fraction(
            "sluice_revocations_age_seconds",
            "Time since revoked sessions and API keys were last read from the database.",
        );
        calls: IntGauge = gauge("sluice_calls", "Calls that run.");
        calls_limit: IntGauge =
            gauge("sluice_calls_limit", "Maximum number of concurrent calls (SLUICE_MAX_CALLS).");
        calls_shed: IntCounter =
            counter("sluice_calls_shed_total", "Calls refused because of overload.");
        refusals: IntCounterVec = counters(
            "sluice_limit_refusals_total",
            "Calls refused by a limit, by its name and by what was exceeded: the total, or the share of a connection, an address or a caller.",
            &["limit", "of"],
        );
        overloaded: IntGauge = gauge(
            "sluice_overloaded",
            "Whether a call was refused within the last 30 seconds because a total limit was reached.",
        );
        incomplete: IntGauge =
            gauge("sluice_incomplete_requests", "Requests whose message has not arrived.");
        incomplete_limit: IntGauge =
            gauge("sluice_incomplete_requests_limit", "Maximum number of incomplete requests.");
        open_streams: IntGauge = gauge(
            "sluice_anonymous_streams",
            "Open health watches and reflection streams, which have no caller.",
        );
        open_streams_limit: IntGauge = gauge(
            "sluice_anonymous_streams_limit",
            "Maximum number of health watches and reflection streams.",
        );
        memory_held: IntGauge = gauge(
            "sluice_call_memory_bytes",
            "Memory of requests, and of responses that are not written.",
        );
        memory_held_limit: IntGauge = gauge(
            "sluice_call_memory_limit_bytes",
            "Maximum memory of requests and of responses that are not written (SLUICE_CALL_MEMORY_MIB).",
        );
        connections: IntGauge = gauge("sluice_connections", "Open connections to the gRPC port.");
        connections_limit: IntGauge =
            gauge("sluice_connections_limit", "Maximum number of connections to the gRPC port.");
        accepted: IntCounter =
            counter("sluice_connections_accepted_total", "Connections to the gRPC port accepted.");
        refused_connections: IntCounterVec = counters_with(
            "sluice_connections_refused_total",
            "Connections to the gRPC port refused or closed early, by cause.",
            "cause",
            &[
                "full", "address", "anonymous", "pace", "crowded_out", "handshake", "age", "idle", "unused",
                "unread", "frames", "incomplete", "misuse",
            ],
        );
        responses_unread: IntCounter = counter(
            "sluice_responses_unread_total",
            "Calls ended because their response was not read (SLUICE_RESPONSE_READ_TIMEOUT).",
        );
        certificate_expiry: Gauge = fraction(
            "sluice_tls_certificate_expiry_timestamp_seconds",
            "When the certificate of the gRPC port expires; 0 without TLS.",
        );
        disk_free: IntGauge = gauge(
            "sluice_data_dir_free_bytes",
            "Free bytes on the file system of the data directory, which holds the embedded database.",
        );
        disk_size: IntGauge =
            gauge("sluice_data_dir_size_bytes", "Size of the file system of the data directory.");
        publishes_begun: IntCounter =
            counter("sluice_publishes_begun_total", "Publishers admitted.");
        publishes_refused: IntCounterVec = counters_with(
            "sluice_publishes_refused_total",
            "Publishers refused, by the reason of the error.",
            "reason",
            &["PUBLISH_CONFLICT", "STREAM_KEY_INVALID", "ACCOUNT_SUSPENDED"],
        );
        changes: IntCounter = counter(
            "sluice_changes_total",
            "Changes of projects committed by this replica, with their events.",
        );
        change_notifications: IntCounter = counter(
            "sluice_hints_heard_total",
            "Change notifications received from other replicas.",
        );
    }
}

metrics! {
    /// Change notifications through NATS.
    pub(crate) static NATS: NatsMetrics {
        connected: IntGauge =
            gauge("sluice_nats_connected", "Whether this replica is connected to NATS; 0 without it.");
        subscriptions: IntGauge = gauge(
            "sluice_nats_subscriptions",
            "Subjects of projects and media servers to which this replica is subscribed.",
        );
        published: IntCounter =
            counter("sluice_nats_published_total", "Change notifications sent through NATS.");
        received: IntCounter =
            counter("sluice_nats_received_total", "Change notifications received through NATS.");
        ignored: IntCounter = counter(
            "sluice_nats_ignored_total",
            "Messages received through NATS that no replica sends: they have a content, or another subject.",
        );
        dropped: IntCounterVec = counters_with(
            "sluice_nats_dropped_total",
            "Change notifications not sent or not received through NATS: without a connection, or because a queue was full. Polls find what they are about.",
            "direction",
            &["publish", "receive"],
        );
    }
}

/// How long a server counts as overloaded after a refusal: two intervals of most scrapes.
const OVERLOAD_DURATION: Duration = Duration::from_secs(30);

/// When a total limit last refused a call.
static LAST_OVERLOAD: Mutex<Option<Instant>> = Mutex::new(None);

/// The labels of refusals by the limit of a connection's calls.
const CONNECTION_CALLS: [&str; 2] = ["connection_calls", "connection"];

impl ServerMetrics {
    /// Registers the refusals of a connection's calls, of a limit without shares, and of limits
    /// with shares.
    pub fn register_limits(&self, limits: &[&str]) {
        let refusals = &self.refusals;
        refusals.with_label_values(&CONNECTION_CALLS);
        for limit in limits {
            for of in ["total", "connection", "address", "caller"] {
                refusals.with_label_values(&[limit, of]);
            }
        }
    }

    /// Counts a call that a limit refuses, `of` the `total` or of a share of it.
    pub fn call_refused(&self, limit: &str, of: &str) {
        self.calls_shed.inc();
        self.refusals.with_label_values(&[limit, of]).inc();
        if of == "total" {
            *LAST_OVERLOAD.lock() = Some(Instant::now());
        }
    }

    /// Counts a call above the limit of its connection, which is no sign of overload.
    pub fn connection_calls_refused(&self) {
        self.refusals.with_label_values(&CONNECTION_CALLS).inc();
    }

    /// Updates whether the server is overloaded.
    pub fn update_overloaded(&self) {
        let last = *LAST_OVERLOAD.lock();
        let is_overloaded = last.is_some_and(|last| last.elapsed() < OVERLOAD_DURATION);
        self.overloaded.set(is_overloaded.into());
    }
}

metrics! {
    /// The database, as this process uses it.
    pub(crate) static DATABASE: DatabaseMetrics {
        up: IntGauge = gauge("sluice_database_up", "Whether the database answers and is migrated.");
        connections: IntGaugeVec = gauges(
            "sluice_database_connections",
            "Connections to the database, used and idle.",
            &["pool", "state"],
        );
        waiting: IntGauge =
            gauge("sluice_database_waiting", "Calls that wait for a connection to the database.");
        limits: IntGaugeVec = gauges(
            "sluice_database_connections_limit",
            "Maximum number of connections of a pool.",
            &["pool"],
        );
        clock_skew: Gauge = fraction(
            "sluice_clock_skew_seconds",
            "How far the clock of this machine is ahead of the database's; negative if behind.",
        );
        slow_statements: IntCounter = counter(
            "sluice_database_slow_statements_total",
            "Statements logged because they took longer than SLUICE_SLOW_QUERY.",
        );
    }
}

/// Histogram bounds for the time that a password occupies a thread, in seconds.
const DURATION_BUCKETS: [f64; 9] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];

metrics! {
    /// The hashing of passwords.
    pub static PASSWORDS: PasswordMetrics {
        waiting: IntGauge =
            gauge("sluice_password_queue_waiting", "Passwords that wait for a thread.");
        running: IntGauge =
            gauge("sluice_password_queue_running", "Passwords that are hashed or checked now.");
        refused: IntCounter = counter(
            "sluice_password_queue_refused_total",
            "Calls refused because the queue was full.",
        );
        address_refused: IntCounter = counter(
            "sluice_password_queue_address_refused_total",
            "Calls refused because their address used its share of the queue.",
        );
        durations: Histogram = seconds(
            "sluice_password_hash_seconds",
            "Time that a password occupied a thread.",
            &DURATION_BUCKETS,
        );
    }
}

/// The hashing of one password, until dropped.
#[derive(Debug)]
pub struct HashRun {
    started_at: Instant,
}

impl PasswordMetrics {
    /// Counts a password as running until the guard is dropped.
    pub fn start_run(&self) -> HashRun {
        self.running.inc();
        HashRun {
            started_at: Instant::now(),
        }
    }
}

impl Drop for HashRun {
    fn drop(&mut self) {
        PASSWORDS.running.dec();
        let duration = self.started_at.elapsed().as_secs_f64();
        PASSWORDS.durations.observe(duration);
    }
}

/// The durations of statements. They are measured without a lookup of labels, because
/// statements are the most frequent event of all.
pub(crate) static STATEMENTS: LazyLock<StatementMetrics> = LazyLock::new(StatementMetrics::new);

/// See [`STATEMENTS`].
#[derive(Debug)]
pub(crate) struct StatementMetrics {
    query: Histogram,
    begin: Histogram,
    commit: Histogram,
    other: Histogram,
}

/// The kind of a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StatementKind {
    /// It reads or writes rows.
    Query,
    /// It begins a transaction; on SQLite it waits for the write lock.
    Begin,
    /// It commits a transaction, and waits until that is durable.
    Commit,
    /// It rolls back, or controls a savepoint.
    Other,
}

impl StatementMetrics {
    fn new() -> Self {
        let by_kind = seconds_by(
            "sluice_database_statement_seconds",
            "Duration of statements of the database, by kind: query, begin, commit or other.",
            &STATEMENT_BUCKETS,
            &["kind"],
        );
        let of = |kind| by_kind.with_label_values(&[kind]);
        Self {
            query: of("query"),
            begin: of("begin"),
            commit: of("commit"),
            other: of("other"),
        }
    }

    /// Records the duration of a statement.
    pub fn record(&self, kind: StatementKind, duration: Duration) {
        let histogram = match kind {
            StatementKind::Query => &self.query,
            StatementKind::Begin => &self.begin,
            StatementKind::Commit => &self.commit,
            StatementKind::Other => &self.other,
        };
        histogram.observe(duration.as_secs_f64());
    }
}

impl StatementKind {
    /// The kind of a statement that controls a transaction.
    pub fn of_control(sql: &str) -> Self {
        match sql.split(' ').next() {
            Some("begin") => Self::Begin,
            Some("commit") => Self::Commit,
            _ => Self::Other,
        }
    }
}
