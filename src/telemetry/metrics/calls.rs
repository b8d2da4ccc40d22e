//! Calls, under the names of the gRPC ecosystem (go-grpc-prometheus).

use std::{
    collections::HashMap,
    sync::{LazyLock, OnceLock},
    time::Duration,
};

use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec};
use tonic::Code;

use super::registry::{counters, metrics, seconds_by};
use crate::proto::{self, DESCRIPTORS};

/// Histogram bounds for the duration of a call, in seconds.
const DURATION_BUCKETS: [f64; 13] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// The code names of go-grpc-prometheus, by number.
pub(super) const CODES: [&str; 17] = [
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
];

const METHOD_LABELS: [&str; 3] = ["grpc_type", "grpc_service", "grpc_method"];
const HANDLED_LABELS: [&str; 4] = ["grpc_type", "grpc_service", "grpc_method", "grpc_code"];

static METHODS: LazyLock<MethodMetrics> = LazyLock::new(MethodMetrics::new);

/// The metrics of each known RPC by path; unknown RPCs share one.
struct MethodMetrics {
    known: HashMap<String, CallMetrics>,
    unknown: CallMetrics,
}

/// The calls of one RPC.
#[derive(Debug)]
pub struct CallMetrics {
    labels: [String; 3],
    started: IntCounter,
    sent: IntCounter,
    // Created at first use: series without samples would make most of the exposition.
    handled: [OnceLock<IntCounter>; CODES.len()],
    durations: OnceLock<Histogram>,
}

/// The calls of the RPC with this path, for example `/sluice.v1.AuthService/GetMe`.
pub fn call_metrics(path: &str) -> &'static CallMetrics {
    METHODS.known.get(path).unwrap_or(&METHODS.unknown)
}

/// Registers the metrics of all RPCs.
pub fn register_calls() {
    LazyLock::force(&METHODS);
}

metrics! {
    /// The metrics of all RPCs together.
    static FAMILIES: Families {
        started: IntCounterVec =
            counters("grpc_server_started_total", "Calls started.", &METHOD_LABELS);
        handled: IntCounterVec =
            counters("grpc_server_handled_total", "Calls completed, by code.", &HANDLED_LABELS);
        sent: IntCounterVec =
            counters("grpc_server_msg_sent_total", "Messages sent.", &METHOD_LABELS);
        durations: HistogramVec = seconds_by(
            "grpc_server_handling_seconds",
            "Duration of calls, from the first byte to the last.",
            &DURATION_BUCKETS,
            &METHOD_LABELS,
        );
    }
}

impl MethodMetrics {
    fn new() -> Self {
        let sets = [
            DESCRIPTORS,
            tonic_health::pb::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
        ];
        let methods = sets.into_iter().flat_map(proto::methods);
        let known = methods.map(|(service, method)| {
            let kind = match (method.client_streaming(), method.server_streaming()) {
                (false, false) => "unary",
                (false, true) => "server_stream",
                (true, false) => "client_stream",
                (true, true) => "bidi_stream",
            };
            let path = format!("/{service}/{}", method.name());
            (path, CallMetrics::new(kind, &service, method.name()))
        });
        Self {
            known: known.collect(),
            unknown: CallMetrics::new("unary", "unknown", "unknown"),
        }
    }
}

impl CallMetrics {
    fn new(kind: &str, service: &str, method: &str) -> Self {
        let labels = [kind, service, method];
        Self {
            started: FAMILIES.started.with_label_values(&labels),
            sent: FAMILIES.sent.with_label_values(&labels),
            handled: Default::default(),
            durations: OnceLock::new(),
            labels: labels.map(ToOwned::to_owned),
        }
    }

    /// Counts a call that starts.
    pub fn started(&self) {
        self.started.inc();
    }

    /// Counts messages that are sent.
    pub fn sent(&self, messages: u64) {
        self.sent.inc_by(messages);
    }

    /// Counts a completed call.
    pub fn handled(&self, code: Code, duration: Duration) {
        let [kind, service, method] = self.labels.each_ref().map(String::as_str);
        let number = code as usize;
        let handled = self.handled[number].get_or_init(|| {
            let labels = [kind, service, method, CODES[number]];
            FAMILIES.handled.with_label_values(&labels)
        });
        handled.inc();
        let durations = self.durations.get_or_init(|| {
            let labels = [kind, service, method];
            FAMILIES.durations.with_label_values(&labels)
        });
        durations.observe(duration.as_secs_f64());
    }

    /// Whether the RPC exists.
    pub fn is_known(&self) -> bool {
        !std::ptr::eq(self, &METHODS.unknown)
    }

    /// Whether the RPC has one request and one response.
    pub fn is_unary(&self) -> bool {
        self.labels[0] == "unary"
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::{CODES, call_metrics};

    #[test]
    fn unknown_methods_share_one_series() {
        let (one, other) = (call_metrics("/a.B/C"), call_metrics("/sluice.v1.X/Y"));
        assert!(std::ptr::eq(one, other));
        let known = call_metrics("/sluice.v1.AuthService/GetMe");
        assert!(!std::ptr::eq(known, one));
        assert!(known.is_unary());
        assert!(!call_metrics("/sluice.v1.StreamService/WatchProject").is_unary());
    }

    #[test]
    fn codes_have_the_names_of_go_grpc_prometheus() {
        let name = |code: Code| CODES[code as usize];
        assert_eq!(name(Code::Cancelled), "Canceled");
        assert_eq!(name(Code::NotFound), "NotFound");
        assert_eq!(name(Code::Unauthenticated), "Unauthenticated");
    }
}
