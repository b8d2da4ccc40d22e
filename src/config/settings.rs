use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};
use ipnet::IpNet;
use lettre::message::Mailbox;
use sqlx::postgres::PgSslMode;
use zeroize::Zeroizing;

use super::{
    listening::ListeningSettings,
    observing::ObservingSettings,
    parse::{
        address, filled, ingest_host, jwt_secret, mailbox, network, page_url, parsed, port,
        sealing_key, secret, span, ssl_mode, switch, within,
    },
    requests::RequestSettings,
};
use crate::{auth::IdTokenProvider, database::Target, domain::Secret, mail::MailRoute};

/// The settings of a server. They cannot be printed: there are secrets among them.
#[derive(Clone, Args)]
#[command(next_help_heading = "Settings")]
pub struct Config {
    /// `production` makes nothing up: secrets must be set, causes of internal
    /// errors stay in the log, and reflection is off unless set.
    #[arg(long, env = "SLUICE_ENV", default_value = "development")]
    pub env: Environment,

    /// The address of the gRPC API.
    #[arg(long, env = "SLUICE_LISTEN", default_value = "127.0.0.1:50051", value_parser = address)]
    pub listen: SocketAddr,

    /// The proxies in front, as addresses or networks, parted by commas: where they
    /// say for whom they call (`x-forwarded-for`), they are believed.
    #[arg(long, env = "SLUICE_TRUSTED_PROXIES", value_delimiter = ',', value_parser = network)]
    pub trusted_proxies: Vec<IpNet>,

    /// How connections are accepted.
    #[command(flatten)]
    pub listening: ListeningSettings,

    /// How often a user, or an API key, may call: calls a second in the long run; 0
    /// means as often as it likes. The keys of operators are not limited.
    #[arg(long, env = "SLUICE_CALLER_RATE", default_value = "200", value_parser = within(0..=1_000_000))]
    pub caller_rate: u32,

    /// How many calls it may make at once.
    #[arg(long, env = "SLUICE_CALLER_BURST", default_value = "2000", value_parser = within(1..=1_000_000))]
    pub caller_burst: u32,

    /// The same for an address from which calls come without a valid token.
    #[arg(long, env = "SLUICE_ADDRESS_RATE", default_value = "100", value_parser = within(0..=1_000_000))]
    pub address_rate: u32,

    /// How many calls may come from it at once.
    #[arg(long, env = "SLUICE_ADDRESS_BURST", default_value = "1000", value_parser = within(1..=1_000_000))]
    pub address_burst: u32,

    /// How calls are answered.
    #[command(flatten)]
    pub requests: RequestSettings,

    /// The directory of the embedded database and of secrets that are not set.
    #[arg(long, env = "SLUICE_DATA_DIR", default_value = "./data")]
    pub data_dir: PathBuf,

    /// `postgres://user:password@host:port/name` or `sqlite:FILE`; default
    /// `sqlite:<data dir>/sluice.db`.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, value_parser = parsed::<Target>)]
    pub database_url: Option<Target>,

    /// Instead of `DATABASE_URL`: the host of the PostgreSQL server.
    #[arg(long, env = "DB_HOST", value_parser = filled, conflicts_with = "database_url")]
    pub db_host: Option<String>,

    /// With `DB_HOST`: its port, by default 5432.
    #[arg(long, env = "DB_PORT", value_parser = port)]
    pub db_port: Option<u16>,

    /// With `DB_HOST`: the user, by default `sluice`.
    #[arg(long, env = "DB_USER", value_parser = filled)]
    pub db_user: Option<String>,

    /// With `DB_HOST`: the password.
    #[arg(long, env = "DB_PASSWORD", hide_env_values = true, value_parser = secret)]
    pub db_password: Option<Secret>,

    /// With `DB_HOST`: the name of the database, by default `sluice`.
    #[arg(long, env = "DB_NAME", value_parser = filled)]
    pub db_name: Option<String>,

    /// With `DB_HOST`: disable, allow, prefer (the default), require, verify-ca or verify-full.
    #[arg(long, env = "DB_SSLMODE", value_parser = ssl_mode)]
    pub db_sslmode: Option<PgSslMode>,

    /// Connections to the database; 0 means twice the cores and one.
    #[arg(long, env = "SLUICE_DB_POOL_SIZE", default_value = "0", value_parser = within(0..=1000))]
    pub db_pool_size: u32,

    /// How long a call waits for a connection.
    #[arg(long, env = "SLUICE_DB_ACQUIRE_TIMEOUT", default_value = "2s", value_parser = span("10ms", "1min"))]
    pub db_acquire_timeout: Duration,

    /// How long a statement may take. PostgreSQL is told to give up a little earlier.
    #[arg(long, env = "SLUICE_DB_TIMEOUT", default_value = "6s", value_parser = span("100ms", "10min"))]
    pub db_timeout: Duration,

