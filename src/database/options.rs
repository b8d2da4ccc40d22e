use std::{path::PathBuf, str::FromStr, time::Duration};

use sqlx_postgres::PgConnectOptions;

/// The location of the data. Not `Debug`, because it contains a password.
#[derive(Clone)]
pub enum Target {
    /// A PostgreSQL server.
    Postgres(Box<PgConnectOptions>),
    /// An SQLite file.
    Sqlite(PathBuf),
}

/// The settings of a database.
#[derive(Clone)]
pub struct DatabaseOptions {
    /// The location of the data.
    pub target: Target,
    /// The maximum number of connections to PostgreSQL, or of read-only connections to SQLite.
    pub pool_size: u32,
    /// The maximum time that a call waits for a connection.
    pub acquire_timeout: Duration,
    /// The maximum time that a statement may take.
    pub statement_timeout: Duration,
    /// The duration from which a statement is logged as slow.
    pub slow_query: Duration,
}

impl FromStr for Target {
    type Err = &'static str;

    /// Parses `postgres://…`, `postgresql://…` or `sqlite:PATH`.
    fn from_str(url: &str) -> Result<Self, Self::Err> {
        if let Some(path) = url.strip_prefix("sqlite:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            return match path {
                "" | ":memory:" => Err("must name a file after sqlite:"),
                _ if path.contains('?') => Err("must not have parameters after the file"),
                _ => Ok(Self::Sqlite(path.into())),
            };
        }
        if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            return PgConnectOptions::from_str(url)
                .map(|server| Self::Postgres(Box::new(server)))
                .map_err(|_| "must be a URL such as postgres://user:password@host:5432/name");
        }
        Err("must begin with postgres:// or sqlite:")
    }
}
