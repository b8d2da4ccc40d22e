//! Statements that wait until the next one, and run in one trip with each other.
//!
//! A statement of SQLite runs on the thread of its connection: a trip there and back wakes two
//! threads, which costs more than most statements do. So a transaction queues the statements
//! whose answer it does not need at once, and its control statements. They run before the next
//! statement that has an answer, or before the commit. The statements of a script share a list
//! of arguments, and each can have a [`Check`] of its answer, so that it fails as it would alone.
//!
//! With 64 callers, a server without optimisation created 1.9 times as many projects, and switched
//! threads 4 times a project instead of 14. `SLUICE_BENCH_BASELINE=… tests/run bench --bench load --
//! sqlite` compares two programs in turn.
//!
//! sqlx runs statements of SQLite nowhere else: a read is one trip, which cannot be saved.

use sqlx::{
    Arguments, AssertSqlSafe, Database, Encode, Execute, SqlSafeStr, SqlStr, Type,
    error::BoxDynError,
};

use crate::error::Error;

/// The arguments from which a script of a connection runs without waiting for more. SQLite takes
/// 32,766 of them, and keeps a script prepared.
const MAX_ARGUMENTS: usize = 1000;

/// What the answer to a queued statement must be.
#[derive(Debug, Clone, Copy, Default)]
pub struct Check {
    if_no_row: Option<fn() -> Error>,
    if_nothing_changed: Option<fn() -> Error>,
    if_not_unique: Option<fn() -> Error>,
}

impl Check {
    /// The statement returns a row.
    pub fn returns_row(or: fn() -> Error) -> Self {
        Self {
            if_no_row: Some(or),
            ..Self::default()
        }
    }

    /// The statement changes a row.
    pub fn changes_row(or: fn() -> Error) -> Self {
        Self {
            if_nothing_changed: Some(or),
            ..Self::default()
        }
    }

    /// The statement violates no unique constraint.
    pub fn is_unique(or: fn() -> Error) -> Self {
        Self {
            if_not_unique: Some(or),
            ..Self::default()
        }
    }

    /// Checks the answer of a statement.
    pub(super) fn of_answer(self, rows: usize, changed: u64) -> Result<(), Error> {
        let missing_row = self.if_no_row.filter(|_| rows == 0);
        let unchanged = self.if_nothing_changed.filter(|_| changed == 0);
        match missing_row.or(unchanged) {
            Some(error) => Err(error()),
            None => Ok(()),
        }
    }

    /// The error of a statement that failed.
    pub(super) fn of_failure(self, error: sqlx::Error) -> sqlx::Error {
        let is_violation = |error: &sqlx::Error| match error {
            sqlx::Error::Database(cause) => cause.is_unique_violation(),
            _ => false,
        };
        match self.if_not_unique {
            Some(replacement) if is_violation(&error) => refusal(replacement()),
            _ => error,
        }
    }
}

/// An error of this program as one of sqlx, which its executors require. `Error::from` is the way
/// back.
pub(super) fn refusal(error: Error) -> sqlx::Error {
    sqlx::Error::Configuration(Box::new(error))
}

/// The statements that wait: first those that control the transaction, then those of callers.
pub struct Script<DB: Database> {
    /// Control statements, which have no arguments and no answer.
    opening: Vec<&'static str>,
    sql: String,
    arguments: DB::Arguments,
    checks: Vec<Check>,
}

impl<DB: Database> Default for Script<DB> {
    fn default() -> Self {
        Self {
            opening: Vec::new(),
            sql: String::new(),
            arguments: DB::Arguments::default(),
            checks: Vec::new(),
        }
    }
}