    /// From which duration a statement is logged as slow.
    #[arg(long, env = "SLUICE_SLOW_QUERY", default_value = "200ms", value_parser = span("1ms", "1h"))]
    pub slow_query: Duration,

    /// The secret under which access tokens are signed (HS256): at least 32 bytes.
    #[arg(long, env = "SLUICE_JWT_SECRET", hide_env_values = true, value_parser = jwt_secret, conflicts_with = "jwt_key_files")]
    pub jwt_secret: Option<Secret>,

    /// Instead of `SLUICE_JWT_SECRET`: files with Ed25519 private keys (PKCS #8,
    /// PEM), parted by commas. The first one signs, all verify.
    #[arg(long, env = "SLUICE_JWT_KEY_FILES", value_delimiter = ',')]
    pub jwt_key_files: Vec<PathBuf>,

    /// The `iss` claim of access tokens.
    #[arg(long, env = "SLUICE_JWT_ISSUER", default_value = "sluice", value_parser = filled)]
    pub jwt_issuer: String,

    /// The `aud` claim of access tokens.
    #[arg(long, env = "SLUICE_JWT_AUDIENCE", default_value = "sluice", value_parser = filled)]
    pub jwt_audience: String,

    /// How long an access token works.
    #[arg(long, env = "SLUICE_ACCESS_TOKEN_LIFETIME", default_value = "15min", value_parser = span("1s", "1day"))]
    pub access_token_lifetime: Duration,

    /// How long a session lasts without being refreshed.
    #[arg(long, env = "SLUICE_SESSION_IDLE_TIMEOUT", default_value = "30days", value_parser = span("1s", "1year"))]
    pub session_idle_timeout: Duration,

    /// How long a session lasts at most.
    #[arg(long, env = "SLUICE_SESSION_LIFETIME", default_value = "90days", value_parser = span("1s", "1year"))]
    pub session_lifetime: Duration,

    /// Keys of secrets at rest: 32 bytes each in base64, parted by commas. The
    /// first one seals, all open.
    #[arg(long, env = "SLUICE_SEALING_KEYS", hide_env_values = true, value_delimiter = ',', value_parser = sealing_key)]
    pub sealing_keys: Vec<Zeroizing<[u8; 32]>>,

    /// The cost of a password hash: the binary logarithm of bcrypt's rounds.
    #[arg(long, env = "SLUICE_BCRYPT_COST", default_value = "10", value_parser = within(4..=16))]
    pub bcrypt_cost: u32,

    /// How many passwords may wait to be checked before callers are sent away.
    #[arg(long, env = "SLUICE_PASSWORD_QUEUE", default_value = "64", value_parser = within(1..=10_000))]
    pub password_queue: u32,

    /// Signs people in with Google: the client ids that Google gave, parted by commas.
    #[arg(long, env = "SLUICE_GOOGLE_CLIENT_IDS", value_delimiter = ',', value_parser = filled)]
    pub google_client_ids: Vec<String>,

    /// Signs people in with other OpenID Connect issuers, parted by semicolons:
    /// `name=acme,issuer=https://id.acme.com,client_id=abc,domains=acme.com+acme.org`.
    /// `client_id` may be repeated. `domains` may be left out: whose addresses the
    /// issuer knows the owners of, so that it opens the accounts of those.
    #[arg(long, env = "SLUICE_OIDC_PROVIDERS", value_delimiter = ';', value_parser = parsed::<IdTokenProvider>)]
    pub oidc_providers: Vec<IdTokenProvider>,

    /// How messages leave: `smtp://user:password@host:port` (with STARTTLS, unless
    /// the host is this machine or `?tls=none` follows), `smtps://…`, `folder:PATH`
    /// or `off`; `?ca=FILE` adds trusted certificates. Default: in development
    /// `folder:<data dir>/mail`, in production `off`.
    #[arg(long, env = "SLUICE_MAIL", hide_env_values = true, value_parser = parsed::<MailRoute>)]
    pub mail: Option<MailRoute>,

    /// Who messages are from.
    #[arg(long, env = "SLUICE_MAIL_FROM", default_value = "Sluice <sluice@localhost>", value_parser = mailbox)]
    pub mail_from: Mailbox,

    /// The page that verifies an address, for example `https://app.example.com/verify#token=`:
    /// the token is appended. Without it the message has the bare token.
    #[arg(long, env = "SLUICE_MAIL_VERIFY_URL", value_parser = page_url)]
    pub mail_verify_url: Option<String>,

    /// The page that resets a password, likewise.
    #[arg(long, env = "SLUICE_MAIL_RESET_URL", value_parser = page_url)]
    pub mail_reset_url: Option<String>,

    /// How often a media server reports each connection.
    #[arg(long, env = "SLUICE_HEARTBEAT_INTERVAL", default_value = "10s", value_parser = span("100ms", "5min"))]
    pub heartbeat_interval: Duration,

