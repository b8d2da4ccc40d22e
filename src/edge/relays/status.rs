use super::failure::Fault;
use crate::proto::v1::{RelayErrorSeverity, RelayReport, RelayState};

/// What is seen of a relay.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Seen {
    /// What it does.
    pub(super) state: RelayState,
    /// Bytes that the far side has taken.
    pub(super) bytes: u64,
    /// Bits per second, of late.
    pub(super) bitrate: u64,
    /// Why it ended.
    pub(super) fault: Option<Fault>,
}

impl Seen {
    /// A relay that sends nothing.
    pub(super) fn idle_in(state: RelayState) -> Self {
        Self {
            state,
            bytes: 0,
            bitrate: 0,
            fault: None,
        }
    }

    /// A relay that ended: as it was told to, or for a reason.
    pub(super) fn ended(fault: Option<Fault>) -> Self {
        let state = match &fault {
            None => RelayState::Idle,
            Some(fault) if fault.severity == RelayErrorSeverity::Fatal => RelayState::Failed,
            Some(_) => RelayState::Retrying,
        };
        Self {
            fault,
            ..Self::idle_in(state)
        }
    }

    /// Whether nothing of it runs any more: its report gives the lease back.
    pub(super) fn is_over(&self) -> bool {
        matches!(
            self.state,
            RelayState::Idle | RelayState::Retrying | RelayState::Failed
        )
    }

    /// What the control plane is told.
    pub(super) fn report(self, lease_id: String) -> RelayReport {
        let Self {
            state,
            bytes,
            bitrate,
            fault,
        } = self;
        RelayReport {
            lease_id,
            state: state.into(),
            bytes_sent: i64::try_from(bytes).unwrap_or(i64::MAX),
            bitrate_bps: i64::try_from(bitrate).unwrap_or(i64::MAX),
            error: fault.map(Into::into),
        }
    }
}
