use std::{path::PathBuf, str::FromStr, time::Duration};

use sqlx::postgres::PgConnectOptions;

/// Where the data is. It cannot be printed: there is a password in it.
#[derive(Clone)]
pub enum Target {
    /// A PostgreSQL server.
    Postgres(Box<PgConnectOptions>),
    /// A file of SQLite.
    Sqlite(PathBuf),
}

/// How the database is used.
#[derive(Clone)]
pub struct DatabaseOptions {
    /// Where the data is.
    pub target: Target,
    /// Connections: to PostgreSQL, or of SQLite's reading pool.
    pub pool_size: u32,
    /// How long a call waits for a connection.
    pub acquire_timeout: Duration,
    /// How long a statement may take.
    pub statement_timeout: Duration,
    /// From which duration a statement is logged as slow.
    pub slow_query: Duration,
}

impl FromStr for Target {
    type Err = &'static str;

    /// Reads `postgres://…`, `postgresql://…` or `sqlite:PATH`.
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
