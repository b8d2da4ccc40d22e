//! Whether this server can serve: it says so to health checks.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{SetOnce, watch},
    time::{sleep, timeout},
};
use tonic::{Request, Status, service::Interceptor};
use tonic_health::{ServingStatus, server::HealthReporter};

use super::{
    database::Database,
    error::{Error, Result},
    jobs::Trust,
    telemetry::metrics,
};

/// What health checks can ask about: the whole server, and each service.
pub const SERVICES: [&str; 4] = [
    "",
    "sluice.v1.AuthService",
    "sluice.v1.ProjectService",
    "sluice.v1.StreamService",
];

/// How often the database is asked what has changed; that it answers is its health.
const REFRESH_INTERVAL: Duration = Duration::from_secs(1);

/// How long an answer may take.
const REFRESH_TIMEOUT: Duration = Duration::from_secs(2);

/// How long to wait before a database that did not answer is asked again.
const RETRY: Duration = Duration::from_millis(200);

/// Whether the server can serve. A clone shares the answer.
#[derive(Debug, Clone)]
pub struct Readiness {
    migrated: Arc<SetOnce<()>>,
    health: HealthReporter,
    state: watch::Sender<Health>,
}

/// Whether the server can serve, or why it cannot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// The schema is not known to be there yet.
    Starting,
    /// It can.
    Serving,
    /// The database does not answer.
    DatabaseAway,
    /// It stops.
    Draining,
}

impl Health {
    /// It in a few words.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting: the database is not known to be ready",
            Self::Serving => "serving",
            Self::DatabaseAway => "the database does not answer",
            Self::Draining => "draining: no more calls are wanted",
        }
    }
}

impl Readiness {
    /// Of a server that starts, told to these health checks.
    pub fn new(health: HealthReporter) -> Self {
        Self {
            migrated: Arc::default(),
            health,
            state: watch::Sender::new(Health::Starting),
        }
    }

    /// Whether the server can serve now.
    pub fn health(&self) -> Health {
        *self.state.borrow()
    }

    /// Tells health checks whether the server can serve.
    pub async fn report(&self, state: Health) {
        let is_news = self.state.send_if_modified(|known| {
            // Nothing comes after that.
            let is_news = *known != Health::Draining;
            *known = if is_news { state } else { Health::Draining };
            is_news
        });
        if !is_news {
            return;
        }
        let status = match state {
            Health::Serving => ServingStatus::Serving,
            Health::Starting | Health::DatabaseAway | Health::Draining => ServingStatus::NotServing,
        };
        for service in SERVICES {
            self.health.set_service_status(service, status).await;
        }
        tracing::info!(%status, why = state.as_str(), "health changed");
    }

    /// Waits until the schema is there.
    pub async fn migrated(&self) {
        self.migrated.wait().await;
    }

    /// Migrates, as soon as the database answers, then keeps up to date what calls
    /// are checked against, and reports each change of the database's health.
    /// Returns only if migrating is impossible, or a key is missing.
    pub async fn watch(&self, database: &Database, mut trust: Trust) -> Error {
        if let Err(error) = migrate(database).await {
            return error;
        }
        if let Err(error) = first(&mut trust).await {
            return error;
        }
        if let Err(error) = self.migrated.set(()) {
            return Error::internal(error);
        }

        let mut serving = false;
        loop {
            let run = metrics::job("trust");
            let refreshed = timeout(REFRESH_TIMEOUT, trust.refresh()).await;
            let answers = matches!(refreshed, Ok(Ok(())));
            run.over(answers);
            if answers != serving {
                if let Ok(Err(error)) = refreshed {
                    tracing::warn!(error = error.with_causes(), "cannot ask what has changed");
                }
                serving = answers;
                self.report(match answers {
                    true => Health::Serving,
                    false => Health::DatabaseAway,
                })
                .await;
            }
            sleep(if answers { REFRESH_INTERVAL } else { RETRY }).await;
        }
    }
}

/// As an interceptor: refuses calls until the schema is there.
impl Interceptor for Readiness {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        match self.migrated.initialized() {
            true => Ok(request),
            false => Err(Error::Starting.into()),
        }
    }
}

/// What the trust rests on has to be read once before anybody is let in.
async fn first(trust: &mut Trust) -> Result<()> {
    loop {
        match trust.refresh().await {
            Err(error) if passes(&error) => {
                let error = error.with_causes();
                tracing::warn!(error, "cannot read the keys now, will try again");
                sleep(RETRY).await;
            }
            other => return other,
        }
    }
}

async fn migrate(database: &Database) -> Result<()> {
    loop {
        match database.migrate().await {
            Err(error) if passes(&error) => {
                let error = error.with_causes();
                tracing::warn!(error, "cannot migrate now, will try again");
                sleep(RETRY).await;
            }
            other => return other,
        }
    }
}

/// Whether what keeps a server from its start may be gone a little later.
fn passes(error: &Error) -> bool {
    matches!(
        error,
        Error::DatabaseUnavailable(_)
            | Error::ConcurrentChange
            | Error::DeadlineExceeded
            | Error::LostRace(_)
            | Error::StorageFull(_)
    )
}
