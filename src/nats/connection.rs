use std::{
    fs,
    future::ready,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, anyhow};
use async_nats::{
    Client, ConnectErrorKind, ConnectOptions, Event, connect_with_options, connection::State,
};
use parking_lot::Mutex;
use tokio::time::{sleep, timeout};
use tokio_rustls::rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use super::servers::{NatsLogin, NatsServers};
use crate::{
    root_certificates::{platform_roots, trusting},
    telemetry::{Throttle, metrics::NATS},
};

/// How long each address may take to answer.
const ADDRESS_TIMEOUT: Duration = Duration::from_secs(2);

/// How long all addresses together may take, their names included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The interval of pings while nothing comes. A server that leaves two of them unanswered is lost.
const PING_INTERVAL: Duration = Duration::from_secs(2);

/// How often a connection is checked, in case the report of its loss was missed.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// The messages that wait to be sent, at most. Further ones are dropped.
const SEND_QUEUE: usize = 1024;

/// The received messages of a subscription that wait to be read, at most. Further ones are dropped.
const RECEIVE_QUEUE: usize = 256;

/// The interval of log lines about errors that a server reports.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// The longest text of a server in the log.
const MAX_LOGGED: usize = 200;

/// How to connect to NATS. It has no `Debug`: it can contain a password.
#[derive(Clone)]
pub struct NatsSettings {
    /// The servers, of which any will do.
    pub servers: NatsServers,
    /// A file with the credentials of a user, or with the seed of an nkey. It is read for each
    /// connection, so that it can be replaced.
    pub credentials: Option<PathBuf>,
}

/// A server does not accept the credentials.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the server refuses the credentials")]
pub struct CredentialsRefused;

/// A connection to a server. Once it is lost it stays lost.
#[derive(Debug)]
pub(super) struct Connection {
    pub client: Client,
    lost: CancellationToken,
}

impl NatsSettings {
    /// Checks that the files of the settings can be used. Connects to nothing.
    pub fn check(&self) -> anyhow::Result<()> {
        self.options().map(drop)
    }

    /// Connects once, and disconnects. The error is [`CredentialsRefused`] if that is the cause.
    pub async fn try_connect(&self) -> anyhow::Result<()> {
        self.connect().await.map(drop)
    }

    /// Connects to one of the servers.
    pub(super) async fn connect(&self) -> anyhow::Result<Connection> {
        let lost = CancellationToken::new();
        let events = lost.clone();
        let options = self.options()?.event_callback(move |event| {
            report(&event, &events);
            ready(())
        });
        let connecting = connect_with_options(self.servers.addresses.clone(), options);
        let connected = timeout(CONNECT_TIMEOUT, connecting).await;
        let client = connected.map_err(|_| anyhow!("no answer in time"))?;
        let client = client.map_err(|error| match error.kind() {
            ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => {
                anyhow!(CredentialsRefused)
            }
            ConnectErrorKind::TimedOut => anyhow!("no answer in time"),
            _ => anyhow!(error),
        })?;
        Ok(Connection { client, lost })
    }

    fn options(&self) -> anyhow::Result<ConnectOptions> {
        let mut options = ConnectOptions::new()
            .name("sluice")
            // A replica knows what it has changed.
            .no_echo()
            // Credentials are sent to the servers of the settings only.
            .ignore_discovered_servers()
            // A lost connection is replaced here, with a pause and files that are read again.
            .max_reconnects(self.servers.addresses.len())
            .reconnect_delay_callback(|_| Duration::ZERO)
            .connection_timeout(ADDRESS_TIMEOUT)
            .ping_interval(PING_INTERVAL)
            .client_capacity(SEND_QUEUE)
            .subscription_capacity(RECEIVE_QUEUE)
            .require_tls(self.servers.tls);
        if let Some(tls) = self.tls()? {
            options = options.tls_client_config(tls);
        }
        options = match &self.servers.login {
            None => options,
            Some(NatsLogin::Token(token)) => options.token(token.expose().to_owned()),
            Some(NatsLogin::Password { user, password }) => {
                options.user_and_password(user.clone(), password.expose().to_owned())
            }
        };
        match &self.credentials {
            None => Ok(options),
            Some(file) => {
                let text = fs::read_to_string(file).map(Zeroizing::new);
                let text =
                    text.with_context(|| format!("{} (SLUICE_NATS_CREDENTIALS)", file.display()))?;
                with_credentials(options, &text)
            }
        }
    }

