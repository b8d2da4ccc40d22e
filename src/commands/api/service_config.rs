//! The gRPC service config for clients, derived from the contract.
//!
//! Format and meaning: <https://github.com/grpc/grpc/blob/master/doc/service_config.md> and
//! gRFC A6 (retries). A call is retried only if it may be repeated: it changes nothing, its request
//! has a `request_id`, or it is idempotent by its definition in the contract.

use std::collections::BTreeMap;

use prost::Message;
use prost_types::FileDescriptorSet;
use serde_json::{Value, json};

use crate::proto::methods;

/// Calls that change something and need no `request_id` to be repeated, as their comments in the
/// contract say.
const IDEMPOTENT: [&str; 19] = [
    "BeginPublish",
    "ClaimRelays",
    "DrainNode",
    "EndPublish",
    "ExchangeApiKey",
    "HeartbeatPublish",
    "RefreshTokens",
    "ReportRelays",
    "RequestEmailChange",
    "RequestEmailVerification",
    "RequestPasswordReset",
    "ResumeNode",
    "ResumeOrganization",
    "ResumeUser",
    "RevokeOperatorKey",
    "SignIn",
    "SuspendOrganization",
    "SuspendUser",
    "SyncNode",
];

/// The prefixes of calls that change nothing. `Check` is the health check.
const READS: [&str; 5] = ["Check", "Get", "List", "Reveal", "Watch"];

/// A heartbeat that took longer is worth less than the next one. A server sees a publisher as
/// silent after 35 seconds by default.
const REPORT_TIMEOUT: &str = "10s";

/// Longer than a restart of a server.
const TIMEOUT: &str = "30s";

/// How a call is treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Treatment {
    /// The deadline that includes all attempts; none for streams.
    timeout: Option<&'static str>,
    is_repeatable: bool,
}

/// The service config for the services of a descriptor set.
pub(super) fn service_config(descriptor_set: &[u8]) -> Value {
    let with_request_id = messages_with_request_id(descriptor_set);
    let mut groups: BTreeMap<Treatment, Vec<Value>> = BTreeMap::new();
    for (service, method) in methods(descriptor_set) {
        let name = method.name();
        let has_request_id = with_request_id.contains(&method.input_type().to_owned());
        let treatment = Treatment {
            timeout: match (method.server_streaming(), name) {
                (true, _) => None,
                (false, "HeartbeatPublish" | "ReportRelays" | "Check") => Some(REPORT_TIMEOUT),
                (false, _) => Some(TIMEOUT),
            },
            is_repeatable: has_request_id
                || IDEMPOTENT.contains(&name)
                || READS.iter().any(|prefix| name.starts_with(prefix)),
        };
        let names = groups.entry(treatment).or_default();
        names.push(json!({ "service": service, "method": name }));
    }
    let configs = groups
        .into_iter()
        .map(|(treatment, names)| treatment.config(names));
    json!({
        "methodConfig": configs.collect::<Vec<_>>(),
        // Below half of these tokens, nothing is retried: each failure takes one, each success
        // gives one. A server that stays unreachable gets no more than the first attempts.
        "retryThrottling": { "maxTokens": 1000, "tokenRatio": 1.0 },
    })
}

impl Treatment {
    fn config(self, names: Vec<Value>) -> Value {
        let mut config = json!({ "name": names });
        if let Some(timeout) = self.timeout {
            config["timeout"] = timeout.into();
            // Calls wait for a server that restarts, within their deadline.
            config["waitForReady"] = true.into();
        }
        if self.is_repeatable {
            config["retryPolicy"] = json!({
                "maxAttempts": 5,
                "initialBackoff": "0.2s",
                "maxBackoff": "5s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE"],
            });
        }
        config
    }
}

/// The full names of the messages with a field `request_id`, such as
/// `.sluice.v1.CreateProjectRequest`.
fn messages_with_request_id(descriptor_set: &[u8]) -> Vec<String> {
    let set = FileDescriptorSet::decode(descriptor_set).unwrap_or_default();
    let messages = set.file.into_iter().flat_map(|file| {
        let package = file.package().to_owned();
        let messages = file.message_type.into_iter();
        messages.map(move |message| (package.clone(), message))
    });
    messages
        .filter(|(_, message)| message.field.iter().any(|f| f.name() == "request_id"))
        .map(|(package, message)| format!(".{package}.{}", message.name()))
        .collect()
}
