use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use http::{HeaderMap, header::CONTENT_TYPE};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, PreconditionViolation, StatusExt};

use super::{Error, with_causes};
use crate::{domain::RefusalCause, proto::v1::ErrorReason as Reason, telemetry::captured};

/// The domain of every `ErrorInfo` (AIP-193).
pub const DOMAIN: &str = "sluice.v1";

/// The retry delay while a dependency, such as the database, is unavailable.
const UNAVAILABLE_RETRY_DELAY: Duration = Duration::from_secs(1);

/// The retry delay when a limit or the disk is full.
const CAPACITY_RETRY_DELAY: Duration = Duration::from_secs(5);

/// The delay before a watch that was ended by a drain may be started again.
const WATCH_RETRY_DELAY: Duration = Duration::from_millis(100);

/// Whether callers see the causes of internal errors, in `DebugInfo`: only in development.
static SHOW_CAUSES: AtomicBool = AtomicBool::new(false);

impl Error {
    /// The code and the reason of each error.
    fn class(&self) -> (Code, Reason) {
        match self {
            Self::Invalid(_) => (Code::InvalidArgument, Reason::FieldsInvalid),
            Self::AccessTokenMissing => (Code::Unauthenticated, Reason::AccessTokenMissing),
            Self::AccessTokenExpired => (Code::Unauthenticated, Reason::AccessTokenExpired),
            Self::AccessTokenInvalid => (Code::Unauthenticated, Reason::AccessTokenInvalid),
            Self::AccessTokenMalformed(_) => (Code::Unauthenticated, Reason::AccessTokenMalformed),
            Self::CredentialsInvalid => (Code::Unauthenticated, Reason::CredentialsInvalid),
            Self::SecondFactorRequired => (Code::FailedPrecondition, Reason::SecondFactorRequired),
            Self::ReauthenticationRequired => {
                (Code::FailedPrecondition, Reason::ReauthenticationRequired)
            }
            Self::SecondFactorInvalid => (Code::Unauthenticated, Reason::SecondFactorInvalid),
            Self::SecondFactorLimit => (Code::FailedPrecondition, Reason::SecondFactorLimitReached),
            Self::PasskeyInvalid(_) => (Code::Unauthenticated, Reason::PasskeyInvalid),
            Self::PasskeysDisabled => (Code::FailedPrecondition, Reason::PasskeysDisabled),
            Self::RefreshTokenInvalid => (Code::Unauthenticated, Reason::RefreshTokenInvalid),
            Self::RefreshTokenReused => (Code::Unauthenticated, Reason::RefreshTokenReused),
            Self::ApiKeyInvalid => (Code::Unauthenticated, Reason::ApiKeyInvalid),
            Self::ScopeMissing(_) => (Code::PermissionDenied, Reason::ScopeMissing),
            Self::RoleInsufficient(_) => (Code::PermissionDenied, Reason::RoleInsufficient),
            Self::OrganizationSuspended => (Code::PermissionDenied, Reason::OrganizationSuspended),
            Self::SecondFactorMissing => (Code::PermissionDenied, Reason::SecondFactorMissing),
            Self::OrganizationPersonal => (Code::FailedPrecondition, Reason::OrganizationPersonal),
            Self::LastOwner => (Code::FailedPrecondition, Reason::LastOwner),
            Self::OrganizationLimit => (Code::FailedPrecondition, Reason::OrganizationLimitReached),
            Self::MemberLimit => (Code::FailedPrecondition, Reason::MemberLimitReached),
            Self::InvitationLimit => (Code::FailedPrecondition, Reason::InvitationLimitReached),
            Self::EmailUnverified => (Code::FailedPrecondition, Reason::EmailUnverified),
            Self::SessionRequired => (Code::PermissionDenied, Reason::SessionRequired),
            Self::ApiKeyRestricted => (Code::PermissionDenied, Reason::ApiKeyRestricted),
            Self::NodeMismatch(_) => (Code::PermissionDenied, Reason::NodeMismatch),
            Self::AccountSuspended => (Code::PermissionDenied, Reason::AccountSuspended),
            Self::StreamKeyInvalid => (Code::PermissionDenied, Reason::StreamKeyInvalid),
            Self::NotFound { .. } => (Code::NotFound, Reason::ResourceNotFound),
            Self::EmailTaken => (Code::AlreadyExists, Reason::EmailTaken),
            Self::PublishRefused(cause) => match cause {
                RefusalCause::Suspended => (Code::PermissionDenied, Reason::AccountSuspended),
                RefusalCause::Conflict => (Code::AlreadyExists, Reason::PublishConflict),
                RefusalCause::Disabled => (Code::FailedPrecondition, Reason::ProjectDisabled),
                RefusalCause::Held(_) => (Code::FailedPrecondition, Reason::PublishHeld),
                RefusalCause::KeyReplaced => (Code::PermissionDenied, Reason::StreamKeyInvalid),
                RefusalCause::QuotaExceeded(_) => (Code::FailedPrecondition, Reason::QuotaExceeded),
                RefusalCause::ConnectionEnded => {
                    (Code::FailedPrecondition, Reason::ConnectionEnded)
                }
            },
            Self::NodeSuperseded => (Code::FailedPrecondition, Reason::NodeSuperseded),
            Self::ResyncRequired => (Code::OutOfRange, Reason::ResyncRequired),
            Self::Draining => (Code::Unavailable, Reason::Draining),
            Self::ResponseNotRead => (Code::DeadlineExceeded, Reason::ResponseNotRead),
            Self::TooManyConnectionCalls => {
                (Code::ResourceExhausted, Reason::TooManyConnectionCalls)
            }
            Self::MetadataTooLarge => (Code::ResourceExhausted, Reason::MetadataTooLarge),
            Self::WatchEnded { cause, .. } => cause.class(),
            Self::TooManyProjects(_) => (Code::FailedPrecondition, Reason::TooManyProjects),
            Self::TooManyWatches => (Code::ResourceExhausted, Reason::TooManyWatches),
            Self::DestinationLimit => (Code::FailedPrecondition, Reason::DestinationLimitReached),
            Self::QuotaExceeded(_) => (Code::FailedPrecondition, Reason::QuotaExceeded),
            Self::NoRelayWorker => (Code::FailedPrecondition, Reason::NoRelayWorker),
            Self::CheckUnanswered => (Code::Unavailable, Reason::CheckUnanswered),
            Self::WebhookLimit => (Code::FailedPrecondition, Reason::WebhookLimitReached),
            Self::WebhookEventExpired => (Code::FailedPrecondition, Reason::WebhookEventExpired),
            Self::StreamNotLive => (Code::FailedPrecondition, Reason::StreamNotLive),
            Self::ProjectLive => (Code::FailedPrecondition, Reason::ProjectLive),
            Self::EtagMismatch => (Code::Aborted, Reason::EtagMismatch),
            Self::ConcurrentChange | Self::LostRace(_) => (Code::Aborted, Reason::ConcurrentChange),
            Self::PasswordQueueFull(_) => (Code::ResourceExhausted, Reason::PasswordQueueFull),
            Self::TooManyAttempts(_) => (Code::ResourceExhausted, Reason::TooManyAttempts),
            Self::RateLimited(_) => (Code::ResourceExhausted, Reason::RateLimited),
            Self::IdTokenInvalid => (Code::Unauthenticated, Reason::IdTokenInvalid),
            Self::IssuerUnavailable(_) => (Code::Unavailable, Reason::IssuerUnavailable),
            Self::MailTokenInvalid => (Code::Unauthenticated, Reason::MailTokenInvalid),
            Self::MailDisabled => (Code::FailedPrecondition, Reason::MailDisabled),
            Self::DeadlineExceeded => (Code::DeadlineExceeded, Reason::DeadlineExceeded),
            Self::Overloaded(_) => (Code::ResourceExhausted, Reason::Overloaded),
            Self::RequestTooLarge(_) => (Code::ResourceExhausted, Reason::RequestTooLarge),
            Self::RequestMalformed => (Code::InvalidArgument, Reason::RequestMalformed),
            Self::StorageFull(_) => (Code::ResourceExhausted, Reason::StorageFull),
            Self::Starting => (Code::Unavailable, Reason::Starting),
            Self::DatabaseUnavailable(_) | Self::LockTimeout | Self::OutOfDate => {
                (Code::Unavailable, Reason::DatabaseUnavailable)
            }
            Self::Internal(_) => (Code::Internal, Reason::Internal),
        }
    }

