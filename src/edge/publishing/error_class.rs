use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::proto::v1::ErrorReason;

/// What an error of the control plane means for who asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It has decided, and will not answer otherwise soon.
    No(ErrorReason),
    /// It has not decided; it may after this time, if it names one.
    Later(Option<Duration>),
    /// The edge is not let in: an operator's matter.
    Locked,
}

impl Verdict {
    /// Reads an error. A refusal without a reason is not the control plane's own, but of
    /// something in between.
    pub(super) fn of(status: &Status) -> Self {
        match status.code() {
            Code::PermissionDenied
            | Code::AlreadyExists
            | Code::FailedPrecondition
            | Code::InvalidArgument
            | Code::NotFound => match reason(status) {
                Some(ErrorReason::ScopeMissing) => Self::Locked,
                Some(reason) => Self::No(reason),
                None => Self::Later(None),
            },
            Code::Unauthenticated => Self::Locked,
            Code::Ok
            | Code::Cancelled
            | Code::Unknown
            | Code::DeadlineExceeded
            | Code::ResourceExhausted
            | Code::Aborted
            | Code::OutOfRange
            | Code::Unimplemented
            | Code::Internal
            | Code::Unavailable
            | Code::DataLoss => {
                let wait = status.get_details_retry_info();
                Self::Later(wait.and_then(|info| info.retry_delay))
            }
        }
    }
}

/// The reason that the control plane gives; unspecified if it is newer than this edge.
fn reason(status: &Status) -> Option<ErrorReason> {
    let info = status.get_details_error_info()?;
    let name = format!("ERROR_REASON_{}", info.reason);
    Some(ErrorReason::from_str_name(&name).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use tonic_types::ErrorDetails;

    use super::*;

    fn with_reason(code: Code, reason: &str) -> Status {
        let details = ErrorDetails::with_error_info(reason, "sluice", []);
        Status::with_error_details(code, "no", details)
    }

    #[test]
    fn a_refusal_with_a_reason_is_a_decision() {
        for (code, name, reason) in [
            (
                Code::PermissionDenied,
                "STREAM_KEY_INVALID",
                ErrorReason::StreamKeyInvalid,
            ),
            (
                Code::AlreadyExists,
                "PUBLISH_CONFLICT",
                ErrorReason::PublishConflict,
            ),
            (
                Code::FailedPrecondition,
                "PUBLISH_HELD",
                ErrorReason::PublishHeld,
            ),
            (
                Code::InvalidArgument,
                "FIELDS_INVALID",
                ErrorReason::FieldsInvalid,
            ),
            (
                Code::NotFound,
                "RESOURCE_NOT_FOUND",
                ErrorReason::ResourceNotFound,
            ),
            (
                Code::FailedPrecondition,
                "MADE_LATER",
                ErrorReason::Unspecified,
            ),
        ] {
            let verdict = Verdict::of(&with_reason(code, name));
            assert_eq!(verdict, Verdict::No(reason), "{name}");
        }
    }

    #[test]
    fn trouble_and_a_refusal_without_a_reason_are_none() {
        for code in [
            Code::Unavailable,
            Code::DeadlineExceeded,
            Code::Cancelled,
            Code::ResourceExhausted,
            Code::Internal,
            Code::Unknown,
            Code::Aborted,
            Code::Unimplemented,
            Code::PermissionDenied,
            Code::NotFound,
        ] {
            let verdict = Verdict::of(&Status::new(code, "no"));
            assert_eq!(verdict, Verdict::Later(None), "{code:?}");
        }
    }

    #[test]
    fn an_overloaded_control_plane_says_when_to_come_back() {
        let wait = Duration::from_millis(1500);
        let details = ErrorDetails::with_retry_info(Some(wait));
        let status = Status::with_error_details(Code::ResourceExhausted, "no", details);
        assert_eq!(Verdict::of(&status), Verdict::Later(Some(wait)));
    }

    #[test]
    fn not_being_let_in_is_an_operators_matter() {
        let no_scope = with_reason(Code::PermissionDenied, "SCOPE_MISSING");
        assert_eq!(Verdict::of(&no_scope), Verdict::Locked);
        let no_key = with_reason(Code::Unauthenticated, "API_KEY_INVALID");
        assert_eq!(Verdict::of(&no_key), Verdict::Locked);
    }
}
