use std::io;

use crate::proto::v1::{
    RelayError,
    RelayErrorSeverity::{self, Fatal, Retryable},
};

/// Why a relay ended unexpectedly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RelayFailure {
    /// The machine-readable code: letters A to Z, digits and underscores, at most 64.
    pub(super) code: &'static str,
    /// Whether another try may succeed.
    pub(super) severity: RelayErrorSeverity,
    /// A sentence without secrets, at most 512 characters.
    pub(super) message: String,
}

impl RelayFailure {
    pub(super) fn new(
        code: &'static str,
        severity: RelayErrorSeverity,
        message: impl Into<String>,
    ) -> Self {
        let message = message.into();
        Self {
            code,
            severity,
            message,
        }
    }

    pub(super) fn cannot_start(error: &io::Error) -> Self {
        let message = format!("cannot start a process: {error}");
        Self::new("FFMPEG_FAILED", Retryable, message)
    }

    pub(super) fn no_input_url() -> Self {
        let message = "the edge has not reported a play URL of the stream";
        Self::new("INPUT_UNKNOWN", Retryable, message)
    }

    /// The destination has a passphrase: media must not be sent to it in clear.
    pub(super) fn encryption_unsupported() -> Self {
        let message = "only SRT can encrypt with the destination's passphrase";
        Self::new("ENCRYPTION_UNSUPPORTED", Fatal, message)
    }

    /// Whether a destination that had accepted the stream is gone.
    pub(super) fn is_loss(&self) -> bool {
        self.code == "DESTINATION_LOST" && !self.is_fatal()
    }

    /// Whether the destination has answered no attempt for seconds.
    pub(super) fn is_silence(&self) -> bool {
        ["CONNECT_TIMEOUT", "HOST_UNREACHABLE"].contains(&self.code) && !self.is_fatal()
    }

    pub(super) fn is_fatal(&self) -> bool {
        self.severity == Fatal
    }

    /// This failure, after which another try failed too. It has the code of a destination that does
    /// not answer, because that is what to wait for.
    pub(super) fn and_then(mut self, next: &Self) -> Self {
        self.message = format!("{}; connecting again: {}", self.message, next.message);
        if next.is_silence() {
            self.code = next.code;
        }
        self
    }

    /// The task of the relay ended without a status.
    pub(super) fn crashed() -> Self {
        let message = "the relay has crashed in the edge";
        Self::new("RELAY_LOST", Retryable, message)
    }

    /// The destination has not answered anything since it acknowledged the last bytes.
    pub(super) fn silent() -> Self {
        let message = "the destination does not answer any more";
        Self::new("CONNECT_TIMEOUT", Retryable, message)
    }

    /// The destination acknowledges no more bytes. `is_waiting` means that there are some to
    /// acknowledge.
    pub(super) fn no_progress(is_waiting: bool) -> Self {
        let message = match is_waiting {
            true => "the destination acknowledges no more media",
            false => "the media server sends no more media",
        };
        Self::new("NO_PROGRESS", Retryable, message)
    }
}

/// The number of failures in a row, of which the last was a refusal, after which a refusal
/// with this code is final; `None` if the code does not mean that the destination may have
/// refused the key. The first tries may fail because the destination still holds the
/// connection of the try before, or was restarted.
pub(super) fn max_refusals(code: &str) -> Option<i64> {
    match code {
        "DESTINATION_REFUSED" => Some(4),
        "DESTINATION_CLOSED_EARLY" => Some(6),
        _ => None,
    }
}

impl From<RelayFailure> for RelayError {
    fn from(failure: RelayFailure) -> Self {
        let RelayFailure {
            code,
            severity,
            message,
        } = failure;
        Self {
            code: code.to_owned(),
            severity: severity.into(),
            message,
        }
    }
}