impl<DB: Database> Script<DB> {
    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.opening.is_empty() && self.checks.is_empty()
    }

    /// Whether only control statements wait, if any.
    pub fn is_control_only(&self) -> bool {
        self.checks.is_empty()
    }

    /// Whether control statements wait.
    pub fn has_opening(&self) -> bool {
        !self.opening.is_empty()
    }

    /// Adds statements that control the transaction, before those of callers.
    pub fn open_with(&mut self, statements: &[&'static str]) {
        self.opening.extend(statements);
    }

    /// Takes the control statements.
    pub fn take_opening(&mut self) -> Vec<&'static str> {
        std::mem::take(&mut self.opening)
    }

    /// Adds a statement, whose arguments are added after it: its `$1` is the next of them.
    pub fn push(&mut self, sql: &'static str, check: Check) {
        let bound = self.arguments.len();
        if !self.checks.is_empty() {
            self.sql.push(';');
        }
        push_renumbered(&mut self.sql, sql, bound);
        self.checks.push(check);
    }

    /// Whether so many arguments wait that the script should run before there are more.
    pub fn is_long(&self) -> bool {
        self.arguments.len() >= MAX_ARGUMENTS
    }

    /// Adds the next argument of the last statement.
    pub fn bind<'t, T>(&mut self, value: T) -> Result<(), BoxDynError>
    where
        T: Encode<'t, DB> + Type<DB>,
        DB::Arguments: Arguments<Database = DB>,
    {
        self.arguments.add(value)
    }

    /// The whole script as one query, and the checks of its statements in their order.
    pub fn into_query(self) -> (ScriptQuery<DB>, Vec<Check>) {
        let mut checks = vec![Check::default(); self.opening.len()];
        checks.extend(self.checks);
        let query = ScriptQuery {
            sql: prefixed(&self.opening, &self.sql),
            arguments: Some(self.arguments),
        };
        (query, checks)
    }
}

/// A statement after control statements.
pub(super) fn prefixed(opening: &[&'static str], sql: &str) -> SqlStr {
    let mut text = opening.join(";");
    if !opening.is_empty() && !sql.is_empty() {
        text.push(';');
    }
    text.push_str(sql);
    // All parts are literals of this program.
    AssertSqlSafe(text).into_sql_str()
}

/// Appends a statement whose arguments come after `bound` others: `$1` becomes `$3` after two.
fn push_renumbered(script: &mut String, sql: &str, bound: usize) {
    let mut parts = sql.split('$');
    script.push_str(parts.next().unwrap_or_default());
    for part in parts {
        let digits = part.len() - part.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, rest) = part.split_at(digits);
        script.push('$');
        match number.parse::<usize>() {
            Ok(number) => script.push_str(&(number + bound).to_string()),
            Err(_) => script.push_str(number),
        }
        script.push_str(rest);
    }
}

/// A script as a query of sqlx, which is prepared once.
pub struct ScriptQuery<DB: Database> {
    sql: SqlStr,
    arguments: Option<DB::Arguments>,
}

impl<DB: Database> Execute<'_, DB> for ScriptQuery<DB> {
    fn sql(self) -> SqlStr {
        self.sql
    }

    fn statement(&self) -> Option<&DB::Statement> {
        None
    }

    fn take_arguments(&mut self) -> Result<Option<DB::Arguments>, BoxDynError> {
        Ok(self.arguments.take())
    }

    fn persistent(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::{prefixed, push_renumbered};

    #[test]
    fn the_arguments_of_a_statement_come_after_those_before_it() {
        let mut script = String::from("select $1, $2;");
        push_renumbered(&mut script, "insert into t values ($2, $10, '$', $1)", 2);
        assert_eq!(
            script,
            "select $1, $2;insert into t values ($4, $12, '$', $3)"
        );
    }

    #[test]
    fn control_statements_come_first() {
        assert_eq!(prefixed(&[], "select 1").as_str(), "select 1");
        assert_eq!(prefixed(&["begin"], "").as_str(), "begin");
        let opened = prefixed(&["release a", "savepoint a"], "select 1");
        assert_eq!(opened.as_str(), "release a;savepoint a;select 1");
    }
}
