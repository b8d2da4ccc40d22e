//! Converts the settings of the server into those of its components.

use std::thread;

use sqlx_postgres::{PgConnectOptions, PgSslMode};

use super::settings::{Config, Environment};
use crate::{
    auth::{
        IdTokenProvider, KeySettings, MissingKeys, Rate, RateLimits, RelyingParty, TokenSettings,
    },
    database::{DatabaseOptions, PostgresServers, SettingNames, Target, TargetSession},
    domain::{RelayTimeouts, SessionTimeouts, StreamTimeouts, UrlPolicy},
    jobs::Retention,
    layers::{BudgetLimits, Budgets, LayerSettings},
    mail::{MailSettings, MailTemplates, MailTransport},
    nats::NatsSettings,
    telemetry::{CollectorSettings, LogSettings, traces::TraceSettings},
    transport::ListenerSettings,
    watching::WatchLimits,
};

impl Config {
    /// The sources of keys. Missing ones are generated, but not in production.
    pub fn keys(&self) -> KeySettings {
        self.key_settings(MissingKeys::Generate)
    }

    /// The sources of keys, of which none is generated.
    pub fn existing_keys(&self) -> KeySettings {
        self.key_settings(MissingKeys::Refuse)
    }

    fn key_settings(&self, missing: MissingKeys) -> KeySettings {
        KeySettings {
            jwt_secret: self.jwt_secret.clone(),
            jwt_key_files: self.jwt_key_files.clone(),
            sealing_keys: self.sealing_keys.clone(),
            directory: (self.env == Environment::Development).then(|| self.data_dir.clone()),
            missing,
        }
    }

    /// The settings of mail.
    pub fn mail(&self) -> MailSettings {
        let transport = match (&self.mail, self.env) {
            (Some(transport), _) => transport.clone(),
            (None, Environment::Development) => {
                MailTransport::Directory(self.data_dir.join("mail"))
            }
            (None, Environment::Production) => MailTransport::Off,
        };
        MailSettings {
            transport,
            templates: MailTemplates {
                from: self.mail_from.clone(),
                verify_url: self.mail_verify_url.clone(),
                reset_url: self.mail_reset_url.clone(),
                change_url: self.mail_change_url.clone(),
                invitation_url: self.mail_invitation_url.clone(),
            },
        }
    }

    /// How to connect to NATS, if that is set.
    pub fn nats(&self) -> Option<NatsSettings> {
        Some(NatsSettings {
            servers: self.nats_url.clone()?,
            credentials: self.nats_credentials.clone(),
        })
    }

    /// The settings of the listener.
    pub fn listener(&self) -> ListenerSettings {
        self.transport.listener(&self.trusted_proxies)
    }

    /// The settings of the layers.
    pub fn layers(&self) -> LayerSettings {
        let limits = BudgetLimits {
            calls: self.max_calls as usize,
            memory: self.call_memory_mib as usize * 1024 * 1024,
        };
        LayerSettings {
            trusted_proxies: self.trusted_proxies.as_slice().into(),
            web_origins: self.transport.web_origins.clone(),
            budgets: Budgets::new(limits),
            slow_call: self.observability.slow_call,
            call_timeout: self.call_timeout,
        }
    }

    /// The timeouts of sessions.
    pub fn session_timeouts(&self) -> SessionTimeouts {
        SessionTimeouts {
            idle_timeout: self.session_idle_timeout,
            lifetime: self.session_lifetime,
        }
    }

    /// The options of the database.
    pub fn database(&self) -> DatabaseOptions {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let pool_size = match self.db_pool_size {
            0 => u32::try_from(2 * cores + 1).unwrap_or(u32::MAX),
            size => size,
        };
        DatabaseOptions {
            target: self.target(),
            pool_size,
            acquire_timeout: self.db_acquire_timeout,
            statement_timeout: self.db_timeout,
            slow_query: self.slow_query,
        }
    }

