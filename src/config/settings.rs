use std::{path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};
use lettre::message::Mailbox;
use sqlx_postgres::PgSslMode;
use zeroize::Zeroizing;

use super::{
    observability::ObservabilitySettings,
    organizations::OrganizationSettings,
    parse::{
        boolean, duration, ingest_host, jwt_secret, mailbox, not_empty, page_url, parsed, port,
        sealing_key, secret, ssl_mode, within,
    },
    transport::TransportSettings,
    webhooks::WebhookSettings,
};
use crate::{
    auth::{IdTokenProvider, PasskeyOrigin, RelyingPartyId},
    database::{Pooler, Target},
    domain::Secret,
    mail::MailTransport,
    nats::NatsServers,
    transport::{ListenAddress, TrustedProxy},
};

/// The upper bound of `SLUICE_WATCH_HEARTBEAT`. Clients rely on it, those of `examples/web` too.
pub(crate) const MAX_WATCH_HEARTBEAT: &str = "20s";

/// The settings of a server. They have no `Debug`, because they contain secrets.
#[derive(Clone, Args)]
#[command(next_help_heading = "Settings")]
pub struct Config {
    /// `development` or `production`. In production no secret is generated: each must be set.
    /// Causes of internal errors are only logged, and reflection is off unless set.
    #[arg(long, env = "SLUICE_ENV", default_value = "development")]
    pub env: Environment,

    /// The addresses of the gRPC API, comma-separated: `ADDRESS:PORT`, or `unix:PATH` for a Unix
    /// socket, which only the user and the group of the server can connect to, always without TLS.
    #[arg(long, env = "SLUICE_LISTEN", value_delimiter = ',', default_value = "127.0.0.1:50051", value_parser = parsed::<ListenAddress>)]
    pub listen: Vec<ListenAddress>,

    /// Trusted proxies in front of the server, as comma-separated addresses or networks, or `unix`
    /// for the peers of Unix sockets. Only their `x-forwarded-for` header determines the caller's
    /// address.
    #[arg(long, env = "SLUICE_TRUSTED_PROXIES", value_delimiter = ',', value_parser = parsed::<TrustedProxy>)]
    pub trusted_proxies: Vec<TrustedProxy>,

    /// The settings of connections.
    #[command(flatten)]
    pub transport: TransportSettings,

    /// Rate limit for each user and each API key, in calls per second; 0 means no limit. Operators'
    /// API keys are not limited.
    #[arg(long, env = "SLUICE_CALLER_RATE", default_value = "200", value_parser = within(0..=1_000_000))]
    pub caller_rate: u32,

    /// Burst size of that rate limit, in calls.
    #[arg(long, env = "SLUICE_CALLER_BURST", default_value = "2000", value_parser = within(1..=1_000_000))]
    pub caller_burst: u32,

    /// Rate limit for each address that calls without a valid token, in calls per second; 0 means
    /// no limit.
    #[arg(long, env = "SLUICE_ADDRESS_RATE", default_value = "100", value_parser = within(0..=1_000_000))]
    pub address_rate: u32,

    /// Burst size of that rate limit, in calls.
    #[arg(long, env = "SLUICE_ADDRESS_BURST", default_value = "1000", value_parser = within(1..=1_000_000))]
    pub address_burst: u32,

    /// Time limit for a unary call, unless its caller sets a shorter deadline (`grpc-timeout`). The
    /// call then fails with DEADLINE_EXCEEDED.
    #[arg(long, env = "SLUICE_CALL_TIMEOUT", default_value = "10s", value_parser = duration("100ms", "10min"))]
    pub call_timeout: Duration,

    /// Maximum number of concurrent calls; further calls are refused. The last eighth is reserved
    /// for media servers and relay workers. Four times as many requests may be incomplete.
    #[arg(long, env = "SLUICE_MAX_CALLS", default_value = "2048", value_parser = within(8..=1_000_000))]
    pub max_calls: u32,

    /// Memory for requests, and for responses that their callers have not read, in MiB. A caller or
    /// an address may use a quarter, a connection an eighth; further calls are refused. The last
    /// eighth is reserved for media servers and relay workers.
    #[arg(long, env = "SLUICE_CALL_MEMORY_MIB", default_value = "64", value_parser = within(8..=65_536))]
    pub call_memory_mib: u32,