    /// TLS that trusts the file of the settings, or the platform; `None` without both, if TLS is not
    /// required. The server decides whether `nats://` uses TLS.
    fn tls(&self) -> anyhow::Result<Option<ClientConfig>> {
        if let Some(file) = &self.servers.ca_file {
            let roots = trusted(file).with_context(|| format!("{} (?ca=)", file.display()));
            return Ok(Some(trusting(roots.context("SLUICE_NATS_URL")?)));
        }
        match (platform_roots(), self.servers.tls) {
            (Ok(roots), _) => Ok(Some(trusting(roots))),
            (Err(error), true) => Err(error.context("SLUICE_NATS_URL")),
            (Err(_), false) => Ok(None),
        }
    }
}

impl Connection {
    /// Waits until the connection is lost.
    pub async fn lost(&self) {
        let disconnected = async {
            while self.client.connection_state() == State::Connected {
                sleep(CHECK_INTERVAL).await;
            }
        };
        tokio::select! {
            () = self.lost.cancelled() => {}
            () = disconnected => {}
        }
    }
}

/// The certificates of a PEM file.
fn trusted(file: &Path) -> anyhow::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file)? {
        roots.add(certificate?)?;
    }
    anyhow::ensure!(!roots.is_empty(), "the file has no certificate");
    Ok(roots)
}

/// Adds credentials from the text of a file: a JWT and the seed of its key between lines of hyphens,
/// or a seed only.
fn with_credentials(options: ConnectOptions, text: &str) -> anyhow::Result<ConnectOptions> {
    let seed = text.trim();
    let with_file = |text: &str| {
        // Without the cause, which could repeat a secret.
        ConnectOptions::clone(&options).credentials(text).map_err(|_| {
            anyhow!(
                "SLUICE_NATS_CREDENTIALS must be a file with the credentials of a user (a JWT and \
                 a seed), or with the seed of an nkey"
            )
        })
    };
    if !seed.starts_with("SU") {
        return with_file(text);
    }
    // The library looks at a seed alone only when it connects.
    with_file(&format!(
        "-----JWT-----\n-\n-----END-----\n\n-----SEED-----\n{seed}\n-----END-----\n"
    ))?;
    Ok(options.nkey(seed.to_owned()))
}

/// Counts and logs what happens to a connection, and reports its loss.
fn report(event: &Event, lost: &CancellationToken) {
    static SERVER_ERRORS: Mutex<Throttle> = Mutex::new(Throttle::new(LOG_INTERVAL));
    match event {
        Event::Disconnected | Event::Closed => lost.cancel(),
        Event::SlowConsumer(_) => NATS.dropped.with_label_values(&["receive"]).inc(),
        // For example a subject for which the user has no permission.
        Event::ServerError(error) => {
            if let Some(occurrences) = SERVER_ERRORS.lock().record() {
                let error: String = error.to_string().chars().take(MAX_LOGGED).collect();
                tracing::warn!(error, occurrences, "the NATS server reports an error");
            }
        }
        Event::Connected | Event::LameDuckMode | Event::Draining | Event::ClientError(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use async_nats::ConnectOptions;

    use super::with_credentials;

    /// From the documentation of NATS.
    const SEED: &str = "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY";

    fn is_usable(text: &str) -> bool {
        with_credentials(ConnectOptions::new(), text).is_ok()
    }

    #[test]
    fn a_file_has_the_credentials_of_a_user_or_the_seed_of_an_nkey() {
        let file = format!(
            "-----BEGIN NATS USER JWT-----\neyJ0.eyJq.c2ln\n------END NATS USER JWT------\n\n\
             ************************* IMPORTANT *************************\n\n\
             -----BEGIN USER NKEY SEED-----\n{SEED}\n------END USER NKEY SEED------\n"
        );
        assert!(is_usable(&file));
        assert!(is_usable(SEED));
        assert!(is_usable(&format!("{SEED}\n")));
    }

    #[test]
    fn an_error_about_a_file_repeats_none_of_it() {
        let changed = SEED.replace("HUDX", "HUDY");
        for text in [
            "",
            "SU",
            "password",
            &changed,
            &SEED[1..],
            "-----A-----\nx\n",
        ] {
            let error = with_credentials(ConnectOptions::new(), text).unwrap_err();
            let error = format!("{error:?}");
            assert!(error.contains("SLUICE_NATS_CREDENTIALS must"), "{error}");
            assert!(text.len() < 5 || !error.contains(text), "{error}");
        }
    }
}
