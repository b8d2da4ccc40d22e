use std::{borrow::Cow, time::Duration};

use super::with_causes;
use crate::domain::{NodeId, QuotaExcess, RefusalCause, Role, Scope, Violation};

/// A result with the service's own error.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a call fails.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Fields of the request are invalid. All of them are listed.
    #[error("{}", invalid_text(.0))]
    Invalid(Vec<Violation>),
    /// The call has no access token, but needs one.
    #[error("an access token is needed: send the header `authorization: Bearer <access token>`")]
    AccessTokenMissing,
    /// The `authorization` header has something else than an access token, by its form alone.
    #[error("{0}")]
    AccessTokenMalformed(FoundInstead),
    /// The access token has expired, according to its own claim.
    #[error("the access token has expired: refresh it")]
    AccessTokenExpired,
    /// The access token is not one of this server, or its session or API key has ended.
    #[error("the access token is not valid")]
    AccessTokenInvalid,
    /// The e-mail address or the password is wrong.
    #[error("e-mail or password is wrong")]
    CredentialsInvalid,
    /// The account has a second factor, and the call neither a code nor an assertion of it.
    #[error(
        "the account has a second factor: repeat the call with `second_factor_code` or \
         `passkey_assertion`"
    )]
    SecondFactorRequired,
    /// The code of the second factor is wrong, too old, or used.
    #[error("the code of the second factor is wrong, too old, or was used before")]
    SecondFactorInvalid,
    /// The account has the maximum number of second factors.
    #[error("the account has the maximum number of second factors: delete one first")]
    SecondFactorLimit,
    /// The response of a passkey is not accepted.
    #[error("the passkey is not accepted: {0}")]
    PasskeyInvalid(PasskeyFault),
    /// Passkeys are off.
    #[error("passkeys are not configured")]
    PasskeysDisabled,
    /// The user proved who they are too long ago for this call.
    #[error(
        "the authentication of the session is too old: prove again who you are (Reauthenticate)"
    )]
    ReauthenticationRequired,
    /// The refresh token is unknown or its session has ended.
    #[error("the refresh token is not valid")]
    RefreshTokenInvalid,
    /// The refresh token was replaced earlier.
    #[error("the refresh token was used before; its session has been ended")]
    RefreshTokenReused,
    /// The API key is unknown, revoked or expired.
    #[error("the API key is not valid")]
    ApiKeyInvalid,
    /// The token lacks a scope.
    #[error("the token lacks the scope {}", .0.as_str())]
    ScopeMissing(Scope),
    /// The role in the organization is too low: this one is needed at least.
    #[error("the role in the organization is too low: {} or a higher one is needed", .0.as_str())]
    RoleInsufficient(Role),
    /// An operator has suspended the organization.
    #[error("the organization is suspended: ask the operator of this service")]
    OrganizationSuspended,
    /// The organization requires a second factor, which the user does not have.
    #[error("the organization requires a second factor: add an authenticator or a passkey first")]
    SecondFactorMissing,
    /// The organization is the personal one of its user.
    #[error("this cannot be done with a personal organization: create another one")]
    OrganizationPersonal,
    /// An organization with other members would have no owner.
    #[error("the organization would have no owner: make another member an owner first")]
    LastOwner,
    /// The user has the maximum number of organizations.
    #[error("the user has the maximum number of organizations: leave or delete one first")]
    OrganizationLimit,
    /// The organization has the maximum number of members.
    #[error("the organization has the maximum number of members")]
    MemberLimit,
    /// The organization has sent the maximum number of invitations within their lifetime.
    #[error("the organization has sent the maximum number of invitations: wait until some expire")]
    InvitationLimit,
    /// Nobody has proved to own the e-mail address of the account.
    #[error("the e-mail address of the account is not verified: verify it first")]
    EmailUnverified,
    /// Only a signed-in user may call this.
    #[error("only a signed-in user may call this")]
    SessionRequired,
    /// The API key is restricted to some projects.
    #[error("the API key is restricted to some projects")]
    ApiKeyRestricted,
    /// The operator key is bound to this node, and the call concerns another.
    #[error("the operator key is bound to the node {0}: report and claim for this node only")]
    NodeMismatch(NodeId),
    /// An operator has suspended the account.
    #[error("the account is suspended: ask the operator of this service")]
    AccountSuspended,
    /// No project has the stream key.
    #[error("the stream key is not valid")]
    StreamKeyInvalid,
    /// The resource does not exist, or belongs to another tenant.
    #[error("no such {noun}")]
    NotFound {
        /// The kind of resource, for example `project`.
        noun: &'static str,
        /// The requested id.
        id: String,
    },
    /// The e-mail address already has an account.
    #[error("an account with this e-mail address exists")]
    EmailTaken,
    /// The publisher is refused.
    #[error("{}", refusal_text(.0))]
    PublishRefused(RefusalCause),
    /// The project has a stream that has not ended.
    #[error("the project has a stream that has not ended")]
    ProjectLive,
    /// A later boot of the media server has reported.
    #[error("a later boot of this node has reported")]
    NodeSuperseded,
    /// The events after a revision are not kept, or the revision does not exist.
    #[error("the events after this revision are not kept, watch again from a snapshot")]
    ResyncRequired,
    /// The server is shutting down.
    #[error("the server is shutting down, call again")]
    Draining,
    /// The caller does not read the response.
    #[error("the response was not read in time")]
    ResponseNotRead,
    /// The limit on the calls of a connection is reached.
    #[error("the connection has too many concurrent calls")]
    TooManyConnectionCalls,
    /// The request's metadata is too large.
    #[error("the metadata of the call is too large")]
    MetadataTooLarge,
    /// A watch ended after its first message.
    #[error("{cause}")]
    WatchEnded {
        /// Why it ended.
        cause: Box<Error>,
        /// The revision sent last.
        last_revision: i64,
    },
    /// The caller may see more projects than one watch can contain.
    #[error(
        "the caller may see more than {0} projects, the maximum of one watch: name up to 1000 in \
         `projects`, in several calls"
    )]
    TooManyProjects(usize),
    /// The limit on the number of watches is reached.
    #[error("there are too many watches")]
    TooManyWatches,
    /// The limit on the number of destinations is reached.
    #[error("the project has the maximum number of destinations")]
    DestinationLimit,
    /// A limit of the organization is reached.
    #[error("the quota of the organization is reached: {0}")]
    QuotaExceeded(QuotaExcess),
    /// No relay worker is connected that could check a destination.
    #[error(
        "no edge is connected that could check the destination: with a live stream it has to be \
         the one beside its media server"
    )]
    NoRelayWorker,
    /// The relay worker has not answered in time.
    #[error("the edge that checks the destination has not answered in time")]
    CheckUnanswered,
    /// The limit on the number of webhooks is reached.
    #[error("the account has the maximum number of webhooks")]
    WebhookLimit,
    /// The event of a delivery is not kept any more.
    #[error("the event of this delivery has been deleted: read its project instead")]
    WebhookEventExpired,
    /// The stream is neither live nor reconnecting.
    #[error("the stream is not live")]
    StreamNotLive,
    /// The resource has changed since its etag was read.
    #[error("the resource has changed since this etag was read: read it again")]
    EtagMismatch,
    /// A concurrent change was faster.
    #[error("the change lost a race with another one")]
    ConcurrentChange,
    /// The database aborted the transaction because of a concurrent one. A retry can succeed.
    #[error("the change lost a race with another one")]
    LostRace(#[source] sqlx::Error),
    /// The lock of a row was not free in time: another transaction has not ended, for example because
    /// its commit waits for a synchronous standby. Nothing was changed.
    #[error("another change of the same data has not ended in time")]
    LockTimeout,
    /// Too many passwords wait for hashing.
    #[error("too many passwords wait for hashing")]
    PasswordQueueFull(Duration),
    /// There were too many wrong passwords or codes, so the next attempt has to wait.
    #[error("too many wrong passwords or codes, the next attempt has to wait")]
    TooManyAttempts(Duration),
    /// The caller exceeds its rate limit.
    #[error("too many calls, the next one has to wait")]
    RateLimited(Duration),
    /// The id token is not accepted.
    #[error("the id token is not valid")]
    IdTokenInvalid,
    /// The keys of the id token's issuer cannot be fetched.
    #[error("the issuer of the id token cannot be reached")]
    IssuerUnavailable(#[source] anyhow::Error),
    /// The token of an e-mail message is unknown, used or expired.
    #[error("the token of the message is not valid")]
    MailTokenInvalid,
    /// Mail is off.
    #[error("mail is not configured")]
    MailDisabled,
    /// The call exceeded its deadline.
    #[error("the call did not end in time")]
    DeadlineExceeded,
    /// A limit of calls, of requests, of streams or of their memory is reached.
    #[error("the server has too many calls, or this caller, address or connection has")]
    Overloaded(Duration),
    /// The request is larger than its RPC allows, in bytes.
    #[error("the request is larger than {0} bytes")]
    RequestTooLarge(usize),
    /// The request is not one well-formed message.
    #[error("the request is not a well-formed message")]
    RequestMalformed,
    /// The disk of the database is full.
    #[error("the database has no space left")]
    StorageFull(#[source] sqlx::Error),
    /// The server has not finished its migrations.
    #[error("the server is starting")]
    Starting,
    /// The database cannot be reached.
    #[error("the database cannot be reached")]
    DatabaseUnavailable(#[source] sqlx::Error),
    /// The data for authorizing calls is out of date, because the database cannot be reached.
    #[error("the database cannot be reached")]
    OutOfDate,
    /// A bug or a fault of the data.
    #[error("internal error")]
    Internal(#[source] anyhow::Error),
}

/// What an `authorization` header has instead of an access token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FoundInstead {
    /// An API key.
    ApiKey,
    /// A refresh token.
    RefreshToken,
    /// Another scheme than `Bearer`, or none.
    NoBearer,
    /// A text that has not the form of a JWT.
    NoJwt,
    /// Several headers.
    SeveralHeaders,
}

impl FoundInstead {
    /// The name in the metadata of the error.
    pub fn name(self) -> &'static str {
        match self {
            Self::ApiKey => "API_KEY",
            Self::RefreshToken => "REFRESH_TOKEN",
            Self::NoBearer => "NO_BEARER",
            Self::NoJwt => "NO_JWT",
            Self::SeveralHeaders => "SEVERAL_HEADERS",
        }
    }
}

impl std::fmt::Display for FoundInstead {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::ApiKey => {
                "the bearer token is an API key: exchange it for an access token with \
                 ExchangeApiKey"
            }
            Self::RefreshToken => {
                "the bearer token is a refresh token: exchange it for an access token with \
                 RefreshTokens"
            }
            Self::NoBearer => {
                "the authorization header must be the word Bearer, a space and an access token"
            }
            Self::NoJwt => "the bearer token is not an access token: it has not the form of a JWT",
            Self::SeveralHeaders => "there are several authorization headers: send one",
        })
    }
}