    /// The directory of the embedded database and of generated secrets.
    #[arg(long, env = "SLUICE_DATA_DIR", default_value = "./data")]
    pub data_dir: PathBuf,

    /// `postgres://user:password@host:port/name` or `sqlite:FILE`; default
    /// `sqlite:<data dir>/sluice.db`. With several hosts, `postgres://user:password@a:5432,b:5432/name`,
    /// the first one that is a primary is used; `?target_session_attrs=` is `primary`, `read-write` or
    /// `any`.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, value_parser = parsed::<Target>)]
    pub database_url: Option<Target>,

    /// Instead of `DATABASE_URL`: the host of the PostgreSQL server. Of several hosts,
    /// comma-separated, the first one that is a primary is used.
    #[arg(long, env = "DB_HOST", value_delimiter = ',', value_parser = not_empty, conflicts_with = "database_url")]
    pub db_host: Vec<String>,

    /// With `DB_HOST`: its port, by default 5432, or one port for each host, comma-separated.
    #[arg(long, env = "DB_PORT", value_delimiter = ',', value_parser = port)]
    pub db_port: Vec<u16>,

    /// With `DB_HOST`: the user, by default `sluice`.
    #[arg(long, env = "DB_USER", value_parser = not_empty)]
    pub db_user: Option<String>,

    /// With `DB_HOST`: the password.
    #[arg(long, env = "DB_PASSWORD", hide_env_values = true, value_parser = secret)]
    pub db_password: Option<Secret>,

    /// With `DB_HOST`: the name of the database, by default `sluice`.
    #[arg(long, env = "DB_NAME", value_parser = not_empty)]
    pub db_name: Option<String>,

    /// With `DB_HOST`: disable, allow, prefer (the default), require, verify-ca or verify-full.
    #[arg(long, env = "DB_SSLMODE", value_parser = ssl_mode)]
    pub db_sslmode: Option<PgSslMode>,

    /// The connection pooler in front of PostgreSQL: `transaction` for PgBouncer in transaction mode
    /// and others that give each transaction any session, or `none`, also for PgBouncer in session
    /// mode. With `transaction`, every statement runs in a transaction, and replicas find each
    /// other's changes by polling.
    #[arg(long, env = "SLUICE_DB_POOLER", default_value = "none", value_parser = parsed::<Pooler>)]
    pub db_pooler: Pooler,

    /// Maximum number of database connections; 0 means twice the number of cores plus one. Writes to
    /// PostgreSQL take at most three quarters of them, so that reads do not wait for commits.
    #[arg(long, env = "SLUICE_DB_POOL_SIZE", default_value = "0", value_parser = within(0..=1000))]
    pub db_pool_size: u32,

    /// Time limit for a call to wait for a database connection.
    #[arg(long, env = "SLUICE_DB_ACQUIRE_TIMEOUT", default_value = "2s", value_parser = duration("10ms", "1min"))]
    pub db_acquire_timeout: Duration,

    /// Time limit for a statement. PostgreSQL's own statement timeout is set slightly shorter.
    #[arg(long, env = "SLUICE_DB_TIMEOUT", default_value = "6s", value_parser = duration("100ms", "10min"))]
    pub db_timeout: Duration,

    /// Duration from which a statement is logged as slow.
    #[arg(long, env = "SLUICE_SLOW_QUERY", default_value = "200ms", value_parser = duration("1ms", "1h"))]
    pub slow_query: Duration,

    /// The secret that signs access tokens (HS256): at least 32 bytes.
    #[arg(long, env = "SLUICE_JWT_SECRET", hide_env_values = true, value_parser = jwt_secret, conflicts_with = "jwt_key_files")]
    pub jwt_secret: Option<Secret>,

    /// Instead of `SLUICE_JWT_SECRET`: comma-separated files with Ed25519 private keys (PKCS #8,
    /// PEM). The first key signs; all verify.
    #[arg(long, env = "SLUICE_JWT_KEY_FILES", value_delimiter = ',')]
    pub jwt_key_files: Vec<PathBuf>,

    /// The `iss` claim of access tokens.
    #[arg(long, env = "SLUICE_JWT_ISSUER", default_value = "sluice", value_parser = not_empty)]
    pub jwt_issuer: String,

    /// The `aud` claim of access tokens.
    #[arg(long, env = "SLUICE_JWT_AUDIENCE", default_value = "sluice", value_parser = not_empty)]
    pub jwt_audience: String,