    /// The name of the reason, as in `ErrorInfo`.
    pub fn reason(&self) -> &'static str {
        let (_, reason) = self.class();
        reason_name(reason)
    }

    /// The error as the trailers of a response that has begun.
    pub fn into_trailers(self) -> HeaderMap {
        let (mut head, ()) = Status::from(self).into_http::<()>().into_parts();
        head.headers.remove(CONTENT_TYPE);
        head.headers
    }

    fn details(&self) -> ErrorDetails {
        let name = self.reason();
        let mut details = ErrorDetails::with_error_info(name, DOMAIN, self.metadata());
        let failed = |subject| PreconditionViolation::new(name, subject, self.precondition());

        match self.cause() {
            Self::Invalid(violations) => {
                let violations = violations.iter();
                let violations =
                    violations.map(|one| FieldViolation::new(&one.field, one.description.clone()));
                details.set_bad_request(violations.collect::<Vec<_>>())
            }
            Self::NotFound { noun, id } => details.set_resource_info(*noun, id, "", ""),
            Self::PublishRefused(RefusalCause::Disabled | RefusalCause::Held(_))
            | Self::ProjectLive
            | Self::DestinationLimit => details.set_precondition_failure(vec![failed("project")]),
            Self::QuotaExceeded(_) | Self::PublishRefused(RefusalCause::QuotaExceeded(_)) => {
                details.set_precondition_failure(vec![failed("organization")])
            }
            Self::TooManyProjects(_) => details.set_precondition_failure(vec![failed("projects")]),
            Self::NoRelayWorker => {
                details.set_precondition_failure(vec![failed("destination")])
            }
            Self::OrganizationPersonal
            | Self::LastOwner
            | Self::MemberLimit
            | Self::InvitationLimit => {
                details.set_precondition_failure(vec![failed("organization")])
            }
            Self::SecondFactorRequired
            | Self::SecondFactorLimit
            | Self::OrganizationLimit
            | Self::EmailUnverified => {
                details.set_precondition_failure(vec![failed("account")])
            }
            Self::ReauthenticationRequired => {
                details.set_precondition_failure(vec![failed("session")])
            }
            Self::WebhookLimit => details.set_precondition_failure(vec![failed("account")]),
            Self::WebhookEventExpired => details.set_precondition_failure(vec![failed("delivery")]),
            Self::StreamNotLive => details.set_precondition_failure(vec![failed("stream")]),
            Self::NodeSuperseded | Self::PublishRefused(RefusalCause::ConnectionEnded) => {
                details.set_precondition_failure(vec![failed("publisher")])
            }
            Self::MailDisabled | Self::PasskeysDisabled => {
                details.set_precondition_failure(vec![failed("server")])
            }
            Self::PasswordQueueFull(wait)
            | Self::TooManyAttempts(wait)
            | Self::RateLimited(wait)
            | Self::Overloaded(wait) => details.set_retry_info(Some(*wait)),
            Self::TooManyWatches | Self::StorageFull(_) => {
                details.set_retry_info(Some(CAPACITY_RETRY_DELAY))
            }
            Self::Draining => details.set_retry_info(Some(WATCH_RETRY_DELAY)),
            Self::Starting
            | Self::CheckUnanswered
            | Self::TooManyConnectionCalls
            | Self::DatabaseUnavailable(_)
            | Self::LockTimeout
            | Self::OutOfDate
            | Self::IssuerUnavailable(_) => details.set_retry_info(Some(UNAVAILABLE_RETRY_DELAY)),
            Self::AccessTokenMissing
            | Self::AccessTokenExpired
            | Self::AccessTokenInvalid
            | Self::AccessTokenMalformed(_)
            | Self::CredentialsInvalid
            | Self::SecondFactorInvalid
            | Self::PasskeyInvalid(_)
            | Self::RefreshTokenInvalid
            | Self::RefreshTokenReused
            | Self::ApiKeyInvalid
            | Self::IdTokenInvalid
            | Self::MailTokenInvalid
            | Self::ScopeMissing(_)
            | Self::RoleInsufficient(_)
            | Self::OrganizationSuspended
            | Self::SecondFactorMissing
            | Self::SessionRequired
            | Self::ApiKeyRestricted
            | Self::NodeMismatch(_)
            | Self::AccountSuspended
            | Self::StreamKeyInvalid
            | Self::EmailTaken
            | Self::PublishRefused(
                RefusalCause::Suspended | RefusalCause::Conflict | RefusalCause::KeyReplaced,
            )
            | Self::ResyncRequired
            | Self::WatchEnded { .. }
            | Self::EtagMismatch
            | Self::ConcurrentChange
            | Self::LostRace(_)
            | Self::DeadlineExceeded
            | Self::ResponseNotRead
            // Repeating the call would not help.
            | Self::MetadataTooLarge
            | Self::RequestTooLarge(_)
            | Self::RequestMalformed
            | Self::Internal(_) => &mut details,
        };

        if let Self::Internal(cause) = self.cause()
            && SHOW_CAUSES.load(Ordering::Relaxed)
        {
            details.set_debug_info(vec![], with_causes(&**cause));
        }
        details
    }

    /// Why a watch ended; otherwise the error itself.
    fn cause(&self) -> &Self {
        match self {
            Self::WatchEnded { cause, .. } => cause,
            error => error,
        }
    }

    /// The failed precondition.
    fn precondition(&self) -> String {
        match self {
            Self::PublishRefused(RefusalCause::Held(until)) => {
                format!("publishing is on hold until {}", until.to_rfc3339())
            }
            _ => self.to_string(),
        }
    }

    fn metadata(&self) -> std::collections::HashMap<String, String> {
        match self {
            Self::ScopeMissing(scope) => [("scope".to_owned(), scope.as_str().to_owned())].into(),
            Self::RoleInsufficient(role) => [("role".to_owned(), role.as_str().to_owned())].into(),
            Self::AccessTokenMalformed(found) => {
                [("found".to_owned(), found.name().to_owned())].into()
            }
            Self::QuotaExceeded(excess)
            | Self::PublishRefused(RefusalCause::QuotaExceeded(excess)) => [
                ("quota".to_owned(), excess.kind.as_str().to_owned()),
                ("limit".to_owned(), excess.limit.to_string()),
            ]
            .into(),
            Self::PasskeyInvalid(fault) => [("fault".to_owned(), fault.name().to_owned())].into(),
            Self::NodeMismatch(node_id) => [("node_id".to_owned(), node_id.to_string())].into(),
            Self::RequestTooLarge(max_bytes) => {
                [("max_bytes".to_owned(), max_bytes.to_string())].into()
            }
            Self::WatchEnded {
                cause,
                last_revision,
            } => {
                let mut metadata = cause.metadata();
                metadata.insert("last_revision".to_owned(), last_revision.to_string());
                metadata
            }
            _ => Default::default(),
        }
    }
}

