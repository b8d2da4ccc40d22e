//! Failures to connect to PostgreSQL, as sentences for operators.

use std::io;

use sqlx_postgres::PgConnectOptions;

use super::options::{PostgresServers, SettingNames};

/// A failure to connect to PostgreSQL, or to open an SQLite file. Its text names the server or
/// the file, its setting, and what to do.
///
/// It travels as [`sqlx::Error::Io`]: whatever its cause, the database is unavailable.
#[derive(Debug, thiserror::Error)]
#[error("{sentence}")]
pub(crate) struct ConnectError {
    sentence: String,
    /// Whether another attempt fails as well, until an operator changes something.
    pub is_permanent: bool,
}

/// The kinds of failures that need different remedies.
enum Kind {
    /// The user or the password is wrong.
    Credentials,
    /// The server refuses the user, the client's address, or connections without TLS.
    Refused,
    /// The database does not exist.
    NoDatabase,
    /// The server does not know a parameter of the connection.
    Parameter,
    /// TLS is not offered, or fails.
    Tls,
    /// The host has no address.
    UnknownHost,
    /// A standby, or a server whose transactions are read-only.
    ReadOnly,
    /// Another attempt may succeed.
    Transient,
}

/// The server cannot be used for writing.
#[derive(Debug, thiserror::Error)]
#[error("the server is a standby or read-only")]
pub(super) struct ReadOnlyServer;

impl ConnectError {
    /// The failure of a server.
    pub fn new(server: &PgConnectOptions, settings: &SettingNames, cause: &sqlx::Error) -> Self {
        let kind = Kind::of(cause);
        let address = address(server);
        let database = database_of(server);
        let cause = text(cause);
        let SettingNames {
            host,
            credentials,
            database: database_setting,
            ssl_mode,
        } = settings;
        let sentence = match kind {
            Kind::Credentials => format!(
                "{address} does not accept the user or the password of {credentials}, correct \
                 them: {cause}"
            ),
            Kind::Refused => format!(
                "{address} refuses this connection: check the user ({credentials}), sslmode \
                 ({ssl_mode}; some servers require TLS) and the server's pg_hba.conf: {cause}"
            ),
            Kind::NoDatabase => format!(
                "{address} has no database {database:?} ({database_setting}): create it, or \
                 correct the name"
            ),
            Kind::Parameter => {
                format!("{address} does not accept a parameter of {database_setting}: {cause}")
            }
            Kind::Tls => format!(
                "cannot connect to {address} with TLS: check sslmode and the certificates \
                 ({ssl_mode}): {cause}"
            ),
            Kind::UnknownHost => format!(
                "the host of {address} is unknown: correct the name ({host}), or add it to the \
                 DNS: {cause}"
            ),
            Kind::ReadOnly => format!(
                "{address} is a standby or read-only: name the primary, or all servers ({host})"
            ),
            Kind::Transient => format!("cannot connect to {address} ({host}): {cause}"),
        };
        Self {
            sentence,
            is_permanent: kind.is_permanent(),
        }
    }

    /// A failure that may pass by itself.
    pub fn transient(sentence: String) -> Self {
        Self {
            sentence,
            is_permanent: false,
        }
    }

    /// The failure of all servers. Permanent if each of them is.
    pub fn all(failures: Vec<Self>) -> Self {
        let is_permanent = failures.iter().all(|failure| failure.is_permanent);
        let sentences: Vec<_> = failures.into_iter().map(|one| one.sentence).collect();
        Self {
            sentence: sentences.join("; "),
            is_permanent,
        }
    }

    /// The failure to connect, if an error is one.
    pub fn of(error: &sqlx::Error) -> Option<&Self> {
        match error {
            sqlx::Error::Io(cause) => cause.get_ref()?.downcast_ref(),
            _ => None,
        }
    }
}

impl From<ConnectError> for sqlx::Error {
    fn from(error: ConnectError) -> Self {
        Self::Io(io::Error::other(error))
    }
}

impl From<ReadOnlyServer> for sqlx::Error {
    fn from(error: ReadOnlyServer) -> Self {
        Self::Io(io::Error::other(error))
    }
}

impl Kind {
    fn of(cause: &sqlx::Error) -> Self {
        match cause {
            sqlx::Error::Database(cause) => match cause.code().as_deref() {
                Some("28P01") => Self::Credentials,
                Some("28000" | "42501") => Self::Refused,
                Some("3D000") => Self::NoDatabase,
                Some("22023" | "42704") => Self::Parameter,
                _ => Self::Transient,
            },
            sqlx::Error::Tls(_) | sqlx::Error::Configuration(_) => Self::Tls,
            sqlx::Error::Io(cause) => Self::of_io(cause),
            _ => Self::Transient,
        }
    }

    fn of_io(cause: &io::Error) -> Self {
        if cause
            .get_ref()
            .is_some_and(|inner| inner.is::<ReadOnlyServer>())
        {
            return Self::ReadOnly;
        }
        // The standard library has no kind for it.
        let is_lookup = cause.to_string().starts_with("failed to lookup address");
        match cause.kind() {
            // The certificate is not trusted.
            io::ErrorKind::InvalidData => Self::Tls,
            _ if is_lookup => Self::UnknownHost,
            _ => Self::Transient,
        }
    }

    /// A host may get its address, and a standby may be promoted, without an operator.
    fn is_permanent(&self) -> bool {
        match self {
            Self::Credentials | Self::Refused | Self::NoDatabase | Self::Parameter | Self::Tls => {
                true
            }
            Self::UnknownHost | Self::ReadOnly | Self::Transient => false,
        }
    }
}

impl PostgresServers {
    /// The addresses of the servers and the name of the database, without user and password.
    pub fn addresses(&self) -> String {
        let addresses: Vec<_> = self.servers.iter().map(address).collect();
        let database = self.servers.first().map_or("", database_of);
        format!("{}/{database}", addresses.join(","))
    }
}

/// The name of the database, by default that of the user.
pub(super) fn database_of(server: &PgConnectOptions) -> &str {
    server.get_database().unwrap_or(server.get_username())
}

/// The host and the port, or the socket.
fn address(server: &PgConnectOptions) -> String {
    let port = server.get_port();
    match (server.get_socket(), server.get_host()) {
        (Some(socket), _) => format!("{}/.s.PGSQL.{port}", socket.display()),
        (None, socket) if socket.starts_with('/') => format!("{socket}/.s.PGSQL.{port}"),
        (None, address) if address.contains(':') => format!("[{address}]:{port}"),
        (None, host) => format!("{host}:{port}"),
    }
}

/// The text of a cause, without the introduction that sqlx gives it.
fn text(cause: &sqlx::Error) -> String {
    match cause {
        sqlx::Error::Database(cause) => cause.message().to_owned(),
        sqlx::Error::Io(cause) => cause.to_string(),
        cause => cause.to_string(),
    }
}
