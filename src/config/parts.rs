use std::{collections::HashSet, thread};

use sqlx::postgres::{PgConnectOptions, PgSslMode};

use super::settings::{Config, Environment};
use crate::{
    auth::{IdTokenProvider, KeySettings, Rate, TokenSettings},
    database::{DatabaseOptions, Target},
    domain::{RelayTimes, SessionTimes, Timeouts, UrlPolicy},
    layers::{CallPlaces, LayerSettings},
    mail::{Letterhead, MailRoute, MailSettings},
    services::WatchTimes,
    telemetry::{LogSettings, traces::TraceSettings},
    transport::{Pressure, Terms},
    watching::WatchLimits,
};

impl Config {
    /// Checks settings against each other; the sentence names the variable.
    pub fn check(&self) -> Result<(), String> {
        if self.heartbeat_timeout <= self.heartbeat_interval {
            return Err(
                "SLUICE_HEARTBEAT_TIMEOUT must be longer than SLUICE_HEARTBEAT_INTERVAL".into(),
            );
        }
        if self.session_idle_timeout > self.session_lifetime {
            return Err(
                "SLUICE_SESSION_IDLE_TIMEOUT must not be longer than SLUICE_SESSION_LIFETIME"
                    .into(),
            );
        }
        self.listening.check()?;
        let parts = [
            ("DB_PORT", self.db_port.is_some()),
            ("DB_USER", self.db_user.is_some()),
            ("DB_PASSWORD", self.db_password.is_some()),
            ("DB_NAME", self.db_name.is_some()),
            ("DB_SSLMODE", self.db_sslmode.is_some()),
        ];
        if self.db_host.is_none()
            && let Some((part, _)) = parts.iter().find(|(_, set)| *set)
        {
            return Err(format!("{part} must not be set without DB_HOST"));
        }
        let names: HashSet<_> = self.oidc_providers.iter().map(|one| &one.name).collect();
        if names.len() < self.oidc_providers.len() {
            return Err("SLUICE_OIDC_PROVIDERS must not use a name twice".into());
        }
        if self.env == Environment::Production && self.bcrypt_cost < 10 {
            return Err("SLUICE_BCRYPT_COST must be at least 10 in production".into());
        }
        if self.env == Environment::Production
            && matches!(self.mail, Some(MailRoute::Smtp(_)))
            && self.mail_from.email.domain() == "localhost"
        {
            return Err("SLUICE_MAIL_FROM must be an address of yours in production".into());
        }
        Ok(())
    }

    /// Where the keys come from: in production nothing is made.
    pub fn keys(&self) -> KeySettings {
        KeySettings {
            jwt_secret: self.jwt_secret.clone(),
            jwt_key_files: self.jwt_key_files.clone(),
            sealing_keys: self.sealing_keys.clone(),
            make_in: (self.env == Environment::Development).then(|| self.data_dir.clone()),
        }
    }

    /// What sending mail needs.
    pub fn mail(&self) -> MailSettings {
        let route = match (&self.mail, self.env) {
            (Some(route), _) => route.clone(),
            (None, Environment::Development) => MailRoute::Folder(self.data_dir.join("mail")),
            (None, Environment::Production) => MailRoute::Off,
        };
        MailSettings {
            route,
            letterhead: Letterhead {
                from: self.mail_from.clone(),
                verify_url: self.mail_verify_url.clone(),
                reset_url: self.mail_reset_url.clone(),
            },
        }
    }

    /// On what terms connections are accepted.
    pub fn terms(&self) -> Terms {
        let listening = &self.listening;
        Terms {
            caps: listening.caps(),
            times: listening.times(),
            trusted_proxies: self.trusted_proxies.as_slice().into(),
            tls: listening.tls(),
            http1: !listening.web_origins.is_empty(),
        }
    }

    /// What the layers around all services go by; pressure is felt where calls are refused.
    pub fn layers(&self, pressure: Pressure) -> LayerSettings {
        LayerSettings {
            trusted_proxies: self.trusted_proxies.as_slice().into(),
            web_origins: self.listening.web_origins.clone(),
            places: CallPlaces::new(self.requests.max_calls as usize, pressure),
            slow_call: self.observing.slow_call,
            call_timeout: self.requests.call_timeout,
        }
    }