/// Adds the reason to the headers or trailers of an error without details: one that a library made,
/// for example of the health service.
pub fn add_details(headers: &mut HeaderMap) {
    let Some(status) = Status::from_header_map(headers) else {
        return;
    };
    let reason = match status.code() {
        Code::Ok => return,
        _ if !status.details().is_empty() => return,
        Code::Unimplemented => Reason::MethodUnavailable,
        Code::NotFound => Reason::ResourceNotFound,
        Code::InvalidArgument => Reason::RequestMalformed,
        _ => Reason::Internal,
    };
    let mut details = ErrorDetails::with_error_info(reason_name(reason), DOMAIN, []);
    if reason == Reason::ResourceNotFound {
        details.set_resource_info("service", "", "", status.message());
    }
    let detailed = Status::with_error_details(status.code(), status.message(), details);
    let detailed = detailed.into_http::<()>();
    if let Some(encoded) = detailed.headers().get(Status::GRPC_STATUS_DETAILS) {
        headers.insert(Status::GRPC_STATUS_DETAILS, encoded.clone());
    }
}

/// The name of a reason, as in `ErrorInfo`.
fn reason_name(reason: Reason) -> &'static str {
    reason.as_str_name().trim_start_matches("ERROR_REASON_")
}

/// Sets whether callers see the causes of internal errors: for development.
pub fn show_causes(show: bool) {
    SHOW_CAUSES.store(show, Ordering::Relaxed);
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        match error.cause() {
            Error::Internal(cause) => {
                let backtrace = captured(cause.backtrace());
                tracing::error!(error = with_causes(&**cause), backtrace, "internal error");
            }
            Error::DatabaseUnavailable(cause) => {
                tracing::warn!(error = %cause, "database unavailable");
            }
            Error::StorageFull(cause) => tracing::error!(error = %cause, "the database is full"),
            Error::IssuerUnavailable(cause) => {
                tracing::warn!(error = with_causes(&**cause), "issuer unavailable");
            }
            _ => {}
        }

        let (code, _) = error.class();
        Self::with_error_details(code, error.to_string(), error.details())
    }
}