    /// After which silence a connection counts as lost.
    #[arg(long, env = "SLUICE_HEARTBEAT_TIMEOUT", default_value = "35s", value_parser = span("100ms", "1h"))]
    pub heartbeat_timeout: Duration,

    /// How long a new stream may be without media.
    #[arg(long, env = "SLUICE_CONNECT_TIMEOUT", default_value = "30s", value_parser = span("100ms", "1h"))]
    pub connect_timeout: Duration,

    /// How often overdue streams are looked for.
    #[arg(long, env = "SLUICE_REAP_INTERVAL", default_value = "1s", value_parser = span("10ms", "1min"))]
    pub reap_interval: Duration,

    /// How often what is watched is looked at, should nothing tell of its changes.
    #[arg(long, env = "SLUICE_WATCH_POLL_INTERVAL", default_value = "1s", value_parser = span("10ms", "1min"))]
    pub watch_poll_interval: Duration,

    /// Whether replicas tell each other of changes (LISTEN and NOTIFY of PostgreSQL).
    /// Turn it off behind a pooler in transaction mode: changes by other replicas are
    /// then found by looking.
    #[arg(long, env = "SLUICE_WATCH_HINTS", default_value = "true", value_parser = switch, action = clap::ArgAction::Set)]
    pub watch_hints: bool,

    /// After how much silence a watch gives a sign of life.
    #[arg(long, env = "SLUICE_WATCH_HEARTBEAT", default_value = "10s", value_parser = span("10ms", "1min"))]
    pub watch_heartbeat: Duration,

    /// How long a watcher may leave unread what is sent to it.
    #[arg(long, env = "SLUICE_WATCH_PATIENCE", default_value = "10s", value_parser = span("10ms", "10min"))]
    pub watch_patience: Duration,

    /// How many watches this server takes on.
    #[arg(long, env = "SLUICE_MAX_WATCHES", default_value = "10000", value_parser = within(1..=1_000_000))]
    pub max_watches: u32,

    /// How many of them a user may have, together with the user's API keys.
    #[arg(long, env = "SLUICE_MAX_USER_WATCHES", default_value = "200", value_parser = within(1..=1_000_000))]
    pub max_user_watches: u32,

    /// How long the events of projects are kept, from which a watch goes on where it was.
    #[arg(long, env = "SLUICE_EVENT_RETENTION", default_value = "1day", value_parser = span("1s", "1year"))]
    pub event_retention: Duration,

    /// How long a worker keeps a relay without reporting it.
    #[arg(long, env = "SLUICE_RELAY_LEASE", default_value = "15s", value_parser = span("100ms", "1h"))]
    pub relay_lease: Duration,

    /// After how long without more bytes a relay counts as stalled.
    #[arg(long, env = "SLUICE_RELAY_STALL_TIMEOUT", default_value = "10s", value_parser = span("100ms", "1h"))]
    pub relay_stall_timeout: Duration,

    /// How many destinations a project may have.
    #[arg(long, env = "SLUICE_MAX_DESTINATIONS", default_value = "100", value_parser = within(1..=10_000))]
    pub max_destinations: u32,

    /// Allows destinations on loopback and private addresses: for tests.
    #[arg(long, env = "SLUICE_ALLOW_PRIVATE_DESTINATIONS", default_value = "false", value_parser = switch, action = clap::ArgAction::Set)]
    pub allow_private_destinations: bool,

    /// This system's own ingest, `host` or `host:port`, parted by commas: never a destination.
    #[arg(long, env = "SLUICE_INGEST_HOSTS", value_delimiter = ',', value_parser = ingest_host)]
    pub ingest_hosts: Vec<String>,

    /// Whether callers can ask for the API's description. Default: on in development.
    #[arg(long, env = "SLUICE_REFLECTION", value_parser = switch)]
    pub reflection: Option<bool>,

    /// How long to go on serving after a signal, while health checks say
    /// NOT_SERVING, so that load balancers turn away.
    #[arg(long, env = "SLUICE_DRAIN_DELAY", default_value = "0s", value_parser = span("0s", "5min"))]
    pub drain_delay: Duration,

    /// How long calls may take to finish after that.
    #[arg(long, env = "SLUICE_DRAIN_TIMEOUT", default_value = "20s", value_parser = span("0s", "10min"))]
    pub drain_timeout: Duration,

    /// How long audit events are kept.
    #[arg(long, env = "SLUICE_AUDIT_RETENTION", default_value = "180days", value_parser = span("1day", "10years"))]
    pub audit_retention: Duration,

    /// What is to be seen of it.
    #[command(flatten)]
    pub observing: ObservingSettings,
}

/// What the server is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Environment {
    /// Trying and building.
    Development,
    /// Serving people.
    Production,
}
