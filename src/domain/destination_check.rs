use serde::{Deserialize, Serialize};

text_enum! {
    /// A step of the check of a destination, in this order.
    pub enum CheckStep {
        /// Resolving the host name.
        Name = "name",
        /// The rules for addresses.
        Address = "address",
        /// The TCP connection.
        Tcp = "tcp",
        /// The TLS handshake.
        Tls = "tls",
        /// The RTMP handshake.
        Rtmp = "rtmp",
        /// The RTMP application.
        Application = "application",
        /// The answer of an SRT listener.
        Srt = "srt",
    }
}

text_enum! {
    /// The result of a step.
    pub enum CheckOutcome {
        /// It has succeeded.
        Passed = "passed",
        /// It has failed, and is the last one.
        Failed = "failed",
    }
}

/// The result of one step of the check of a destination.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckResult {
    /// The step.
    pub step: CheckStep,
    /// Its result.
    pub outcome: CheckOutcome,
    /// An explanation for people.
    pub detail: String,
    /// How long it took, in milliseconds.
    pub millis: u64,
}