    /// The variable that determines the database.
    pub fn database_variable(&self) -> &'static str {
        match &self.database_url {
            Some(_) => "DATABASE_URL",
            None if self.db_host.is_empty() => "SLUICE_DATA_DIR",
            None => "DB_HOST",
        }
    }

    fn target(&self) -> Target {
        let target = match &self.database_url {
            Some(target) => target.clone(),
            None if self.db_host.is_empty() => Target::Sqlite(self.data_dir.join("sluice.db")),
            None => Target::Postgres(Box::new(self.postgres_servers())),
        };
        target.with_pooler(self.db_pooler)
    }

    /// The servers of `DB_HOST`.
    fn postgres_servers(&self) -> PostgresServers {
        let mut server = PgConnectOptions::new_without_pgpass()
            .username(self.db_user.as_deref().unwrap_or("sluice"))
            .database(self.db_name.as_deref().unwrap_or("sluice"))
            .ssl_mode(self.db_sslmode.unwrap_or(PgSslMode::Prefer));
        if let Some(password) = &self.db_password {
            server = server.password(password.expose());
        }
        let servers = self.db_host.iter().enumerate().map(|(index, host)| {
            let port = self.db_port.get(index).or(self.db_port.first());
            let port = port.copied().unwrap_or(5432);
            server.clone().host(host).port(port)
        });
        PostgresServers {
            servers: servers.collect(),
            target_session: TargetSession::Primary,
            pooler: self.db_pooler,
            settings: SettingNames {
                host: "DB_HOST",
                credentials: "DB_USER and DB_PASSWORD",
                database: "DB_NAME",
                ssl_mode: "DB_SSLMODE",
            },
        }
    }

    /// The rate limits of each caller, and of each address that calls without a valid token.
    pub fn rate_limits(&self) -> RateLimits {
        let caller = Rate {
            per_second: self.caller_rate,
            burst: self.caller_burst,
        };
        let address = Rate {
            per_second: self.address_rate,
            burst: self.address_burst,
        };
        RateLimits::new(caller, address)
    }

    /// The settings of access tokens.
    pub fn tokens(&self) -> TokenSettings {
        TokenSettings {
            issuer: self.jwt_issuer.clone(),
            audience: self.jwt_audience.clone(),
            lifetime: self.access_token_lifetime,
        }
    }

    /// The issuers of accepted id tokens.
    pub fn id_token_providers(&self) -> Vec<IdTokenProvider> {
        let mut providers = self.oidc_providers.clone();
        if !self.google_client_ids.is_empty() {
            let google = IdTokenProvider::google(self.google_client_ids.clone());
            providers.insert(0, google);
        }
        providers
    }

    /// This service as passkeys know it, if passkeys are on.
    pub fn relying_party(&self) -> Option<RelyingParty> {
        let id = self.webauthn_rp_id.clone()?;
        Some(RelyingParty::new(id, self.webauthn_origins.clone()))
    }

    /// How long records are kept.
    pub fn retention(&self) -> Retention {
        Retention {
            audit_events: self.audit_retention,
            streams: (!self.stream_retention.is_zero()).then_some(self.stream_retention),
            webhook_deliveries: self.webhooks.webhook_retention,
            usage: self.usage_retention,
        }
    }

    /// The timeouts of streams.
    pub fn stream_timeouts(&self) -> StreamTimeouts {
        StreamTimeouts {
            connect: self.connect_timeout,
            heartbeat: self.heartbeat_timeout,
        }
    }

    /// The limits on the number of watches.
    pub fn watch_limits(&self) -> WatchLimits {
        WatchLimits {
            total: self.max_watches,
            per_user: self.max_user_watches,
        }
    }

    /// The timeouts of relays.
    pub fn relay_timeouts(&self) -> RelayTimeouts {
        RelayTimeouts {
            lease: self.relay_lease,
            stall: self.relay_stall_timeout,
        }
    }

    /// The hosts that destinations must not have.
    pub fn url_policy(&self) -> UrlPolicy {
        UrlPolicy {
            allow_private: self.allow_private_destinations,
            own_ingest_hosts: self.ingest_hosts.clone(),
        }
    }

    /// The settings of the log.
    pub fn log(&self) -> LogSettings {
        let default = match self.env {
            Environment::Development => "info,sqlx::postgres::notice=warn,sluice::calls=debug",
            Environment::Production => "info,sqlx::postgres::notice=warn",
        };
        let settings = &self.observability;
        LogSettings {
            filter: settings.log.as_deref().unwrap_or(default).to_owned(),
            human: settings.log_format.is_human(&settings.log_file),
            colored: settings.log_file.is_colored(),
            file: settings.log_file.file(),
            traces_statements: settings.otlp_endpoint.is_some(),
        }
    }

    /// The collector of traces and logs, if there is one.
    fn collector(&self) -> Option<CollectorSettings> {
        let settings = &self.observability;
        let endpoint = settings.otlp_endpoint.clone()?;
        let mut attributes = settings.resource_attributes.clone().unwrap_or_default().0;
        let named = attributes.remove("service.name");
        let service_name = settings.service_name.clone().or(named);
        Some(CollectorSettings {
            endpoint,
            service_name: service_name.unwrap_or_else(|| "sluice".to_owned()),
            resource_attributes: attributes.into_iter().collect(),
        })
    }

    /// The settings of traces, if they are on.
    pub fn traces(&self) -> Option<TraceSettings> {
        let ratio = self.observability.trace_ratio;
        let collector = self.collector()?;
        Some(TraceSettings { collector, ratio })
    }

    /// The collector to which the log is sent too, if it is.
    pub fn log_collector(&self) -> Option<CollectorSettings> {
        self.collector().filter(|_| self.observability.otlp_logs)
    }

    /// Whether server reflection is on.
    pub fn has_reflection(&self) -> bool {
        self.reflection
            .unwrap_or(self.env == Environment::Development)
    }
}
