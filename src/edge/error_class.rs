use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::proto::v1::ErrorReason;

/// What an error of the control plane means for the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ErrorClass {
    /// The control plane has decided; a repetition gets the same answer.
    Refused(ErrorReason),
    /// There is no decision; a repetition may succeed, after this delay if there is one.
    Transient(Option<Duration>),
    /// The API key or its scopes are wrong, which only an operator can fix.
    AccessDenied,
}

impl ErrorClass {
    /// Classifies an error. A refusal without a reason is transient: it comes from a proxy.
    pub(super) fn of(status: &Status) -> Self {
        match status.code() {
            Code::Unauthenticated => Self::AccessDenied,
            Code::PermissionDenied
            | Code::AlreadyExists
            | Code::FailedPrecondition
            | Code::InvalidArgument
            | Code::NotFound => match reason(status) {
                Some(ErrorReason::ScopeMissing | ErrorReason::NodeMismatch) => Self::AccessDenied,
                Some(reason) => Self::Refused(reason),
                None => Self::Transient(None),
            },
            _ => {
                let retry = status.get_details_retry_info();
                Self::Transient(retry.and_then(|retry| retry.retry_delay))
            }
        }
    }
}

/// The reason of the control plane; unspecified if this edge is too old to know it.
pub(super) fn reason(status: &Status) -> Option<ErrorReason> {
    let info = status.get_details_error_info()?;
    let name = format!("ERROR_REASON_{}", info.reason);
    Some(ErrorReason::from_str_name(&name).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use tonic::Code::{
        AlreadyExists, FailedPrecondition, InvalidArgument, NotFound, PermissionDenied,
    };
    use tonic_types::ErrorDetails;

    use super::*;
    use crate::proto::v1::ErrorReason::{
        FieldsInvalid, PublishConflict, PublishHeld, ResourceNotFound, StreamKeyInvalid,
        Unspecified,
    };

    fn with_reason(code: Code, reason: &str) -> Status {
        let details = ErrorDetails::with_error_info(reason, "sluice", []);
        Status::with_error_details(code, "no", details)
    }

    #[test]
    fn a_code_with_a_reason_is_a_refusal() {
        for (code, name, reason) in [
            (PermissionDenied, "STREAM_KEY_INVALID", StreamKeyInvalid),
            (AlreadyExists, "PUBLISH_CONFLICT", PublishConflict),
            (FailedPrecondition, "PUBLISH_HELD", PublishHeld),
            (InvalidArgument, "FIELDS_INVALID", FieldsInvalid),
            (NotFound, "RESOURCE_NOT_FOUND", ResourceNotFound),
            (FailedPrecondition, "MADE_LATER", Unspecified),
        ] {
            let class = ErrorClass::of(&with_reason(code, name));
            assert_eq!(class, ErrorClass::Refused(reason), "{name}");
        }
    }

    #[test]
    fn other_codes_and_refusals_without_a_reason_are_transient() {
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
            let class = ErrorClass::of(&Status::new(code, "no"));
            assert_eq!(class, ErrorClass::Transient(None), "{code:?}");
        }
    }

    #[test]
    fn a_retry_delay_of_the_control_plane_is_kept() {
        let delay = Duration::from_millis(1500);
        let details = ErrorDetails::with_retry_info(Some(delay));
        let status = Status::with_error_details(Code::ResourceExhausted, "no", details);
        assert_eq!(ErrorClass::of(&status), ErrorClass::Transient(Some(delay)));
    }

    #[test]
    fn errors_of_the_key_and_its_scopes_are_access_denied() {
        let no_scope = with_reason(Code::PermissionDenied, "SCOPE_MISSING");
        assert_eq!(ErrorClass::of(&no_scope), ErrorClass::AccessDenied);
        let other_node = with_reason(Code::PermissionDenied, "NODE_MISMATCH");
        assert_eq!(ErrorClass::of(&other_node), ErrorClass::AccessDenied);
        let no_key = with_reason(Code::Unauthenticated, "API_KEY_INVALID");
        assert_eq!(ErrorClass::of(&no_key), ErrorClass::AccessDenied);
    }
}
