//! Statements on whichever engine it is, in a transaction or on their own.
//!
//! They are macros over [`on_engine!`], because sqlx knows the engine only by type.

use sqlx::{Postgres, Sqlite};

use super::{
    Transaction,
    autocommit::{Acquire, Autocommit},
    connection::Connection,
    engine::Engine,
};

/// Runs a statement without rows; returns the number of affected rows:
/// `execute!(tx, "delete from outbox where id = $1", [id])?`. The macro awaits it.
macro_rules! execute {
    ($target:expr, $sql:expr, [$($argument:expr),* $(,)?] $(,)?) => {
        on_engine!($target.executor(), executor => sqlx::query($sql)
            $(.bind($argument))*
            .execute(executor)
            .await
            .map(|done| done.rows_affected()))
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

impl Transaction {
    /// Runs statements of the transaction.
    pub(crate) fn executor(
        &mut self,
    ) -> Engine<&mut Connection<Postgres>, &mut Connection<Sqlite>> {
        match self {
            Engine::Postgres(transaction) => Engine::Postgres(transaction),
            Engine::Sqlite(transaction) => Engine::Sqlite(transaction),
        }
    }
}

impl<P: Acquire, S: Acquire> Engine<Autocommit<'_, P>, Autocommit<'_, S>> {
    /// Itself, which runs one statement.
    pub(crate) fn executor(self) -> Self {
        self
    }
}
