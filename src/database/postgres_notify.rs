//! Notifications of changed projects between replicas, by LISTEN and NOTIFY of PostgreSQL.
//!
//! NOTIFY takes a database-wide lock when it commits. So no transaction that changes a
//! project contains it: it is sent afterwards, for many changes at once.

use std::{fmt::Write, time::Duration};

use sqlx_postgres::{PgConnectOptions, PgListener, PgPoolOptions, Postgres};
use uuid::Uuid;

use super::{Autocommit, Database, Pool, Pools, postgres_connector::check_role};
use crate::{domain::ProjectId, error::Result};

/// The name of the channel.
const CHANNEL: &str = "sluice_changes";

/// The maximum number of ids in a payload, which must be shorter than 8000 bytes.
const MAX_IDS_PER_PAYLOAD: usize = 200;

/// The timeout to connect to a server, if the connector has a longer one.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The application name of the listening connection.
const LISTENER_APPLICATION_NAME: &str = "sluice-listener";

/// Notifies other replicas of changed projects.
#[derive(Debug, Clone)]
pub struct NotifyChannel {
    pool: Pool<Postgres>,
    /// Identifies this replica, so that it ignores its own notifications.
    replica: Uuid,
}

/// A connection that receives the notifications of other replicas.
pub struct NotifyListener {
    listener: PgListener,
    replica: Uuid,
}

/// A notification of another replica.
#[derive(Debug, PartialEq, Eq)]
pub enum ReplicaChange {
    /// These projects have changed.
    Projects(Vec<ProjectId>),
    /// Projects have changed, but not which ones is known.
    Unspecified,
}

impl Database {
    /// The channel to other replicas. `None` without one: on SQLite, and through a pooler in
    /// transaction mode, which forwards no notifications.
    pub fn notify_channel(&self) -> Option<NotifyChannel> {
        match &self.pools {
            Pools::Postgres { reader, .. } if reader.connector().is_transaction_pooled() => None,
            Pools::Postgres { writer: pool, .. } => Some(NotifyChannel {
                pool: pool.clone(),
                replica: Uuid::now_v7(),
            }),
            Pools::Sqlite { .. } => None,
        }
    }
}

impl NotifyChannel {
    /// Notifies other replicas that projects have changed: unspecified ones if `ids` is empty.
    pub async fn send(&self, ids: &[ProjectId]) -> Result<()> {
        let payloads = match ids {
            [] => vec![self.payload(&[])],
            ids => ids
                .chunks(MAX_IDS_PER_PAYLOAD)
                .map(|ids| self.payload(ids))
                .collect(),
        };
        sqlx::query("select pg_notify($1, notice) from unnest($2::text[]) as notice")
            .bind(CHANNEL)
            .bind(payloads)
            .execute(Autocommit(&self.pool))
            .await?;
        Ok(())
    }

    /// The id of this replica, then those of the projects.
    fn payload(&self, ids: &[ProjectId]) -> String {
        let mut payload = self.replica.simple().to_string();
        for id in ids {
            let _ = write!(payload, " {}", id.uuid().simple());
        }
        payload
    }

    /// Listens on a connection that does not belong to the pool.
    pub async fn listen(&self) -> Result<NotifyListener> {
        let connector = self.pool.connector();
        let listener = connector
            .first_usable(|server| listen_to(server.clone(), connector.setup()))
            .await?;
        Ok(NotifyListener {
            listener,
            replica: self.replica,
        })
    }
}

async fn listen_to(server: PgConnectOptions, setup: String) -> Result<PgListener, sqlx::Error> {
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .max_lifetime(None)
        .idle_timeout(None)
        .acquire_timeout(CONNECT_TIMEOUT)
        .connect_lazy_with(server.application_name(LISTENER_APPLICATION_NAME));
    let mut listener = PgListener::connect_with(&pool).await?;
    listener.eager_reconnect(false);
    check_role(setup, &mut listener).await?;
    listener.listen(CHANNEL).await?;
    Ok(listener)
}

impl NotifyListener {
    /// Waits for the next notification of another replica. `None` if the connection was lost.
    pub async fn recv(&mut self) -> Result<Option<ReplicaChange>> {
        while let Some(notification) = self.listener.try_recv().await? {
            if let Some(change) = parse(notification.payload(), self.replica) {
                return Ok(Some(change));
            }
        }
        Ok(None)
    }

    /// Checks the connection.
    pub async fn ping(&mut self) -> Result<()> {
        sqlx::query("select 1").execute(&mut self.listener).await?;
        Ok(())
    }
}

/// Parses a payload. `None` if `replica` sent it itself, unspecified if it is malformed.
fn parse(payload: &str, replica: Uuid) -> Option<ReplicaChange> {
    let mut words = payload.split(' ').map(Uuid::try_parse);
    if words.next() == Some(Ok(replica)) {
        return None;
    }
    let ids: Result<Vec<_>, _> = words.map(|id| id.map(ProjectId::from)).collect();
    match ids {
        Ok(ids) if !ids.is_empty() => Some(ReplicaChange::Projects(ids)),
        _ => Some(ReplicaChange::Unspecified),
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::{ReplicaChange, parse};
    use crate::domain::ProjectId;

    #[test]
    fn a_replica_ignores_its_own_notifications() {
        let (us, them, project) = (Uuid::now_v7(), Uuid::now_v7(), ProjectId::generate());
        let payload = |sender: Uuid| format!("{} {}", sender.simple(), project.uuid().simple());

        assert_eq!(parse(&payload(us), us), None);
        assert_eq!(
            parse(&payload(them), us),
            Some(ReplicaChange::Projects(vec![project]))
        );
    }

    #[test]
    fn a_malformed_payload_is_an_unspecified_change() {
        let us = Uuid::now_v7();

        for payload in ["", "nonsense", &Uuid::now_v7().to_string(), "a b"] {
            assert_eq!(
                parse(payload, us),
                Some(ReplicaChange::Unspecified),
                "{payload}"
            );
        }
    }
}