    /// Lifetime of an access token.
    #[arg(long, env = "SLUICE_ACCESS_TOKEN_LIFETIME", default_value = "15min", value_parser = duration("1s", "1day"))]
    pub access_token_lifetime: Duration,

    /// Time without a refresh after which a session ends.
    #[arg(long, env = "SLUICE_SESSION_IDLE_TIMEOUT", default_value = "30days", value_parser = duration("1s", "1year"))]
    pub session_idle_timeout: Duration,

    /// Maximum lifetime of a session.
    #[arg(long, env = "SLUICE_SESSION_LIFETIME", default_value = "90days", value_parser = duration("1s", "1year"))]
    pub session_lifetime: Duration,

    /// How long ago the user of a session may have proved who they are in calls that show or create
    /// a secret, or change a webhook; 0s means any time.
    #[arg(long, env = "SLUICE_RECENT_AUTHENTICATION", default_value = "10min", value_parser = duration("0s", "1day"))]
    pub recent_authentication: Duration,

    /// Keys that encrypt secrets at rest: 32 bytes each in base64, comma-separated. The first key
    /// encrypts; all decrypt.
    #[arg(long, env = "SLUICE_SEALING_KEYS", hide_env_values = true, value_delimiter = ',', value_parser = sealing_key)]
    pub sealing_keys: Vec<Zeroizing<[u8; 32]>>,

    /// The bcrypt cost of password hashes: the binary logarithm of the number of rounds.
    #[arg(long, env = "SLUICE_BCRYPT_COST", default_value = "10", value_parser = within(4..=16))]
    pub bcrypt_cost: u32,

    /// Maximum number of passwords that wait for hashing; further calls are refused. An address may
    /// use an eighth.
    #[arg(long, env = "SLUICE_PASSWORD_QUEUE", default_value = "64", value_parser = within(1..=10_000))]
    pub password_queue: u32,

    /// File of passwords known from data breaches, which new passwords must not be: the "Pwned
    /// Passwords" of Have I Been Pwned, with SHA-1 hashes, ordered by hash.
    #[arg(long, env = "SLUICE_BREACHED_PASSWORDS", value_name = "FILE")]
    pub breached_passwords: Option<PathBuf>,

    /// Enables sign-in with Google: comma-separated client ids issued by Google.
    #[arg(long, env = "SLUICE_GOOGLE_CLIENT_IDS", value_delimiter = ',', value_parser = not_empty)]
    pub google_client_ids: Vec<String>,

    /// Enables sign-in with other OpenID Connect issuers, separated by semicolons:
    /// `name=acme,issuer=https://id.acme.com,client_id=abc,domains=acme.com+acme.org`. `client_id`
    /// may be repeated. `domains` is optional: the e-mail domains for which this issuer is
    /// authoritative, so that its id tokens open the accounts with these addresses.
    #[arg(long, env = "SLUICE_OIDC_PROVIDERS", value_delimiter = ';', value_parser = parsed::<IdTokenProvider>)]
    pub oidc_providers: Vec<IdTokenProvider>,

    /// Enables passkeys (WebAuthn): the domain to which they are bound, such as `example.com`. It is
    /// the domain of the pages that use them, or one above. Passkeys of another domain stop working
    /// when it changes.
    #[arg(long, env = "SLUICE_WEBAUTHN_RP_ID", value_parser = parsed::<RelyingPartyId>)]
    pub webauthn_rp_id: Option<RelyingPartyId>,

    /// The origins of the pages that use passkeys, comma-separated, such as
    /// `https://app.example.com`: within `SLUICE_WEBAUTHN_RP_ID`, with TLS unless the host is
    /// localhost. An Android app is `android:apk-key-hash:` and the SHA-256 of its certificate in
    /// base64url.
    #[arg(long, env = "SLUICE_WEBAUTHN_ORIGINS", value_delimiter = ',', value_parser = parsed::<PasskeyOrigin>)]
    pub webauthn_origins: Vec<PasskeyOrigin>,

    /// Mail transport: `smtp://user:password@host:port` (with STARTTLS, unless the host is this
    /// machine or `?tls=none` is appended), `smtps://…`, `folder:PATH` or `off`. `?ca=FILE` adds
    /// trusted certificates. Default: `folder:<data dir>/mail` in development, `off` in production.
    #[arg(long, env = "SLUICE_MAIL", hide_env_values = true, value_parser = parsed::<MailTransport>)]
    pub mail: Option<MailTransport>,