/// Why the response of a passkey is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PasskeyFault {
    /// The challenge is unknown, used or expired.
    Challenge,
    /// The page has another origin.
    Origin,
    /// The passkey is for another relying party.
    RelyingParty,
    /// The authenticator has not verified the user.
    UserVerification,
    /// The passkey is not registered, or not for this account.
    UnknownPasskey,
    /// The signature is wrong.
    Signature,
    /// The signature counter has not grown.
    Counter,
    /// The passkey is registered already.
    AlreadyRegistered,
    /// The form of the data or the algorithm of the key is not supported.
    Unsupported,
}

impl PasskeyFault {
    /// The name in the metadata of the error.
    pub fn name(self) -> &'static str {
        match self {
            Self::Challenge => "CHALLENGE",
            Self::Origin => "ORIGIN",
            Self::RelyingParty => "RELYING_PARTY",
            Self::UserVerification => "USER_VERIFICATION",
            Self::UnknownPasskey => "UNKNOWN_PASSKEY",
            Self::Signature => "SIGNATURE",
            Self::Counter => "COUNTER",
            Self::AlreadyRegistered => "ALREADY_REGISTERED",
            Self::Unsupported => "UNSUPPORTED",
        }
    }
}

impl std::fmt::Display for PasskeyFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Challenge => "its challenge is unknown, used, or older than 5 minutes",
            Self::Origin => "its page is none of the origins of this service",
            Self::RelyingParty => "it is for another relying party",
            Self::UserVerification => "the authenticator has not verified the user",
            Self::UnknownPasskey => "it is not registered here, or not for this account",
            Self::Signature => "its signature is wrong",
            Self::Counter => "its signature counter has not grown, so it may have been copied",
            Self::AlreadyRegistered => "it is registered already",
            Self::Unsupported => {
                "the form of its data or the algorithm of its key is not supported"
            }
        })
    }
}

