use std::{path::PathBuf, str::FromStr, time::Duration};

use sqlx_postgres::PgConnectOptions;

/// The location of the data. Not `Debug`, because it contains a password.
#[derive(Clone)]
pub enum Target {
    /// The PostgreSQL servers of one database.
    Postgres(Box<PostgresServers>),
    /// An SQLite file.
    Sqlite(PathBuf),
}

/// The PostgreSQL servers of one database: a single one, or a primary with its standbys.
#[derive(Clone)]
pub struct PostgresServers {
    /// How to connect to each server, in the order in which they are tried. Not empty.
    pub servers: Vec<PgConnectOptions>,
    /// Which of them is used.
    pub target_session: TargetSession,
    /// What connects to them.
    pub pooler: Pooler,
    /// The settings that name them.
    pub settings: SettingNames,
}

/// Which server is used: `target_session_attrs` of libpq.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TargetSession {
    /// The first one that accepts a connection.
    Any,
    /// The first one that is no standby, and whose transactions write by default.
    ReadWrite,
    /// The first one that is no standby.
    Primary,
}

/// The connection pooler between this process and PostgreSQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooler {
    /// None, or one that gives each connection a session of its own, such as PgBouncer in
    /// session mode.
    None,
    /// One that gives each transaction any session, such as PgBouncer in transaction mode.
    /// A session has no settings, prepared statements or notifications of its own then.
    Transaction,
}

/// The names of the settings of a PostgreSQL server, for messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SettingNames {
    /// The setting of the host.
    pub host: &'static str,
    /// The settings of the user and the password.
    pub credentials: &'static str,
    /// The setting of the database.
    pub database: &'static str,
    /// The setting of `sslmode`.
    pub ssl_mode: &'static str,
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

impl SettingNames {
    /// A single setting with the whole URL.
    pub const fn url(name: &'static str) -> Self {
        Self {
            host: name,
            credentials: name,
            database: name,
            ssl_mode: name,
        }
    }
}

impl Target {
    /// Sets the pooler in front of PostgreSQL.
    pub fn with_pooler(mut self, pooler: Pooler) -> Self {
        if let Self::Postgres(servers) = &mut self {
            servers.pooler = pooler;
        }
        self
    }

    /// Sets the names of the settings of PostgreSQL, by default `DATABASE_URL`.
    pub fn with_settings(mut self, settings: SettingNames) -> Self {
        if let Self::Postgres(servers) = &mut self {
            servers.settings = settings;
        }
        self
    }
}

impl FromStr for Pooler {
    type Err = &'static str;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name {
            "none" => Ok(Self::None),
            "transaction" => Ok(Self::Transaction),
            _ => Err("must be none or transaction"),
        }
    }
}
