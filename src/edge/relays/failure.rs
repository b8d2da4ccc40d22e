use crate::proto::v1::{RelayError, RelayErrorSeverity};

/// Why a relay ended that should have gone on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    /// For programs: letters A to Z, digits and underscores, at most 64.
    pub(super) code: &'static str,
    /// Whether it may pass.
    pub(super) severity: RelayErrorSeverity,
    /// For people, without keys; at most 512 characters.
    pub(super) message: String,
}

impl From<Fault> for RelayError {
    fn from(fault: Fault) -> Self {
        let Fault {
            code,
            severity,
            message,
        } = fault;
        Self {
            code: code.to_owned(),
            severity: severity.into(),
            message,
        }
    }
}