    /// Sender of messages.
    #[arg(long, env = "SLUICE_MAIL_FROM", default_value = "Sluice <sluice@localhost>", value_parser = mailbox)]
    pub mail_from: Mailbox,

    /// URL of your page that verifies an e-mail address, for example
    /// `https://app.example.com/verify#token=`; the token is appended. Without it, messages contain
    /// only the token.
    #[arg(long, env = "SLUICE_MAIL_VERIFY_URL", value_parser = page_url)]
    pub mail_verify_url: Option<String>,

    /// URL of your page that resets a password, in the same form.
    #[arg(long, env = "SLUICE_MAIL_RESET_URL", value_parser = page_url)]
    pub mail_reset_url: Option<String>,

    /// URL of your page that confirms or cancels the change of an e-mail address, in the same form.
    #[arg(long, env = "SLUICE_MAIL_CHANGE_URL", value_parser = page_url)]
    pub mail_change_url: Option<String>,

    /// URL of your page that accepts an invitation to an organization, in the same form.
    #[arg(long, env = "SLUICE_MAIL_INVITATION_URL", value_parser = page_url)]
    pub mail_invitation_url: Option<String>,

    /// Interval at which media servers report each connection.
    #[arg(long, env = "SLUICE_HEARTBEAT_INTERVAL", default_value = "10s", value_parser = duration("100ms", "5min"))]
    pub heartbeat_interval: Duration,

    /// Time without a report after which a connection counts as lost.
    #[arg(long, env = "SLUICE_HEARTBEAT_TIMEOUT", default_value = "35s", value_parser = duration("100ms", "1h"))]
    pub heartbeat_timeout: Duration,

    /// Time without media after which a new stream ends.
    #[arg(long, env = "SLUICE_CONNECT_TIMEOUT", default_value = "30s", value_parser = duration("100ms", "1h"))]
    pub connect_timeout: Duration,

    /// Interval at which streams past a deadline are searched for.
    #[arg(long, env = "SLUICE_REAP_INTERVAL", default_value = "1s", value_parser = duration("10ms", "1min"))]
    pub reap_interval: Duration,

    /// Poll interval of watched projects, in case a change notification was missed.
    #[arg(long, env = "SLUICE_WATCH_POLL_INTERVAL", default_value = "1s", value_parser = duration("10ms", "1min"))]
    pub watch_poll_interval: Duration,

    /// Whether replicas notify each other of changes with LISTEN and NOTIFY of PostgreSQL. Otherwise
    /// changes by other replicas are found by polling, as with `SLUICE_DB_POOLER=transaction`, or
    /// through NATS.
    #[arg(long, env = "SLUICE_WATCH_HINTS", default_value = "true", value_parser = boolean, action = clap::ArgAction::Set)]
    pub watch_hints: bool,

    /// NATS servers through which replicas notify each other of changes too, comma-separated:
    /// `nats://user:password@host:port`, or over TLS `tls://…`. A user without a password is a token.
    /// `?ca=FILE` replaces the certificate authorities of the platform.
    #[arg(long, env = "SLUICE_NATS_URL", hide_env_values = true, value_parser = parsed::<NatsServers>)]
    pub nats_url: Option<NatsServers>,

    /// Instead of a user in `SLUICE_NATS_URL`: the file with the credentials of a NATS user (a JWT and
    /// a seed), or with the seed of an nkey. It is read again for each connection.
    #[arg(long, env = "SLUICE_NATS_CREDENTIALS", value_name = "FILE")]
    pub nats_credentials: Option<PathBuf>,

    /// Time without a change after which a watch sends a heartbeat. At most 20 s, because clients take
    /// a watch that is silent for 30 s for broken.
    #[arg(long, env = "SLUICE_WATCH_HEARTBEAT", default_value = "10s", value_parser = duration("10ms", MAX_WATCH_HEARTBEAT))]
    pub watch_heartbeat: Duration,

    /// Maximum number of watches on this server.
    #[arg(long, env = "SLUICE_MAX_WATCHES", default_value = "10000", value_parser = within(1..=1_000_000))]
    pub max_watches: u32,

