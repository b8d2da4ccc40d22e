use tonic::Status;

use crate::{edge::error_class::ErrorClass, proto::v1::ErrorReason};

/// Whether an edge can admit new publishers, and why not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EdgeHealth {
    /// Neither the media server nor the control plane was asked yet.
    Starting,
    /// New publishers can be admitted.
    Serving,
    /// The media server's API does not answer.
    MediaServerAway,
    /// The control plane does not answer.
    ControlPlaneAway,
    /// The API key or its scopes are wrong.
    AccessDenied,
    /// Another media server reports with this node id.
    Superseded,
    /// The control plane refuses the report of publishers; the log has the reason.
    ReportRefused,
    /// It is shutting down.
    Draining,
}

impl EdgeHealth {
    /// The state in words, with the setting to look at.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Serving => "serving",
            Self::MediaServerAway => "the media server does not answer (SLUICE_MEDIA_SERVER_API)",
            Self::ControlPlaneAway => "the control plane does not answer (SLUICE_CONTROL_PLANE)",
            Self::AccessDenied => "the control plane refuses the API key (SLUICE_API_KEY)",
            Self::Superseded => "another media server has the same node id (SLUICE_NODE_ID)",
            Self::ReportRefused => "the control plane refuses the report of publishers",
            Self::Draining => "draining",
        }
    }
}

/// What the control plane said to a report of publishers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReportStatus {
    Accepted,
    /// There was no answer.
    Unreachable,
    /// The API key or its scopes are wrong.
    AccessDenied,
    /// Another media server reports with this node id.
    Superseded,
    /// It refuses the report for another reason.
    Refused,
}

impl ReportStatus {
    pub(super) fn of_error(status: &Status) -> Self {
        match ErrorClass::of(status) {
            ErrorClass::Refused(ErrorReason::NodeSuperseded) => Self::Superseded,
            ErrorClass::Refused(_) => Self::Refused,
            ErrorClass::AccessDenied => Self::AccessDenied,
            ErrorClass::Transient(_) => Self::Unreachable,
        }
    }
}
