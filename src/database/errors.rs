//! What an error of sqlx means for a call.

use std::io::{self, ErrorKind};

use sqlx::{Error as Failure, error::DatabaseError, sqlite::SqliteError};

use crate::error::Error;

/// SQLSTATEs after which a later try, on another connection, can succeed: the server is
/// going down, has crashed, comes up, is full of connections, out of memory, not the
/// primary, or has ended the session.
const PASSING: [&str; 8] = [
    "57P01", "57P02", "57P03", "57P05", "53300", "53200", "25006", "25P03",
];

/// The same of SQLite: `BUSY` and `LOCKED` (another process), `NOMEM`, `READONLY` (a disk
/// that was mounted anew), `IOERR`, `CANTOPEN` (no more open files, or a disk that is not
/// there yet), `PROTOCOL` (a race for the log). Not `CORRUPT` and `NOTADB`: no later try
/// can succeed.
const SQLITE_PASSING: [i32; 7] = [5, 6, 7, 8, 10, 14, 15];

/// `SQLITE_FULL`.
const SQLITE_FULL: i32 = 13;

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match &failure {
            _ if is_full(&failure) => Self::StorageFull(failure),
            _ if is_unavailable(&failure) => Self::DatabaseUnavailable(failure),
            Failure::Database(cause) => match meaning(cause.as_ref()) {
                Meaning::LostRace => Self::LostRace(failure),
                Meaning::LockHeld => Self::ConcurrentChange,
                Meaning::TooLong => Self::DeadlineExceeded,
                Meaning::Passing | Meaning::Full | Meaning::Fault => Self::internal(failure),
            },
            _ => Self::internal(failure),
        }
    }
}

/// The error that every read of a failed batch receives. `None` if a read may succeed on
/// its own, as after the end of the one connection that carried the batch.
pub(crate) fn shared_by_batch(failure: &Error) -> Option<Error> {
    let again = |kind, cause: &Failure| Failure::Io(io::Error::new(kind, cause.to_string()));
    match failure {
        Error::DatabaseUnavailable(cause) if is_end(cause) => None,
        Error::DatabaseUnavailable(cause) => {
            Some(Error::DatabaseUnavailable(again(ErrorKind::Other, cause)))
        }
        Error::StorageFull(cause) => Some(Error::StorageFull(again(ErrorKind::StorageFull, cause))),
        Error::DeadlineExceeded => Some(Error::DeadlineExceeded),
        _ => None,
    }
}

/// Whether a connection has ended that had been sound, which takes no time to notice.
fn is_end(failure: &Failure) -> bool {
    match failure {
        Failure::Io(cause) => matches!(
            cause.kind(),
            ErrorKind::ConnectionReset
                | ErrorKind::ConnectionAborted
                | ErrorKind::UnexpectedEof
                | ErrorKind::BrokenPipe
        ),
        Failure::Database(cause) => {
            matches!(cause.code().as_deref(), Some("57P01" | "57P02" | "57P05"))
        }
        _ => false,
    }
}

/// Whether the database cannot be reached for now.
pub(crate) fn is_unavailable(failure: &Failure) -> bool {
    match failure {
        Failure::Io(_)
        | Failure::Tls(_)
        | Failure::PoolTimedOut
        | Failure::PoolClosed
        | Failure::WorkerCrashed => true,
        Failure::Database(cause) => matches!(meaning(cause.as_ref()), Meaning::Passing),
        _ => false,
    }
}

/// Whether there is no room left.
pub(crate) fn is_full(failure: &Failure) -> bool {
    match failure {
        Failure::Io(cause) => cause.kind() == ErrorKind::StorageFull,
        Failure::Database(cause) => matches!(meaning(cause.as_ref()), Meaning::Full),
        _ => false,
    }
}

/// What an error of the database says.
enum Meaning {
    /// A later try can succeed.
    Passing,
    /// The same transaction, begun anew, can succeed.
    LostRace,
    /// Somebody held a lock for too long.
    LockHeld,
    /// The statement took too long.
    TooLong,
    /// There is no room left.
    Full,
    /// Something is wrong.
    Fault,
}

fn meaning(cause: &dyn DatabaseError) -> Meaning {
    if let Some(code) = sqlite_code(cause) {
        return match code {
            SQLITE_FULL => Meaning::Full,
            code if SQLITE_PASSING.contains(&code) => Meaning::Passing,
            _ => Meaning::Fault,
        };
    }
    match cause.code().as_deref() {
        Some("40001" | "40P01") => Meaning::LostRace,
        Some("55P03") => Meaning::LockHeld,
        Some("57014") => Meaning::TooLong,
        Some("53100") => Meaning::Full,
        _ if is_passing(cause) => Meaning::Passing,
        _ => Meaning::Fault,
    }
}

/// Whether PostgreSQL says that another connection, at another time, can do better.
pub(crate) fn is_passing(cause: &dyn DatabaseError) -> bool {
    let code = cause.code();
    code.is_some_and(|code| PASSING.contains(&&*code) || code.starts_with("08"))
}

/// The result code of an error of SQLite, without what tells its variants apart.
pub(crate) fn sqlite_code(cause: &dyn DatabaseError) -> Option<i32> {
    cause.try_downcast_ref::<SqliteError>()?;
    let code: i32 = cause.code()?.parse().ok()?;
    Some(code & 0xff)
}

/// Whether a statement failed because a unique value is taken.
pub(crate) fn is_taken(failure: &Failure) -> bool {
    matches!(failure, Failure::Database(cause) if cause.is_unique_violation())
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use sqlx::Error as Failure;

    use super::shared_by_batch;
    use crate::error::Error;

    #[test]
    fn a_connection_that_ends_fails_no_other_read_of_its_batch() {
        let unavailable = |kind: ErrorKind| Error::DatabaseUnavailable(Failure::Io(kind.into()));

        assert!(shared_by_batch(&unavailable(ErrorKind::UnexpectedEof)).is_none());
        assert!(shared_by_batch(&unavailable(ErrorKind::TimedOut)).is_some());
        assert!(shared_by_batch(&Error::ConcurrentChange).is_none());
    }
}
