//! Projects with all that belongs to them, as they were at one moment.

use super::{destination_rows::DestinationRow, rows::ProjectRow};
use crate::{
    database::{Database, Transaction},
    domain::{Destination, Project, ProjectId, Relay, Snapshot, StreamId, Tenant},
    error::{Error, Result},
    repositories::{relays::rows::RelayRow, streams::rows as stream_rows},
};

/// Takes snapshots of projects.
#[derive(Debug, Clone)]
pub struct Snapshots {
    database: Database,
}

impl Snapshots {
    /// Snapshots of what is in this database.
    pub fn new(database: Database) -> Self {
        Self { database }
    }

    /// One of the tenant's projects, its destinations, its stream and its relays.
    pub async fn take(&self, tenant: Tenant, id: ProjectId) -> Result<Snapshot> {
        let mut tx = self.database.begin_reading().await?;
        let project = project(&mut tx, tenant, id).await?;
        let destinations = destinations(&mut tx, id).await?;
        let stream = stream_rows::running(&mut tx, id).await?;
        let relays = match &stream {
            Some(stream) => relays(&mut tx, stream.id).await?,
            None => Vec::new(),
        };
        Ok(Snapshot {
            project,
            destinations,
            stream,
            relays,
        })
    }
}

async fn project(tx: &mut Transaction, tenant: Tenant, id: ProjectId) -> Result<Project> {
    on_engine!(tx, tx => sqlx::query_as::<_, ProjectRow>(
        "select p.id, p.name, p.disabled, p.reconnect_window_ms, p.publish_conflict_policy,
                p.stream_key_hint, s.id as live_stream_id, p.revision,
                p.create_time, p.update_time
         from projects p
         left join streams s on s.project_id = p.id and s.end_time is null
         where p.id = $1 and p.owner_id = $2 and p.delete_time is null
           and ($3 is null or exists (
               select 1 from api_key_projects k
               where k.api_key_id = $3 and k.project_id = p.id))",
    )
    .bind(id)
    .bind(tenant.user)
    .bind(tenant.restricted_to)
    .fetch_optional(&mut **tx)
    .await)?
    .ok_or_else(|| Error::not_found("project", id))?
    .try_into()
}

async fn destinations(tx: &mut Transaction, project_id: ProjectId) -> Result<Vec<Destination>> {
    on_engine!(tx, tx => sqlx::query_as::<_, DestinationRow>(
        "select id, project_id, platform, name, url, stream_key_hint, enabled, create_time,
                update_time
         from destinations
         where project_id = $1
         order by id desc",
    )
    .bind(project_id)
    .fetch_all(&mut **tx)
    .await)?
    .into_iter()
    .map(Destination::try_from)
    .collect()
}

async fn relays(tx: &mut Transaction, id: StreamId) -> Result<Vec<Relay>> {
    on_engine!(tx, tx => sqlx::query_as::<_, RelayRow>(
        "select stream_id, destination_id, project_id, wanted, state, attempt,
                ready_time, last_progress_time, bytes_sent, bitrate_bps, error_code,
                error_severity, error_message, worker_id, lease_id, lease_expire_time,
                claim_time, broadcast_time, silent_since, update_time
         from relays
         where stream_id = $1
         order by destination_id",
    )
    .bind(id)
    .fetch_all(&mut **tx)
    .await)?
    .into_iter()
    .map(Relay::try_from)
    .collect()
}
