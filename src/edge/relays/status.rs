use super::{output::DeliveryQuality, relay_failure::RelayFailure};
use crate::proto::v1::{RelayErrorSeverity, RelayReport, RelayState};

/// The status of a relay.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct RelayStatus {
    pub(super) state: RelayState,
    /// Bytes that the destination has received.
    pub(super) bytes: u64,
    /// The recent bitrate, in bits per second.
    pub(super) bitrate: u64,
    /// How well media is delivered.
    pub(super) quality: DeliveryQuality,
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
            quality: DeliveryQuality::default(),
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
            quality,
            failure,
        } = self;
        let DeliveryQuality {
            lag_ms,
            dropped_packets,
            retransmitted_segments,
        } = quality;
        let count = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        RelayReport {
            lease_id,
            state: state.into(),
            bytes_sent: count(bytes),
            bitrate_bps: count(bitrate),
            error: failure.map(Into::into),
            lag_ms: i32::try_from(lag_ms.max(0)).unwrap_or(i32::MAX),
            dropped_packets: count(dropped_packets),
            retransmitted_segments: count(retransmitted_segments),
        }
    }
}

pub(super) fn is_over(state: RelayState) -> bool {
    use RelayState::{Failed, Idle, Retrying};
    matches!(state, Idle | Retrying | Failed)
}
