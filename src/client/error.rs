use std::{error::Error, io};

use tonic::{Code, Status};
use tonic_types::StatusExt;

/// Why a command fails: one sentence for each cause, and the exit code.
#[derive(Debug)]
pub struct ClientError {
    sentences: Vec<String>,
    exit: ExitClass,
    /// The reason of a call's error (`ErrorInfo.reason`); empty otherwise.
    reason: String,
}

/// The exit codes of the client commands, as `docs/cli.md` lists them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitClass {
    /// The reader of the output has closed it, as `head` does. It is not a failure.
    OutputClosed = 0,
    /// Anything without a code of its own.
    Failure = 1,
    /// An argument or a field is invalid.
    Usage = 2,
    /// Not signed in, or not allowed.
    Denied = 3,
    /// There is no such resource.
    NotFound = 4,
    /// The state of the resource does not permit the call.
    Conflict = 5,
    /// The server cannot be reached, or asks to call later.
    Unavailable = 6,
}

impl ClientError {
    /// An error of one sentence: lower case, without a full stop.
    pub fn new(exit: ExitClass, sentence: impl Into<String>) -> Self {
        Self {
            sentences: vec![sentence.into()],
            exit,
            reason: String::new(),
        }
    }

    /// An invalid argument.
    pub fn usage(sentence: impl Into<String>) -> Self {
        Self::new(ExitClass::Usage, sentence)
    }

    /// The error of a call to this server.
    pub fn of_call(status: &Status, server: &str) -> Self {
        let exit = match is_unavailable(status) {
            true => ExitClass::Unavailable,
            false => exit_class(status.code()),
        };
        let details = status.get_error_details();
        let violations = details.bad_request().map(|bad| &bad.field_violations);
        if let Some(violations) = violations.filter(|violations| !violations.is_empty()) {
            let sentence = |violation: &tonic_types::FieldViolation| {
                format!("{} {}", violation.field, violation.description)
            };
            return Self {
                sentences: violations.iter().map(sentence).collect(),
                exit,
                reason: reason(status),
            };
        }

        let Some(info) = details.error_info() else {
            return Self::new(exit, transport_sentence(status, server));
        };
        let retry = details.retry_info().and_then(|info| info.retry_delay);
        let remedy = match (remedy(&info.reason), retry) {
            (Some(remedy), _) => format!(": {remedy}"),
            (None, Some(delay)) => {
                let seconds = std::time::Duration::from_secs(delay.as_secs().max(1));
                format!(": try again in {}", humantime::format_duration(seconds))
            }
            (None, None) => String::new(),
        };
        Self {
            reason: info.reason.clone(),
            ..Self::new(exit, format!("{}{remedy}", status.message()))
        }
    }

    /// Whether a call failed for this reason (`ErrorInfo.reason`).
    pub fn has_reason(&self, reason: &str) -> bool {
        self.reason == reason
    }

    /// The sentences, to be printed one a line. There may be none.
    pub fn sentences(&self) -> &[String] {
        &self.sentences
    }

    /// The exit code of the process.
    pub fn exit_code(&self) -> u8 {
        self.exit as u8
    }
}

/// Errors of standard input and output.
impl From<io::Error> for ClientError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self {
                sentences: Vec::new(),
                exit: ExitClass::OutputClosed,
                reason: String::new(),
            },
            _ => Self::new(ExitClass::Failure, error.to_string()),
        }
    }
}

/// Whether a call failed because the server was not available, or its connection broke.
pub fn is_unavailable(status: &Status) -> bool {
    match status.code() {
        Code::Unavailable => true,
        Code::Unknown | Code::Internal | Code::Cancelled => is_local(status),
        _ => false,
    }
}

/// Whether an error arose on this side. One that the server sent has no source.
fn is_local(status: &Status) -> bool {
    Error::source(status).is_some()
}

/// The reason of a status (`ErrorInfo.reason`); empty if the status has none.
pub fn reason(status: &Status) -> String {
    let info = status.get_details_error_info();
    info.map(|info| info.reason).unwrap_or_default()
}

fn exit_class(code: Code) -> ExitClass {
    match code {
        Code::InvalidArgument | Code::OutOfRange => ExitClass::Usage,
        Code::Unauthenticated | Code::PermissionDenied => ExitClass::Denied,
        Code::NotFound => ExitClass::NotFound,
        Code::AlreadyExists | Code::Aborted | Code::FailedPrecondition => ExitClass::Conflict,
        Code::Unavailable | Code::ResourceExhausted | Code::DeadlineExceeded => {
            ExitClass::Unavailable
        }
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::Unimplemented
        | Code::Internal
        | Code::DataLoss => ExitClass::Failure,
    }
}

/// What a user can do about an error, by its reason.
fn remedy(reason: &str) -> Option<&'static str> {
    match reason {
        "ACCESS_TOKEN_MISSING"
        | "ACCESS_TOKEN_INVALID"
        | "ACCESS_TOKEN_EXPIRED"
        | "ACCESS_TOKEN_MALFORMED"
        | "REFRESH_TOKEN_INVALID"
        | "REFRESH_TOKEN_REUSED" => Some("run `sluice login`"),
        "API_KEY_INVALID" => {
            Some("it is mistyped, revoked or expired; check SLUICE_API_KEY (--api-key)")
        }
        "ACCOUNT_SUSPENDED" | "ORGANIZATION_SUSPENDED" => Some("ask the operator of the service"),
        "SECOND_FACTOR_MISSING" => {
            Some("add one with `sluice factor add`, or a passkey in your application")
        }
        "QUOTA_EXCEEDED" => {
            Some("`sluice usage --quota` shows the limits; an operator can change them")
        }
        "SCOPE_MISSING" => Some("use an API key with this scope, or run `sluice login`"),
        "SESSION_REQUIRED" => Some("run `sluice login` and unset SLUICE_API_KEY (--api-key)"),
        "API_KEY_RESTRICTED" => Some("use an API key for all projects, or run `sluice login`"),
        "REAUTHENTICATION_REQUIRED" => Some("run `sluice login` first, or use a terminal"),
        "SECOND_FACTOR_LIMIT_REACHED" => {
            Some("delete one with `sluice factor delete` or `sluice passkey delete`")
        }
        "EMAIL_TAKEN" => Some("run `sluice login` if it is yours, or use another address"),
        "PROJECT_LIVE" => Some("stop it with `sluice stream stop`, or use --force"),
        "STREAM_NOT_LIVE" => Some("relays run only while a publisher is connected"),
        "ETAG_MISMATCH" => {
            Some("read the resource again, and repeat the command with its new etag")
        }
        "CONCURRENT_CHANGE" => Some("run the command again"),
        "DESTINATION_LIMIT_REACHED" => Some("delete one with `sluice destination delete`"),
        _ => None,
    }
}

/// The sentence of an error that the server did not explain: most often, it was not reached.
fn transport_sentence(status: &Status, server: &str) -> String {
    let mut cause: &dyn Error = status;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    match status.code() {
        Code::Unimplemented => format!("{server} does not have this call: is it an older version?"),
        Code::DeadlineExceeded => format!("{server} did not answer in time: try again"),
        _ if is_local(status) => {
            format!("cannot reach {server} (SLUICE_SERVER, --server): {cause}")
        }
        code => format!("{server} answered {code:?}: {}", status.message()),
    }
}