    /// Maximum number of watches per user on this server, including the user's API keys.
    #[arg(long, env = "SLUICE_MAX_USER_WATCHES", default_value = "200", value_parser = within(1..=1_000_000))]
    pub max_user_watches: u32,

    /// Time that project events are kept. A watch can resume from events that are kept.
    #[arg(long, env = "SLUICE_EVENT_RETENTION", default_value = "1day", value_parser = duration("1s", "1year"))]
    pub event_retention: Duration,

    /// Lifetime of a relay lease without a report from its worker.
    #[arg(long, env = "SLUICE_RELAY_LEASE", default_value = "15s", value_parser = duration("100ms", "1h"))]
    pub relay_lease: Duration,

    /// Time without more bytes after which a relay counts as stalled.
    #[arg(long, env = "SLUICE_RELAY_STALL_TIMEOUT", default_value = "10s", value_parser = duration("100ms", "1h"))]
    pub relay_stall_timeout: Duration,

    /// Time for which a relay of a live stream waits for a worker before it has the issue NO_CAPACITY.
    #[arg(long, env = "SLUICE_RELAY_WAIT_TIMEOUT", default_value = "10s", value_parser = duration("1s", "1h"))]
    pub relay_wait_timeout: Duration,

    /// Maximum number of destinations per project.
    #[arg(long, env = "SLUICE_MAX_DESTINATIONS", default_value = "100", value_parser = within(1..=10_000))]
    pub max_destinations: u32,

    /// Allows destinations on loopback and private addresses. For tests only.
    #[arg(long, env = "SLUICE_ALLOW_PRIVATE_DESTINATIONS", default_value = "false", value_parser = boolean, action = clap::ArgAction::Set)]
    pub allow_private_destinations: bool,

    /// This system's own ingest hosts, `host` or `host:port`, comma-separated. They are refused as
    /// destinations.
    #[arg(long, env = "SLUICE_INGEST_HOSTS", value_delimiter = ',', value_parser = ingest_host)]
    pub ingest_hosts: Vec<String>,

    /// The settings of organizations.
    #[command(flatten)]
    pub organizations: OrganizationSettings,

    /// The settings of webhooks.
    #[command(flatten)]
    pub webhooks: WebhookSettings,

    /// Whether gRPC server reflection is on. Default: on in development, off in production.
    #[arg(long, env = "SLUICE_REFLECTION", value_parser = boolean)]
    pub reflection: Option<bool>,

    /// Time to continue serving after a signal while health checks answer NOT_SERVING, so that load
    /// balancers stop sending calls.
    #[arg(long, env = "SLUICE_DRAIN_DELAY", default_value = "0s", value_parser = duration("0s", "5min"))]
    pub drain_delay: Duration,

    /// Time that calls then have to finish.
    #[arg(long, env = "SLUICE_DRAIN_TIMEOUT", default_value = "20s", value_parser = duration("0s", "10min"))]
    pub drain_timeout: Duration,

    /// Time that audit events are kept.
    #[arg(long, env = "SLUICE_AUDIT_RETENTION", default_value = "180days", value_parser = duration("1day", "10years"))]
    pub audit_retention: Duration,

    /// Time that ended streams and their relays are kept; 0s keeps them for ever.
    #[arg(long, env = "SLUICE_STREAM_RETENTION", default_value = "90days", value_parser = duration("0s", "10years"))]
    pub stream_retention: Duration,

    /// Time between two recordings of usage.
    #[arg(long, env = "SLUICE_USAGE_INTERVAL", default_value = "1min", value_parser = duration("10ms", "1h"))]
    pub usage_interval: Duration,

    /// Time that records of usage are kept.
    #[arg(long, env = "SLUICE_USAGE_RETENTION", default_value = "400days", value_parser = duration("1day", "10years"))]
    pub usage_retention: Duration,

    /// The settings of logs, metrics and traces.
    #[command(flatten)]
    pub observability: ObservabilitySettings,
}

/// The target of `sluice admin copy`.
#[derive(Clone, Args)]
pub struct CopyTarget {
    /// The empty database: `postgres://user:password@host:port/name` or `sqlite:FILE`.
    #[arg(long, env = "SLUICE_COPY_TO", hide_env_values = true, value_parser = parsed::<Target>)]
    pub to: Target,
}

/// The environment of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Environment {
    /// Generates missing secrets and shows internal errors to callers.
    Development,
    /// Requires all secrets and hides internal errors.
    Production,
}
