//! What can go wrong, and the only mapping from that to a gRPC status.
//!
//! Every status carries `google.rpc.ErrorInfo` with a reason of
//! `sluice.v1.ErrorReason`, and the details that the contract promises for its
//! code. Texts never carry SQL, paths, keys or another library's words.

use std::{
    error::Error as _,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, PreconditionViolation, StatusExt};

use crate::{
    domain::{Refusal, Scope, Violation},
    proto::v1::ErrorReason,
};

/// The domain of every `ErrorInfo` (AIP-193).
pub const DOMAIN: &str = "sluice.v1";

/// How long a caller waits before it repeats a call that found the database away.
const DATABASE_RETRY: Duration = Duration::from_secs(1);

/// When a watch that was ended can be begun again.
const WATCH_RETRY: Duration = Duration::from_millis(100);

/// Whether causes are shown to callers, in `DebugInfo`: only in development.
static SHOW_CAUSES: AtomicBool = AtomicBool::new(false);

/// A result whose error is the service's own.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What a call can fail with.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Fields of the request are wrong; all of them are named.
    #[error("{}", invalid_text(.0))]
    Invalid(Vec<Violation>),
    /// The call needs a token and has none.
    #[error("an access token is needed")]
    AccessTokenMissing,
    /// The token is not one of ours, or not any more.
    #[error("the access token is not valid")]
    AccessTokenInvalid,
    /// E-mail and password do not belong together.
    #[error("e-mail or password is wrong")]
    CredentialsInvalid,
    /// The refresh token is unknown or its session has ended.
    #[error("the refresh token is not valid")]
    RefreshTokenInvalid,
    /// The refresh token had been replaced long before.
    #[error("the refresh token was used before; its session has been ended")]
    RefreshTokenReused,
    /// The API key is unknown, revoked or expired.
    #[error("the API key is not valid")]
    ApiKeyInvalid,
    /// The token lacks a scope.
    #[error("the token lacks the scope {}", .0.as_str())]
    ScopeMissing(Scope),
    /// Only a signed-in user may do this.
    #[error("only a signed-in user may call this")]
    SessionRequired,
    /// The API key is restricted to some projects.
    #[error("the API key is restricted to some projects")]
    ApiKeyRestricted,
    /// The stream key opens no project.
    #[error("the stream key is not valid")]
    StreamKeyInvalid,
    /// No such thing, or somebody else's.
    #[error("no such {noun}")]
    NotFound {
        /// What it would be, for example `project`.
        noun: &'static str,
        /// The id that was asked for.
        id: String,
    },
    /// The address has an account.
    #[error("an account with this e-mail address exists")]
    EmailTaken,
    /// A publisher is refused.
    #[error("{}", refusal_text(.0))]
    PublishRefused(Refusal),
    /// The project has a stream that has not ended.
    #[error("the project has a stream that has not ended")]
    ProjectLive,
    /// A later boot of the media server has reported.
    #[error("a later boot of this node has reported")]
    NodeSuperseded,
    /// The events after a revision are not kept, or there is no such revision.
    #[error("the events after this revision are not kept, watch again from a snapshot")]
    ResyncRequired,
    /// The server stops.
    #[error("the server stops, call again")]
    Draining,
    /// Who asked for a long answer does not read it.
    #[error("what is sent is not read")]
    WatchTooSlow,
    /// A watch ended after it had begun.
    #[error("{cause}")]
    WatchEnded {
        /// Why it ended.
        cause: Box<Error>,
        /// The revision that was last sent.
        last_revision: i64,
    },
    /// There are as many watches as there may be.
    #[error("there are too many watches")]
    TooManyWatches,
    /// The stream is neither live nor reconnecting.
    #[error("the stream is not live")]
    StreamNotLive,
    /// The change lost a race.
    #[error("the change lost a race with another one")]
    ConcurrentChange,
    /// Too many passwords wait to be checked.
    #[error("too many passwords wait to be checked")]
    PasswordQueueFull(Duration),
    /// Too many wrong passwords: the next attempt has to wait.
    #[error("too many wrong passwords, the next attempt has to wait")]
    TooManyAttempts(Duration),
    /// The caller calls too often.
    #[error("too many calls, the next one has to wait")]
    RateLimited(Duration),
    /// The id token is not one that is accepted.
    #[error("the id token is not valid")]
    IdTokenInvalid,
    /// The issuer of an id token cannot be asked for its keys.
    #[error("the issuer of the id token cannot be reached")]
    IssuerUnavailable(#[source] anyhow::Error),
    /// The token of a message is unknown, used or expired.
    #[error("the token of the message is not valid")]
    MailTokenInvalid,
    /// There is no way to send mail.
    #[error("no way to send mail is configured")]
    MailDisabled,
    /// The server has not finished its migrations.
    #[error("the server is starting")]
    Starting,
    /// The database cannot be reached.
    #[error("the database cannot be reached")]
    DatabaseUnavailable(#[source] sqlx::Error),
    /// What calls are checked against is out of date, because the database cannot be reached.
    #[error("the database cannot be reached")]
    OutOfDate,
    /// A fault of this program or its data.
    #[error("internal error")]
    Internal(#[source] anyhow::Error),
}

impl Error {
    /// A single wrong field.
    pub fn invalid(
        field: impl Into<String>,
        description: impl Into<std::borrow::Cow<'static, str>>,
    ) -> Self {
        Self::Invalid(vec![Violation {
            field: field.into(),
            description: description.into(),
        }])
    }

    /// A fault that is not the caller's.
    pub fn internal(cause: impl Into<anyhow::Error>) -> Self {
        Self::Internal(cause.into())
    }

    /// The error with all its causes, for the log and never for a caller.
    pub fn with_causes(&self) -> String {
        let mut text = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            text = format!("{text}: {error}");
            cause = error.source();
        }
        text
    }

    /// The canonical code and the reason: the whole mapping.
    fn class(&self) -> (Code, ErrorReason) {
        match self {
            Self::Invalid(_) => (Code::InvalidArgument, ErrorReason::FieldsInvalid),
            Self::AccessTokenMissing => (Code::Unauthenticated, ErrorReason::AccessTokenMissing),
            Self::AccessTokenInvalid => (Code::Unauthenticated, ErrorReason::AccessTokenInvalid),
            Self::CredentialsInvalid => (Code::Unauthenticated, ErrorReason::CredentialsInvalid),
            Self::RefreshTokenInvalid => (Code::Unauthenticated, ErrorReason::RefreshTokenInvalid),
            Self::RefreshTokenReused => (Code::Unauthenticated, ErrorReason::RefreshTokenReused),
            Self::ApiKeyInvalid => (Code::Unauthenticated, ErrorReason::ApiKeyInvalid),
            Self::ScopeMissing(_) => (Code::PermissionDenied, ErrorReason::ScopeMissing),
            Self::SessionRequired => (Code::PermissionDenied, ErrorReason::SessionRequired),
            Self::ApiKeyRestricted => (Code::PermissionDenied, ErrorReason::ApiKeyRestricted),
            Self::StreamKeyInvalid => (Code::PermissionDenied, ErrorReason::StreamKeyInvalid),
            Self::NotFound { .. } => (Code::NotFound, ErrorReason::ResourceNotFound),
            Self::EmailTaken => (Code::AlreadyExists, ErrorReason::EmailTaken),
            Self::PublishRefused(Refusal::Conflict) => {
                (Code::AlreadyExists, ErrorReason::PublishConflict)
            }
            Self::PublishRefused(Refusal::Disabled) => {
                (Code::FailedPrecondition, ErrorReason::ProjectDisabled)
            }
            Self::PublishRefused(Refusal::Held(_)) => {
                (Code::FailedPrecondition, ErrorReason::PublishHeld)
            }
            Self::PublishRefused(Refusal::KeyReplaced) => {
                (Code::PermissionDenied, ErrorReason::StreamKeyInvalid)
            }
            Self::PublishRefused(Refusal::ConnectionEnded) => {
                (Code::FailedPrecondition, ErrorReason::ConnectionEnded)
            }
            Self::NodeSuperseded => (Code::FailedPrecondition, ErrorReason::NodeSuperseded),
            Self::ResyncRequired => (Code::OutOfRange, ErrorReason::ResyncRequired),
            Self::Draining => (Code::Unavailable, ErrorReason::Draining),
            Self::WatchTooSlow => (Code::ResourceExhausted, ErrorReason::WatchTooSlow),
            Self::WatchEnded { cause, .. } => cause.class(),
            Self::TooManyWatches => (Code::ResourceExhausted, ErrorReason::TooManyWatches),
            Self::StreamNotLive => (Code::FailedPrecondition, ErrorReason::StreamNotLive),
            Self::ProjectLive => (Code::FailedPrecondition, ErrorReason::ProjectLive),
            Self::ConcurrentChange => (Code::Aborted, ErrorReason::ConcurrentChange),
            Self::PasswordQueueFull(_) => (Code::ResourceExhausted, ErrorReason::PasswordQueueFull),
            Self::TooManyAttempts(_) => (Code::ResourceExhausted, ErrorReason::TooManyAttempts),
            Self::RateLimited(_) => (Code::ResourceExhausted, ErrorReason::RateLimited),
            Self::IdTokenInvalid => (Code::Unauthenticated, ErrorReason::IdTokenInvalid),
            Self::IssuerUnavailable(_) => (Code::Unavailable, ErrorReason::IssuerUnavailable),
            Self::MailTokenInvalid => (Code::Unauthenticated, ErrorReason::MailTokenInvalid),
            Self::MailDisabled => (Code::FailedPrecondition, ErrorReason::MailDisabled),
            Self::Starting => (Code::Unavailable, ErrorReason::Starting),
            Self::DatabaseUnavailable(_) | Self::OutOfDate => {
                (Code::Unavailable, ErrorReason::DatabaseUnavailable)
            }
            Self::Internal(_) => (Code::Internal, ErrorReason::Internal),
        }
    }

    /// The name of the reason, as `ErrorInfo` has it.
    pub fn reason(&self) -> &'static str {
        let (_, reason) = self.class();
        reason.as_str_name().trim_start_matches("ERROR_REASON_")
    }

    fn details(&self) -> ErrorDetails {
        let name = self.reason();
        let mut details = ErrorDetails::with_error_info(name, DOMAIN, self.metadata());

        match self.cause() {
            Self::Invalid(violations) => {
                details.set_bad_request(
                    violations
                        .iter()
                        .map(|fault| FieldViolation::new(&fault.field, fault.description.clone()))
                        .collect::<Vec<_>>(),
                );
            }
            Self::NotFound { noun, id } => {
                details.set_resource_info(*noun, id, "", "");
            }
            Self::PublishRefused(Refusal::Disabled | Refusal::Held(_)) | Self::ProjectLive => {
                let fault = PreconditionViolation::new(name, "project", self.precondition());
                details.set_precondition_failure(vec![fault]);
            }
            Self::StreamNotLive => {
                let fault = PreconditionViolation::new(name, "stream", self.to_string());
                details.set_precondition_failure(vec![fault]);
            }
            Self::NodeSuperseded | Self::PublishRefused(Refusal::ConnectionEnded) => {
                let fault = PreconditionViolation::new(name, "publisher", self.to_string());
                details.set_precondition_failure(vec![fault]);
            }
            Self::MailDisabled => {
                let fault = PreconditionViolation::new(name, "server", self.to_string());
                details.set_precondition_failure(vec![fault]);
            }
            Self::PasswordQueueFull(wait)
            | Self::TooManyAttempts(wait)
            | Self::RateLimited(wait) => {
                details.set_retry_info(Some(*wait));
            }
            Self::Draining | Self::WatchTooSlow | Self::TooManyWatches => {
                details.set_retry_info(Some(WATCH_RETRY));
            }
            Self::Starting
            | Self::DatabaseUnavailable(_)
            | Self::OutOfDate
            | Self::IssuerUnavailable(_) => {
                details.set_retry_info(Some(DATABASE_RETRY));
            }
            Self::AccessTokenMissing
            | Self::AccessTokenInvalid
            | Self::CredentialsInvalid
            | Self::RefreshTokenInvalid
            | Self::RefreshTokenReused
            | Self::ApiKeyInvalid
            | Self::IdTokenInvalid
            | Self::MailTokenInvalid
            | Self::ScopeMissing(_)
            | Self::SessionRequired
            | Self::ApiKeyRestricted
            | Self::StreamKeyInvalid
            | Self::EmailTaken
            | Self::PublishRefused(Refusal::Conflict | Refusal::KeyReplaced)
            | Self::ResyncRequired
            | Self::WatchEnded { .. }
            | Self::ConcurrentChange
            | Self::Internal(_) => {}
        }

        if let Self::Internal(cause) = self.cause()
            && SHOW_CAUSES.load(Ordering::Relaxed)
        {
            details.set_debug_info(vec![], format!("{cause:#}"));
        }
        details
    }

    /// Why a watch ended; else the error itself.
    fn cause(&self) -> &Self {
        match self {
            Self::WatchEnded { cause, .. } => cause,
            error => error,
        }
    }

    /// What stands in the way of the call.
    fn precondition(&self) -> String {
        match self {
            Self::PublishRefused(Refusal::Held(until)) => {
                format!("publishers are held off until {}", until.to_rfc3339())
            }
            _ => self.to_string(),
        }
    }

    fn metadata(&self) -> std::collections::HashMap<String, String> {
        match self {
            Self::ScopeMissing(scope) => [("scope".to_owned(), scope.as_str().to_owned())].into(),
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

/// Shows the cause of an internal error to its caller: for development.
pub fn show_causes(show: bool) {
    SHOW_CAUSES.store(show, Ordering::Relaxed);
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        match error.cause() {
            Error::Internal(cause) => {
                tracing::error!(error = format!("{cause:#}"), "internal error")
            }
            Error::DatabaseUnavailable(cause) => {
                tracing::warn!(error = %cause, "database unavailable");
            }
            Error::IssuerUnavailable(cause) => {
                tracing::warn!(error = format!("{cause:#}"), "issuer unavailable");
            }
            _ => {}
        }

        let (code, _) = error.class();
        Self::with_error_details(code, error.to_string(), error.details())
    }
}

fn refusal_text(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::Disabled => "the project is disabled",
        Refusal::Held(_) => "the owner holds publishers off for now",
        Refusal::ConnectionEnded => "this connection has published before and has ended",
        Refusal::KeyReplaced => "the stream key is not valid",
        Refusal::Conflict => "another connection publishes to this project",
    }
}

/// The first faults in words, for those who do not look at the details.
fn invalid_text(violations: &[Violation]) -> String {
    const SHOWN: usize = 5;
    let faults = violations.iter().take(SHOWN);
    let faults: Vec<_> = faults
        .map(|fault| format!("{} {}", fault.field, fault.description))
        .collect();
    let more = match violations.len().saturating_sub(SHOWN) {
        0 => String::new(),
        more => format!("; and {more} more"),
    };
    format!("invalid request: {}{more}", faults.join("; "))
}
