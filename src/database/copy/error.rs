use crate::error::Error;

/// The reason why a database was not copied. The target is unchanged.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// Both databases are of one engine, whose own tools copy better.
    #[error("both databases are of the engine {0}: use its own tools for backup and restore")]
    SameEngine(&'static str),
    /// Another process uses one of the databases.
    #[error("the {0} database is in use: stop every server and command that uses it")]
    InUse(&'static str),
    /// A pooler hides who uses the database, and gives each transaction another session.
    #[error(
        "a pooler in transaction mode is in front of PostgreSQL (SLUICE_DB_POOLER): connect to \
         the server itself for the copy"
    )]
    Pooled,
    /// The target has rows.
    #[error("the target is not empty: there are rows in {0}")]
    NotEmpty(String),
    /// The schemas differ, or have something that cannot be copied.
    #[error("the schemas do not match: {0}")]
    Schema(String),
    /// The copied rows differ from the source.
    #[error("the rows of {0} in the target differ from the source")]
    Differs(String),
    /// A migration failed.
    #[error(transparent)]
    Migration(#[from] Error),
    /// A statement failed.
    #[error("the database failed: {0}")]
    Database(#[from] sqlx::Error),
}
