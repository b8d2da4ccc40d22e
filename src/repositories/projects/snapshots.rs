use super::{destinations::destination_columns, rows::select_projects};
use crate::{
    database::{Database, Transaction},
    domain::{Destination, Project, ProjectId, ProjectSnapshot, Relay, StreamId, Tenant},
    error::{Error, Result},
    repositories::{relays::rows::relay_columns, sql::owned_by, streams::rows as stream_rows},
};

/// Snapshots of projects with everything that belongs to them.
#[derive(Debug, Clone)]
pub struct Snapshots {
    database: Database,
}

impl Snapshots {
    /// Snapshots from this database.
    pub fn new(database: Database) -> Self {
        Self { database }
    }

    /// A project of the tenant with its destinations, its live stream and its relays.
    pub async fn take(&self, tenant: Tenant, id: ProjectId) -> Result<ProjectSnapshot> {
        let mut tx = self.database.begin_read_only().await?;
        let project = project(&mut tx, tenant, id).await?;
        let destinations = destinations(&mut tx, id).await?;
        let stream = stream_rows::load_active(&mut tx, id).await?;
        let relays = match &stream {
            Some(stream) => relays(&mut tx, stream.id).await?,
            None => Vec::new(),
        };
        Ok(ProjectSnapshot {
            project,
            destinations,
            stream,
            relays,
        })
    }
}

async fn project(tx: &mut Transaction, tenant: Tenant, id: ProjectId) -> Result<Project> {
    fetch_optional!(
        tx,
        concat!(
            select_projects!(),
            " where p.id = $1 and ",
            owned_by!("$2", "$3")
        ),
        [id, tenant.user, tenant.restricted_to]
    )?
    .ok_or_else(|| Error::not_found("project", id))
}

async fn destinations(tx: &mut Transaction, project_id: ProjectId) -> Result<Vec<Destination>> {
    fetch_all!(
        tx,
        concat!(
            "select ",
            destination_columns!(""),
            " from destinations
             where project_id = $1
             order by id desc",
        ),
        [project_id]
    )
}

async fn relays(tx: &mut Transaction, id: StreamId) -> Result<Vec<Relay>> {
    fetch_all!(
        tx,
        concat!(
            "select ",
            relay_columns!(""),
            " from relays
             where stream_id = $1
             order by destination_id",
        ),
        [id]
    )
}
