//! Competes for the leadership of jobs, on a connection of its own.

use std::time::Duration;

use sqlx::Connection;
use sqlx_postgres::PgConnection;
use tokio::time::{sleep, timeout};

use super::{
    Database, Pools,
    leadership::INTERVAL,
    postgres_connector::{PostgresConnector, check_role},
};
use crate::error::Result;

/// How long a new candidate waits for its leadership.
const CANDIDACY: Duration = Duration::from_secs(10);

/// The delay before another connection.
const RECONNECT_DELAY: Duration = Duration::from_secs(1);

/// The name of the connection.
const APPLICATION_NAME: &str = "sluice-leader";

/// Ends the session within 8 seconds if its process hangs or its machine is gone. Versions of
/// PostgreSQL that lack a setting go without it.
const SET_UP: &str = "select set_config(s.name, v.value, false)
     from (values ('idle_session_timeout', '8s'), ('tcp_keepalives_idle', '3'),
                  ('tcp_keepalives_interval', '1'), ('tcp_keepalives_count', '3'),
                  ('tcp_user_timeout', '7000')) as v (name, value)
     join pg_settings s on s.name = v.name";

impl Database {
    /// Whether this replica leads a job. One that asks for the first time is a candidate from then
    /// on.
    pub fn leads(&self, job: &'static str) -> bool {
        match self.connector() {
            Some(_) => self.leadership.leads(job),
            None => true,
        }
    }

    /// The same for a job that runs rarely: a replica that has just started waits for its
    /// candidacy.
    pub async fn leads_soon(&self, job: &'static str) -> bool {
        let leads = async {
            while !self.leads(job) {
                sleep(INTERVAL / 4).await;
            }
        };
        timeout(CANDIDACY, leads).await.is_ok()
    }

    /// How often the session was lost that proves leadership: the database may have been
    /// unreachable for all replicas.
    pub fn leadership_losses(&self) -> u64 {
        self.leadership.losses()
    }

    /// Competes for the jobs; never returns.
    pub async fn compete(&self) {
        let Some(connector) = self.connector() else {
            return std::future::pending().await;
        };
        let mut is_reachable = true;
        loop {
            let failure = match connect(connector).await {
                Ok(mut session) => {
                    is_reachable = true;
                    self.leadership.hold(&mut session).await
                }
                Err(failure) => failure,
            };
            self.leadership.lose();
            if is_reachable {
                let error = failure.with_causes();
                tracing::warn!(error, "the connection for the leadership of jobs was lost");
            }
            is_reachable = false;
            sleep(RECONNECT_DELAY).await;
        }
    }

    /// The connector of PostgreSQL; `None` if every process leads.
    fn connector(&self) -> Option<&PostgresConnector> {
        match &self.pools {
            Pools::Postgres { reader, .. } => {
                let connector = reader.connector();
                (!connector.is_transaction_pooled()).then_some(connector)
            }
            Pools::Sqlite { .. } => None,
        }
    }
}

async fn connect(connector: &PostgresConnector) -> Result<PgConnection> {
    let connecting = connector.first_usable(|server| {
        let (server, setup) = (server.clone(), connector.setup());
        async move {
            let server = server.application_name(APPLICATION_NAME);
            let mut session = PgConnection::connect_with(&server).await?;
            check_role(setup, &mut session).await?;
            sqlx::query(SET_UP).fetch_all(&mut session).await?;
            Ok(session)
        }
    });
    Ok(connecting.await?)
}
