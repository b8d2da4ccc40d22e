use std::{error::Error as _, time::Duration};

use crate::domain::{Refusal, Scope, Violation};

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
    /// The project has as many destinations as it may.
    #[error("the project has as many destinations as it may have")]
    DestinationLimit,
    /// The stream is neither live nor reconnecting.
    #[error("the stream is not live")]
    StreamNotLive,
    /// The change lost a race.
    #[error("the change lost a race with another one")]
    ConcurrentChange,
    /// The database could not put two changes in an order; begun anew, this one can succeed.
    #[error("the change lost a race with another one")]
    LostRace(#[source] sqlx::Error),
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
    /// The call took longer than it may.
    #[error("the call did not end in time")]
    DeadlineExceeded,
    /// There are as many calls as the server takes on.
    #[error("the server has too many calls to answer")]
    Overloaded(Duration),
    /// The disk of the database is full.
    #[error("the database has no room left")]
    StorageFull(#[source] sqlx::Error),
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

    /// No such resource, or another tenant's.
    pub fn not_found(noun: &'static str, id: impl ToString) -> Self {
        Self::NotFound {
            noun,
            id: id.to_string(),
        }
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