    /// How long sessions last.
    pub fn sessions(&self) -> SessionTimes {
        SessionTimes {
            idle_timeout: self.session_idle_timeout,
            lifetime: self.session_lifetime,
        }
    }

    /// How the database is used.
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

    fn target(&self) -> Target {
        match (&self.database_url, &self.db_host) {
            (Some(target), _) => target.clone(),
            (None, None) => Target::Sqlite(self.data_dir.join("sluice.db")),
            (None, Some(host)) => {
                let mut server = PgConnectOptions::new_without_pgpass()
                    .host(host)
                    .port(self.db_port.unwrap_or(5432))
                    .username(self.db_user.as_deref().unwrap_or("sluice"))
                    .database(self.db_name.as_deref().unwrap_or("sluice"))
                    .ssl_mode(self.db_sslmode.unwrap_or(PgSslMode::Prefer));
                if let Some(password) = &self.db_password {
                    server = server.password(password.expose());
                }
                Target::Postgres(Box::new(server))
            }
        }
    }

    /// How often a caller may call.
    pub fn caller_limit(&self) -> Rate {
        Rate {
            per_second: self.caller_rate,
            burst: self.caller_burst,
        }
    }

    /// How often calls without a valid token may come from an address.
    pub fn address_limit(&self) -> Rate {
        Rate {
            per_second: self.address_rate,
            burst: self.address_burst,
        }
    }

    /// What stands in access tokens.
    pub fn tokens(&self) -> TokenSettings {
        TokenSettings {
            issuer: self.jwt_issuer.clone(),
            audience: self.jwt_audience.clone(),
            lifetime: self.access_token_lifetime,
        }
    }

    /// The issuers whose id tokens are accepted.
    pub fn id_token_providers(&self) -> Vec<IdTokenProvider> {
        let google = match self.google_client_ids.is_empty() {
            true => None,
            false => Some(IdTokenProvider::google(self.google_client_ids.clone())),
        };
        let others = self.oidc_providers.iter().cloned();
        google.into_iter().chain(others).collect()
    }

    /// How long a stream may be without what keeps it.
    pub fn timeouts(&self) -> Timeouts {
        Timeouts {
            connect: self.connect_timeout,
            heartbeat: self.heartbeat_timeout,
        }
    }

    /// How many watches there may be.
    pub fn watch_limits(&self) -> WatchLimits {
        WatchLimits {
            all: self.max_watches,
            each: self.max_user_watches,
        }
    }

    /// How long a watch waits.
    pub fn watch_times(&self) -> WatchTimes {
        WatchTimes {
            heartbeat: self.watch_heartbeat,
            patience: self.watch_patience,
        }
    }

    /// How long a relay may be without what keeps it.
    pub fn relay_times(&self) -> RelayTimes {
        RelayTimes {
            lease: self.relay_lease,
            stall: self.relay_stall_timeout,
        }
    }

    /// Which destinations are refused.
    pub fn url_policy(&self) -> UrlPolicy {
        UrlPolicy {
            allow_private: self.allow_private_destinations,
            own_ingest_hosts: self.ingest_hosts.clone(),
        }
    }

    /// What is logged, and how.
    pub fn log(&self) -> LogSettings {
        let usual = match self.env {
            Environment::Development => "info,sqlx::postgres::notice=warn,sluice::calls=debug",
            Environment::Production => "info,sqlx::postgres::notice=warn",
        };
        LogSettings {
            filter: self
                .observing
                .log
                .clone()
                .unwrap_or_else(|| usual.to_owned()),
            human: self.observing.log_format.is_human(),
            traces_statements: self.observing.otlp_endpoint.is_some(),
        }
    }

    /// Where traces go, if anywhere.
    pub fn traces(&self) -> Option<TraceSettings> {
        let endpoint = self.observing.otlp_endpoint.clone()?;
        let ratio = self.observing.trace_ratio;
        Some(TraceSettings { endpoint, ratio })
    }

    /// Whether callers can ask for the API's description.
    pub fn reflects(&self) -> bool {
        self.reflection
            .unwrap_or(self.env == Environment::Development)
    }
}
