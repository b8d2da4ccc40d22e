use crate::error::Error;

/// Why a database was not copied. The target is then as it was.
#[derive(Debug, thiserror::Error)]
pub enum CopyFailure {
    /// Both are of one engine, whose own tools copy better.
    #[error("both databases are of the engine {0}: use its own tools for backup and restore")]
    SameEngine(&'static str),
    /// Somebody else uses one of them.
    #[error("the {0} database is in use: stop every server and command that uses it")]
    InUse(&'static str),
    /// The target holds something.
    #[error("the target is not empty: there are rows in {0}")]
    NotEmpty(String),
    /// The two schemas are not the same, or there is something in them that cannot be copied.
    #[error("the schemas do not match: {0}")]
    Schema(String),
    /// The target does not hold what it was given.
    #[error("what the target holds in {0} differs from the source")]
    Differs(String),
    /// Migrating failed.
    #[error(transparent)]
    Migration(#[from] Error),
    /// A statement failed.
    #[error("the database failed: {0}")]
    Database(#[from] sqlx::Error),
}
