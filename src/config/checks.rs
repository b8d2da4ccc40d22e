//! The sections of the settings of a server, and the checks of its settings against each other.

use std::collections::HashSet;

use super::{
    arguments::{Selection, SettingGroup},
    settings::{Config, CopyTarget, Environment},
};
use crate::{auth::is_guessable, domain::Secret, mail::MailTransport};

/// The headings of the sections of the help that commands other than `serve` show.
const DATABASE: &str = "Data and database";
const KEYS: &str = "Keys and tokens";

/// The settings of the log of a command.
const LOG: [&str; 5] = ["log", "log_format", "log_file", "log_rotation", "log_files"];

impl SettingGroup for Config {
    const SECTIONS: &'static [(&'static str, &'static str)] = &[
        ("env", "Server"),
        ("max_connections", "Connections, TLS and web pages"),
        ("caller_rate", "Limits of calls"),
        ("data_dir", DATABASE),
        ("jwt_secret", KEYS),
        ("bcrypt_cost", "Sign-in"),
        ("mail", "Mail"),
        ("heartbeat_interval", "Streams"),
        ("watch_poll_interval", "Watches"),
        ("relay_lease", "Relays and destinations"),
        ("max_organizations", "Organizations"),
        ("max_webhooks", "Webhooks"),
        ("reflection", "Operation"),
        ("operations_listen", "Logs, metrics and traces"),
    ];

    fn check_all(&self) -> Vec<String> {
        self.check().err().unwrap_or_default()
    }
}

impl SettingGroup for CopyTarget {
    const SECTIONS: &'static [(&'static str, &'static str)] = &[("to", "Target")];

    fn check_all(&self) -> Vec<String> {
        Vec::new()
    }
}

/// The settings of a server.
pub(crate) struct ServerSettings;

impl Selection<Config> for ServerSettings {
    fn includes(_: &str, _: &str) -> bool {
        true
    }

    fn check(config: &Config) -> Vec<String> {
        config.missing_keys()
    }
}

/// The settings of a command that uses the database and the keys of a server.
pub(crate) struct DataSettings;

impl Selection<Config> for DataSettings {
    fn includes(setting: &str, section: &str) -> bool {
        [DATABASE, KEYS].contains(&section) || setting == "env" || LOG.contains(&setting)
    }
}

impl Config {
    /// Checks the settings against each other. Each error names a variable.
    pub fn check(&self) -> Result<(), Vec<String>> {
        let mut errors = self.inconsistencies();
        errors.extend(self.transport.check());
        errors.extend(self.unfit_for_production());
        match errors.is_empty() {
            true => Ok(()),
            false => Err(errors),
        }
    }

    fn inconsistencies(&self) -> Vec<String> {
        let mut errors = Vec::new();
        if self.heartbeat_timeout <= self.heartbeat_interval {
            errors.push("SLUICE_HEARTBEAT_TIMEOUT must be longer than SLUICE_HEARTBEAT_INTERVAL");
        }
        if self.session_idle_timeout > self.session_lifetime {
            errors.push(
                "SLUICE_SESSION_IDLE_TIMEOUT must not be longer than SLUICE_SESSION_LIFETIME",
            );
        }
        if self.transport.max_connection_calls <= self.max_user_watches {
            errors.push("SLUICE_MAX_CONNECTION_CALLS must be larger than SLUICE_MAX_USER_WATCHES");
        }
        let names: HashSet<_> = self.oidc_providers.iter().map(|one| &one.name).collect();
        if names.len() < self.oidc_providers.len() {
            errors.push("SLUICE_OIDC_PROVIDERS must not use a name twice");
        }
        match &self.webauthn_rp_id {
            Some(_) if self.webauthn_origins.is_empty() => {
                errors
                    .push("SLUICE_WEBAUTHN_RP_ID must not be set without SLUICE_WEBAUTHN_ORIGINS");
            }
            None if !self.webauthn_origins.is_empty() => {
                errors
                    .push("SLUICE_WEBAUTHN_ORIGINS must not be set without SLUICE_WEBAUTHN_RP_ID");
            }
            Some(id) if !self.webauthn_origins.iter().all(|one| id.includes(one)) => {
                errors.push(
                    "SLUICE_WEBAUTHN_ORIGINS must have the domain of SLUICE_WEBAUTHN_RP_ID, or \
                     domains below it",
                );
            }
            _ => {}
        }
        match (&self.nats_url, &self.nats_credentials) {
            (None, Some(_)) => {
                errors.push("SLUICE_NATS_CREDENTIALS must not be set without SLUICE_NATS_URL");
            }
            (Some(servers), Some(_)) if servers.has_login() => errors.push(
                "SLUICE_NATS_URL must not have a user or a token if SLUICE_NATS_CREDENTIALS is set",
            ),
            _ => {}
        }
        let (hosts, ports) = (self.db_host.len(), self.db_port.len());
        if hosts > 0 && ports > 1 && ports != hosts {
            errors.push("DB_PORT must have one port, or one for each host of DB_HOST");
        }
        let database_parts = [
            ("DB_PORT", !self.db_port.is_empty()),
            ("DB_USER", self.db_user.is_some()),
            ("DB_PASSWORD", self.db_password.is_some()),
            ("DB_NAME", self.db_name.is_some()),
            ("DB_SSLMODE", self.db_sslmode.is_some()),
        ];
        let alone = database_parts
            .iter()
            .filter(|(_, set)| *set && self.db_host.is_empty());
        let alone = alone.map(|(part, _)| format!("{part} must not be set without DB_HOST"));
        errors.into_iter().map(str::to_owned).chain(alone).collect()
    }

    /// What development allows and production does not.
    fn unfit_for_production(&self) -> Vec<String> {
        if self.env == Environment::Development {
            return Vec::new();
        }
        let mut errors = Vec::new();
        if self.bcrypt_cost < 10 {
            errors.push("SLUICE_BCRYPT_COST must be at least 10 in production");
        }
        if matches!(self.mail, Some(MailTransport::Smtp(_)))
            && self.mail_from.email.domain() == "localhost"
        {
            errors.push("SLUICE_MAIL_FROM must be an address of yours in production");
        }
        let jwt_secret = self.jwt_secret.as_ref().map(Secret::expose);
        if jwt_secret.is_some_and(|secret| is_guessable(secret.as_bytes())) {
            errors.push(
                "SLUICE_JWT_SECRET must be random in production; make one with \
                 `openssl rand -base64 48`",
            );
        }
        if self.sealing_keys.iter().any(|key| is_guessable(&key[..])) {
            errors.push(
                "SLUICE_SEALING_KEYS must be random in production; make one with \
                 `openssl rand -base64 32`",
            );
        }
        errors.into_iter().map(str::to_owned).collect()
    }

    /// The keys that production requires and that are not set.
    fn missing_keys(&self) -> Vec<String> {
        if self.env == Environment::Development {
            return Vec::new();
        }
        let mut errors = Vec::new();
        if self.jwt_secret.is_none() && self.jwt_key_files.is_empty() {
            errors.push(
                "SLUICE_JWT_SECRET or SLUICE_JWT_KEY_FILES must be set in production; make a \
                 secret with `openssl rand -base64 48`",
            );
        }
        if self.sealing_keys.is_empty() {
            errors.push(
                "SLUICE_SEALING_KEYS must be set in production; make a key with \
                 `openssl rand -base64 32`",
            );
        }
        errors.into_iter().map(str::to_owned).collect()
    }
}
