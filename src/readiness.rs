//! Whether this server can serve, for health checks.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{SetOnce, watch},
    time::{sleep, timeout},
};
use tonic::{Request, Status, service::Interceptor};
use tonic_health::{ServingStatus, server::HealthReporter};

use crate::{
    database::Database,
    error::{Error, Result},
    jobs::CredentialRefresh,
    telemetry::{Throttle, metrics::JobRun},
};

/// The names that health checks can ask about: the whole server, and each service.
pub const SERVICES: [&str; 8] = [
    "",
    "sluice.v1.AuthService",
    "sluice.v1.ProjectService",
    "sluice.v1.StreamService",
    "sluice.v1.OperatorService",
    "sluice.v1.WebhookService",
    "sluice.v1.UsageService",
    "sluice.v1.OrganizationService",
];

/// How often the clock and the credentials are refreshed from the database; its answer is its
/// health.
const REFRESH_INTERVAL: Duration = Duration::from_secs(1);

/// How long a refresh may take.
const REFRESH_TIMEOUT: Duration = Duration::from_secs(2);

/// The delay before the next attempt after the database did not answer.
const RETRY_DELAY: Duration = Duration::from_millis(200);

/// The interval of the log lines about a start that cannot proceed.
const RETRY_LOG_INTERVAL: Duration = Duration::from_secs(10);

/// The health of the server. A clone shares it.
#[derive(Debug, Clone)]
pub struct Readiness {
    migrated: Arc<SetOnce<()>>,
    health: HealthReporter,
    state: watch::Sender<Health>,
}

/// Whether the server can serve, or why it cannot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// The migrations are not known to be complete.
    Starting,
    /// The server can serve.
    Serving,
    /// The database does not answer.
    DatabaseAway,
    /// The machine's clock differs too much from the database's.
    ClockSkewed,
    /// The server is shutting down.
    Draining,
}

impl Health {
    /// A short description.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting: the database is not known to be ready",
            Self::Serving => "serving",
            Self::DatabaseAway => "the database does not answer",
            Self::ClockSkewed => {
                "the clock of this machine differs by more than 2 seconds from the database's"
            }
            Self::Draining => "draining: no more calls are wanted",
        }
    }
}

impl Readiness {
    /// The health of a starting server, reported to health checks.
    pub fn new(health: HealthReporter) -> Self {
        Self {
            migrated: Arc::default(),
            health,
            state: watch::Sender::new(Health::Starting),
        }
    }

    /// The current health.
    pub fn health(&self) -> Health {
        *self.state.borrow()
    }

    /// Reports the health to health checks. After [`Health::Draining`] it does not change.
    pub async fn report(&self, state: Health) {
        let is_reported = self.state.send_if_modified(|current| {
            if *current == Health::Draining {
                return false;
            }
            *current = state;
            true
        });
        if !is_reported {
            return;
        }
        let status = match state {
            Health::Serving => ServingStatus::Serving,
            Health::Starting | Health::DatabaseAway | Health::ClockSkewed | Health::Draining => {
                ServingStatus::NotServing
            }
        };
        for service in SERVICES {
            self.health.set_service_status(service, status).await;
        }
        tracing::info!(%status, why = state.as_str(), "health changed");
    }

    /// Waits until the database is migrated.
    pub async fn migrated(&self) {
        self.migrated.wait().await;
    }

    /// Migrates the database once it answers. Then synchronizes the clock, refreshes the
    /// credentials that calls are checked against, and reports each change of the health.
    /// Returns only if the migration is impossible, or a key is missing.
    pub async fn watch(&self, database: &Database, mut credentials: CredentialRefresh) -> Error {
        if let Err(error) = start(database, &mut credentials).await {
            return error;
        }
        if let Err(error) = self.migrated.set(()) {
            return Error::internal(error);
        }

        let mut last = None;
        loop {
            let run = JobRun::start("trust");
            let refreshed = timeout(REFRESH_TIMEOUT, refresh(database, &mut credentials)).await;
            let is_up = matches!(refreshed, Ok(Ok(())));
            run.finish(is_up);
            let health = match database.clock_skew().is_excessive() {
                _ if !is_up => Health::DatabaseAway,
                true => Health::ClockSkewed,
                false => Health::Serving,
            };
            if last.replace(health) != Some(health) {
                if let Ok(Err(error)) = refreshed {
                    tracing::warn!(
                        error = error.with_causes(),
                        "cannot refresh the credentials"
                    );
                }
                self.report(health).await;
                if health == Health::ClockSkewed {
                    let skew_seconds = database.clock_skew().get().as_seconds_f64();
                    tracing::warn!(
                        skew_seconds,
                        "the clock of this machine or of the database is wrong"
                    );
                }
            }
            sleep(if is_up { REFRESH_INTERVAL } else { RETRY_DELAY }).await;
        }
    }
}

/// The interceptor refuses calls until the database is migrated.
impl Interceptor for Readiness {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        match self.migrated.initialized() {
            true => Ok(request),
            false => Err(Error::Starting.into()),
        }
    }
}

/// Checks the file of SQLite, synchronizes the clock, then refreshes the credentials.
async fn refresh(database: &Database, credentials: &mut CredentialRefresh) -> Result<()> {
    database.check_file()?;
    database.synchronize_clock().await?;
    credentials.refresh().await
}

/// Migrates the database, then reads the credentials, before calls are admitted.
async fn start(database: &Database, credentials: &mut CredentialRefresh) -> Result<()> {
    let mut retries = Retries {
        log: Throttle::new(RETRY_LOG_INTERVAL),
    };
    while let Err(error) = database.migrate().await {
        retries.wait("migrate", error).await?;
    }
    while let Err(error) = refresh(database, credentials).await {
        let error = database.start_error(error);
        retries.wait("read the keys", error).await?;
    }
    Ok(())
}

/// The retries of the steps of the start.
struct Retries {
    log: Throttle,
}

impl Retries {
    /// Waits before a step is tried again, if its error may disappear.
    async fn wait(&mut self, step: &str, error: Error) -> Result<()> {
        if !is_transient(&error) {
            return Err(error);
        }
        if let Some(attempts) = self.log.record() {
            let error = error.with_causes();
            tracing::warn!(error, attempts, "cannot {step} now, will try again");
        }
        sleep(RETRY_DELAY).await;
        Ok(())
    }
}

/// Whether an error of the start may disappear without intervention.
fn is_transient(error: &Error) -> bool {
    matches!(
        error,
        Error::DatabaseUnavailable(_)
            | Error::ConcurrentChange
            | Error::DeadlineExceeded
            | Error::LostRace(_)
            | Error::StorageFull(_)
    )
}
