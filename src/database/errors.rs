//! Classification of sqlx errors.

use std::io::{self, ErrorKind};

use sqlx::error::DatabaseError;
use sqlx_sqlite::SqliteError;

use crate::error::Error;

/// SQLSTATEs after which a retry on another connection can succeed: the server shuts down,
/// has crashed, starts, has too many connections, is out of memory, is read-only (a standby),
/// or has ended an idle session or transaction.
const TRANSIENT_SQLSTATES: [&str; 8] = [
    "57P01", "57P02", "57P03", "57P05", "53300", "53200", "25006", "25P03",
];

/// The same for SQLite: `BUSY` and `LOCKED` (another process), `NOMEM`, `READONLY` (a
/// remounted disk), `IOERR`, `CANTOPEN` (no more open files, or a disk that is not mounted
/// yet), `PROTOCOL` (a race for the log). Not `CORRUPT` and `NOTADB`: no retry can succeed.
const TRANSIENT_SQLITE_CODES: [i32; 7] = [5, 6, 7, 8, 10, 14, 15];

/// `SQLITE_FULL`.
const SQLITE_FULL: i32 = 13;

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        // The check of a queued statement.
        let error = match error {
            sqlx::Error::Configuration(cause) => match cause.downcast::<Self>() {
                Ok(refusal) => return *refusal,
                Err(cause) => sqlx::Error::Configuration(cause),
            },
            error => error,
        };
        match classify(&error) {
            ErrorClass::DiskFull => Self::StorageFull(error),
            ErrorClass::Unavailable => Self::DatabaseUnavailable(error),
            ErrorClass::SerializationFailure => Self::LostRace(error),
            ErrorClass::LockTimeout => Self::LockTimeout,
            ErrorClass::StatementTimeout => Self::DeadlineExceeded,
            ErrorClass::Other => Self::internal(error),
        }
    }
}

/// The error that every read of a failed batch receives. `None` if a read may succeed on
/// its own, as after the end of the one connection that carried the batch.
pub(crate) fn shared_by_batch(error: &Error) -> Option<Error> {
    let copy = |kind, cause: &sqlx::Error| sqlx::Error::Io(io::Error::new(kind, cause.to_string()));
    match error {
        Error::DatabaseUnavailable(cause) if is_disconnect(cause) => None,
        Error::DatabaseUnavailable(cause) => {
            Some(Error::DatabaseUnavailable(copy(ErrorKind::Other, cause)))
        }
        Error::StorageFull(cause) => Some(Error::StorageFull(copy(ErrorKind::StorageFull, cause))),
        Error::DeadlineExceeded => Some(Error::DeadlineExceeded),
        _ => None,
    }
}

/// Whether an established connection has ended, which is noticed without a delay.
fn is_disconnect(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(cause) => matches!(
            cause.kind(),
            ErrorKind::ConnectionReset
                | ErrorKind::ConnectionAborted
                | ErrorKind::UnexpectedEof
                | ErrorKind::BrokenPipe
        ),
        sqlx::Error::Database(cause) => {
            matches!(cause.code().as_deref(), Some("57P01" | "57P02" | "57P05"))
        }
        _ => false,
    }
}

/// Whether the database cannot be reached for now.
pub(crate) fn is_unavailable(error: &sqlx::Error) -> bool {
    matches!(classify(error), ErrorClass::Unavailable)
}

/// Whether the disk is full.
pub(crate) fn is_disk_full(error: &sqlx::Error) -> bool {
    matches!(classify(error), ErrorClass::DiskFull)
}

enum ErrorClass {
    /// A retry on another connection can succeed.
    Unavailable,
    /// A retry of the same transaction can succeed: a serialization failure or a deadlock.
    SerializationFailure,
    LockTimeout,
    StatementTimeout,
    DiskFull,
    Other,
}

fn classify(error: &sqlx::Error) -> ErrorClass {
    let cause = match error {
        sqlx::Error::Io(cause) if cause.kind() == ErrorKind::StorageFull => {
            return ErrorClass::DiskFull;
        }
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => return ErrorClass::Unavailable,
        sqlx::Error::Database(cause) => cause.as_ref(),
        _ => return ErrorClass::Other,
    };
    if let Some(code) = sqlite_code(cause) {
        return match code {
            SQLITE_FULL => ErrorClass::DiskFull,
            code if TRANSIENT_SQLITE_CODES.contains(&code) => ErrorClass::Unavailable,
            _ => ErrorClass::Other,
        };
    }
    match cause.code().as_deref() {
        Some("40001" | "40P01") => ErrorClass::SerializationFailure,
        Some("55P03") => ErrorClass::LockTimeout,
        Some("57014") => ErrorClass::StatementTimeout,
        Some("53100") => ErrorClass::DiskFull,
        _ if is_transient(cause) => ErrorClass::Unavailable,
        _ => ErrorClass::Other,
    }
}

/// Whether PostgreSQL reports that another connection, or a later attempt, can succeed.
pub(crate) fn is_transient(cause: &dyn DatabaseError) -> bool {
    let code = cause.code();
    code.is_some_and(|code| TRANSIENT_SQLSTATES.contains(&&*code) || code.starts_with("08"))
}

/// Whether a prepared statement of the session is gone, or another one has its name: an
/// undeclared pooler has changed the session.
pub(crate) fn is_lost_statement(cause: &dyn DatabaseError) -> bool {
    matches!(cause.code().as_deref(), Some("26000" | "42P05"))
}

/// The primary result code of an error of SQLite.
pub(crate) fn sqlite_code(cause: &dyn DatabaseError) -> Option<i32> {
    cause.try_downcast_ref::<SqliteError>()?;
    let code: i32 = cause.code()?.parse().ok()?;
    Some(code & 0xff)
}

/// Replaces the error of a statement that violated a unique constraint.
pub(crate) fn on_unique_violation(replacement: Error) -> impl FnOnce(Error) -> Error {
    |error| match &error {
        Error::Internal(cause) => match cause.downcast_ref() {
            Some(sqlx::Error::Database(cause)) if cause.is_unique_violation() => replacement,
            _ => error,
        },
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use super::shared_by_batch;
    use crate::error::Error;

    #[test]
    fn a_disconnect_fails_no_other_read_of_its_batch() {
        let unavailable =
            |kind: ErrorKind| Error::DatabaseUnavailable(sqlx::Error::Io(kind.into()));

        assert!(shared_by_batch(&unavailable(ErrorKind::UnexpectedEof)).is_none());
        assert!(shared_by_batch(&unavailable(ErrorKind::TimedOut)).is_some());
        assert!(shared_by_batch(&Error::ConcurrentChange).is_none());
    }
}
