use crate::proto::v1::{RelayError, RelayErrorSeverity};

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
