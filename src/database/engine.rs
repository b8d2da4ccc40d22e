//! The two engines, and statements that run on either of them.
//!
//! The statements are macros, because sqlx knows the engine only by type.

/// A value for one of the two engines.
#[derive(Debug)]
pub enum Engine<P, S> {
    /// The value for PostgreSQL.
    Postgres(P),
    /// The value for SQLite.
    Sqlite(S),
}

/// Runs one expression on whichever engine it is: `on_engine!(pool, pool => expression)`.
///
/// The expression is compiled once per engine.
macro_rules! on_engine {
    ($engine:expr, $name:ident => $body:expr) => {
        match $engine {
            $crate::database::Engine::Postgres($name) => $body,
            $crate::database::Engine::Sqlite($name) => $body,
        }
    };
}

/// Runs a statement without rows: `execute!(tx, "delete from outbox where id = $1", [id])?`.
/// Like the macros below it works on a transaction, or on its own, and awaits the statement.
macro_rules! execute {
    ($target:expr, $sql:expr, [$($argument:expr),* $(,)?] $(,)?) => {
        rows_affected!($target, $sql, [$($argument),*]).map(drop)
    };
}

/// Runs a statement of a transaction whose answer matters only to its check:
/// `queue!(tx, "insert …", [id], Check::default())?`. It fails here, at the next statement, or at
/// the commit. A rollback drops it. The transaction is any `QueueStatements`.
macro_rules! queue {
    ($transaction:expr, $sql:expr, [$($argument:expr),* $(,)?], $check:expr $(,)?) => {
        on_engine!($transaction.queue(), queue => queue
            .push($sql, $check)
            $(.bind($argument))*
            .submit()
            .await)
        .map_err($crate::error::Error::from)
    };
}

/// Runs a statement without rows; returns the number of affected rows.
macro_rules! rows_affected {
    ($target:expr, $sql:expr, [$($argument:expr),* $(,)?] $(,)?) => {
        on_engine!($target.executor(), executor => sqlx::query($sql)
            $(.bind($argument))*
            .execute(executor)
            .await
            .map(|done| done.rows_affected()))
        .map_err($crate::error::Error::from)
    };
}

/// Whether a statement returns a row.
macro_rules! exists {
    ($target:expr, $sql:expr, [$($argument:expr),* $(,)?] $(,)?) => {
        on_engine!($target.executor(), executor => sqlx::query($sql)
            $(.bind($argument))*
            .fetch_optional(executor)
            .await
            .map(|row| row.is_some()))
        .map_err($crate::error::Error::from)
    };
}

/// Reads rows with a method of sqlx: the common part of the macros below.
macro_rules! fetch {
    ($method:ident $query:ident, $target:expr, $sql:expr, $($argument:expr),*) => {
        on_engine!($target.executor(), executor => sqlx::$query::<_, _>($sql)
            $(.bind($argument))*
            .$method(executor)
            .await)
        .map_err($crate::error::Error::from)
    };
}

/// Reads the rows of a statement.
macro_rules! fetch_all {
    ($target:expr, $sql:expr, [$($argument:expr),* $(,)?] $(,)?) => {
        fetch!(fetch_all query_as, $target, $sql, $($argument),*)
    };
}

/// Reads the row of a statement, if there is one.
macro_rules! fetch_optional {
    ($target:expr, $sql:expr, [$($argument:expr),* $(,)?] $(,)?) => {
        fetch!(fetch_optional query_as, $target, $sql, $($argument),*)
    };
}

/// Reads the one row of a statement.
macro_rules! fetch_one {
    ($target:expr, $sql:expr, [$($argument:expr),* $(,)?] $(,)?) => {
        fetch!(fetch_one query_as, $target, $sql, $($argument),*)
    };
}

/// Reads the one column of the rows of a statement.
macro_rules! fetch_scalars {
    ($target:expr, $sql:expr, [$($argument:expr),* $(,)?] $(,)?) => {
        fetch!(fetch_all query_scalar, $target, $sql, $($argument),*)
    };
}

/// Reads the one column of the row of a statement, if there is one.
macro_rules! fetch_optional_scalar {
    ($target:expr, $sql:expr, [$($argument:expr),* $(,)?] $(,)?) => {
        fetch!(fetch_optional query_scalar, $target, $sql, $($argument),*)
    };
}

/// Reads the one column of the one row of a statement.
macro_rules! fetch_scalar {
    ($target:expr, $sql:expr, [$($argument:expr),* $(,)?] $(,)?) => {
        fetch!(fetch_one query_scalar, $target, $sql, $($argument),*)
    };
}
