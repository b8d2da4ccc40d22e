use super::relay_failure::RelayFailure;
use crate::proto::v1::{RelayErrorSeverity, RelayReport, RelayState};

/// The status of a relay.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct RelayStatus {
    pub(super) state: RelayState,
    /// Bytes that the destination has received.
    pub(super) bytes: u64,
    /// The recent bitrate, in bits per second.
    pub(super) bitrate: u64,
    /// Why it ended unexpectedly.
    pub(super) failure: Option<RelayFailure>,
}

impl RelayStatus {
    /// A relay that has sent nothing.
    pub(super) fn new(state: RelayState) -> Self {
        Self {
            state,
            bytes: 0,
            bitrate: 0,
            failure: None,
        }
    }

    /// A relay that has ended: it was stopped, or has failed.
    pub(super) fn ended(failure: Option<RelayFailure>) -> Self {
        let state = match &failure {
            None => RelayState::Idle,
            Some(failure) if failure.severity == RelayErrorSeverity::Fatal => RelayState::Failed,
            Some(_) => RelayState::Retrying,
        };
        Self {
            failure,
            ..Self::new(state)
        }
    }

    /// Whether no part of it runs any more. The report of such a status returns the lease.
    pub(super) fn is_over(&self) -> bool {
        is_over(self.state)
    }

    pub(super) fn report(self, lease_id: String) -> RelayReport {
        let Self {
            state,
            bytes,
            bitrate,
            failure,
        } = self;
        RelayReport {
            lease_id,
            state: state.into(),
            bytes_sent: i64::try_from(bytes).unwrap_or(i64::MAX),
            bitrate_bps: i64::try_from(bitrate).unwrap_or(i64::MAX),
            error: failure.map(Into::into),
        }
    }
}

pub(super) fn is_over(state: RelayState) -> bool {
    use RelayState::{Failed, Idle, Retrying};
    matches!(state, Idle | Retrying | Failed)
}