impl Error {
    /// An invalid field.
    pub fn invalid(
        field: impl Into<String>,
        description: impl Into<std::borrow::Cow<'static, str>>,
    ) -> Self {
        Self::Invalid(vec![Violation {
            field: field.into(),
            description: description.into(),
        }])
    }

    /// A resource that does not exist, or belongs to another tenant.
    pub fn not_found(noun: &'static str, id: impl ToString) -> Self {
        Self::NotFound {
            noun,
            id: id.to_string(),
        }
    }

    /// An internal error.
    pub fn internal(cause: impl Into<anyhow::Error>) -> Self {
        Self::Internal(cause.into())
    }

    /// The error with all its causes, each once: for the log, never for a caller.
    pub fn with_causes(&self) -> String {
        with_causes(self)
    }
}

fn refusal_text(cause: &RefusalCause) -> Cow<'static, str> {
    let text = match cause {
        RefusalCause::QuotaExceeded(excess) => {
            return format!("the quota of the organization is reached: {excess}").into();
        }
        RefusalCause::Suspended => "the account or the organization of the project is suspended",
        RefusalCause::Disabled => "the project is disabled",
        RefusalCause::Held(_) => "the owner has put publishing on hold",
        RefusalCause::ConnectionEnded => "this connection has published before and has ended",
        RefusalCause::KeyReplaced => "the stream key is not valid",
        RefusalCause::Conflict => "another connection is publishing to this project",
    };
    text.into()
}

/// The first violations as text, for callers that ignore the details.
fn invalid_text(violations: &[Violation]) -> String {
    const MAX_SHOWN: usize = 5;
    let shown: Vec<_> = violations
        .iter()
        .take(MAX_SHOWN)
        .map(|violation| format!("{} {}", violation.field, violation.description))
        .collect();
    let more = match violations.len().saturating_sub(MAX_SHOWN) {
        0 => String::new(),
        more => format!("; and {more} more"),
    };
    format!("invalid request: {}{more}", shown.join("; "))
}
