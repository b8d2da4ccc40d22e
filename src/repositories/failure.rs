//! What an error of sqlx means for a call.

use sqlx::Error as Failure;

use crate::error::Error;

/// SQLSTATEs after which a later try can succeed: the server is going down,
/// coming up, full of connections, or not the primary.
const PASSING: [&str; 6] = ["57P01", "57P02", "57P03", "53300", "25006", "25P03"];

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

fn is_passing(cause: &dyn sqlx::error::DatabaseError) -> bool {
    // SQLite: 5 is SQLITE_BUSY: another process holds the file.
    cause
        .code()
        .is_some_and(|code| PASSING.contains(&&*code) || code.starts_with("08") || &*code == "5")
}

/// Serialization failure, deadlock, lock timeout.
fn is_lost_race(cause: &dyn sqlx::error::DatabaseError) -> bool {
    cause
        .code()
        .is_some_and(|code| ["40001", "40P01", "55P03"].contains(&&*code))
}

/// Whether a statement failed because a unique value is taken.
pub(super) fn is_taken(failure: &Failure) -> bool {
    matches!(failure, Failure::Database(cause) if cause.is_unique_violation())
}
