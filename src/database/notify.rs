//! How replicas over one PostgreSQL database tell each other what they change.
//!
//! NOTIFY takes a lock of the whole database when it commits, so it stands in no
//! transaction of a change: it is sent afterwards, for many changes at once.

use std::{fmt::Write, time::Duration};

use sqlx::{
    Error as Failure, Postgres,
    postgres::{PgListener, PgPoolOptions},
};
use tokio::time::timeout;
use uuid::Uuid;

use super::{Database, Pool, Pools, Single};
use crate::{domain::ProjectId, error::Result};

/// The channel of PostgreSQL.
const CHANNEL: &str = "sluice_changes";

/// How many ids a notice has: it must be shorter than 8000 bytes.
const EACH: usize = 200;

/// How long connecting to listen may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// What tells the connection that listens from the others.
const LISTENER: &str = "sluice-listener";

/// Tells other replicas which projects have changed.
#[derive(Debug, Clone)]
pub struct Notices {
    pool: Pool<Postgres>,
    /// So that a replica does not hear itself.
    replica: Uuid,
}

/// A connection that hears what other replicas tell.
pub struct Listening {
    listener: PgListener,
    replica: Uuid,
}

/// What another replica told.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    /// These projects have changed.
    Projects(Vec<ProjectId>),
    /// Something has, it does not know what.
    Something,
}

impl Database {
    /// Where there can be other replicas.
    pub fn notices(&self) -> Option<Notices> {
        match &self.pools {
            Pools::Postgres(pool) => Some(Notices {
                pool: pool.clone(),
                replica: Uuid::now_v7(),
            }),
            Pools::Sqlite { .. } => None,
        }
    }
}

impl Notices {
    /// Tells that projects have changed; with none of them, that something has.
    pub async fn tell(&self, ids: &[ProjectId]) -> Result<()> {
        let notices = match ids {
            [] => vec![self.notice(&[])],
            ids => ids.chunks(EACH).map(|ids| self.notice(ids)).collect(),
        };
        sqlx::query("select pg_notify($1, notice) from unnest($2::text[]) as notice")
            .bind(CHANNEL)
            .bind(notices)
            .execute(Single(&self.pool))
            .await?;
        Ok(())
    }

    /// The sender, then the ids.
    fn notice(&self, ids: &[ProjectId]) -> String {
        let mut notice = self.replica.simple().to_string();
        for id in ids {
            let _ = write!(notice, " {}", id.uuid().simple());
        }
        notice
    }

    /// Listens, on a connection beside the pool.
    pub async fn listen(&self) -> Result<Listening> {
        let server = self.pool.address().clone().application_name(LISTENER);
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .max_lifetime(None)
            .idle_timeout(None)
            .acquire_timeout(CONNECT_TIMEOUT)
            .connect_lazy_with(server);
        let mut listener = PgListener::connect_with(&pool).await?;
        listener.eager_reconnect(false);
        let listens = timeout(CONNECT_TIMEOUT, listener.listen(CHANNEL)).await;
        listens.unwrap_or(Err(Failure::PoolTimedOut))?;
        Ok(Listening {
            listener,
            replica: self.replica,
        })
    }
}

impl Listening {
    /// Waits for what another replica tells; `None` if the connection was lost.
    pub async fn next(&mut self) -> Result<Option<Heard>> {
        while let Some(notice) = self.listener.try_recv().await? {
            if let Some(heard) = read(notice.payload(), self.replica) {
                return Ok(Some(heard));
            }
        }
        Ok(None)
    }

    /// Asks whether the connection stands.
    pub async fn check(&mut self) -> Result<()> {
        sqlx::query("select 1").execute(&mut self.listener).await?;
        Ok(())
    }
}

/// What a notice says to a replica; one that it cannot read says that something has changed.
fn read(notice: &str, replica: Uuid) -> Option<Heard> {
    let mut words = notice.split(' ').map(Uuid::try_parse);
    if words.next() == Some(Ok(replica)) {
        return None;
    }
    let ids: Result<Vec<_>, _> = words.map(|id| id.map(ProjectId::from)).collect();
    match ids {
        Ok(ids) if !ids.is_empty() => Some(Heard::Projects(ids)),
        _ => Some(Heard::Something),
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::{Heard, read};
    use crate::domain::ProjectId;

    #[test]
    fn a_replica_does_not_hear_itself() {
        let (us, them, project) = (Uuid::now_v7(), Uuid::now_v7(), ProjectId::generate());
        let notice = |sender: Uuid| format!("{} {}", sender.simple(), project.uuid().simple());

        assert_eq!(read(&notice(us), us), None);
        assert_eq!(
            read(&notice(them), us),
            Some(Heard::Projects(vec![project]))
        );
    }

    #[test]
    fn what_cannot_be_read_says_that_something_has_changed() {
        let us = Uuid::now_v7();

        for notice in ["", "nonsense", &Uuid::now_v7().to_string(), "a b"] {
            assert_eq!(read(notice, us), Some(Heard::Something), "{notice}");
        }
    }
}
