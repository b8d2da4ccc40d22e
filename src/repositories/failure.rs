//! What an error of sqlx means for a call.

use sqlx::{Error as Failure, error::DatabaseError, sqlite::SqliteError};

use crate::error::Error;

/// SQLSTATEs after which a later try can succeed: the server is going down,
/// coming up, full of connections, not the primary, or held up.
const PASSING: [&str; 8] = [
    "57P01", "57P02", "57P03", "53300", "25006", "25P03", "57014", "55P03",
];

/// Result codes of SQLite after which a later try can succeed: another process
/// holds the file (`SQLITE_BUSY`) or a table (`SQLITE_LOCKED`).
const BUSY: [i32; 2] = [5, 6];

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match &failure {
            Failure::Io(_)
            | Failure::Tls(_)
            | Failure::PoolTimedOut
            | Failure::PoolClosed
            | Failure::WorkerCrashed => Self::DatabaseUnavailable(failure),
            Failure::Database(cause) if is_passing(cause.as_ref()) => {
                Self::DatabaseUnavailable(failure)
            }
            Failure::Database(cause) if is_lost_race(cause.as_ref()) => Self::ConcurrentChange,
            _ => Self::internal(failure),
        }
    }
}

fn is_passing(cause: &dyn DatabaseError) -> bool {
    let Some(code) = cause.code() else {
        return false;
    };
    match cause.try_downcast_ref::<SqliteError>() {
        // The low byte is the code, the rest tells its variants apart.
        Some(_) => code
            .parse()
            .is_ok_and(|code: i32| BUSY.contains(&(code & 0xff))),
        None => PASSING.contains(&&*code) || code.starts_with("08"),
    }
}

/// Serialization failure, deadlock.
fn is_lost_race(cause: &dyn DatabaseError) -> bool {
    cause
        .code()
        .is_some_and(|code| ["40001", "40P01"].contains(&&*code))
}

/// Whether a statement failed because a unique value is taken.
pub(super) fn is_taken(failure: &Failure) -> bool {
    matches!(failure, Failure::Database(cause) if cause.is_unique_violation())
}
