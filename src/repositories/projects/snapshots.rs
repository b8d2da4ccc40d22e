use super::{Projects, destinations::destination_columns, rows::SELECT_OWNED};
use crate::{
    domain::{Project, ProjectId, ProjectSnapshot, Tenant},
    error::{Error, Result},
    repositories::{relays::rows::relay_columns, streams::rows as stream_rows},
};

impl Projects {
    /// A project with its destinations, its live stream and its relays, as of one revision.
    pub async fn snapshot(&self, tenant: Tenant, id: ProjectId) -> Result<ProjectSnapshot> {
        let mut tx = self.database.begin_read_only().await?;
        let project: Option<Project> =
            fetch_optional!(tx, SELECT_OWNED, [id, tenant.user, tenant.restricted_to])?;
        let project = project.ok_or_else(|| Error::not_found("project", id))?;
        let destinations = fetch_all!(
            tx,
            concat!(
                "select ",
                destination_columns!(""),
                " from destinations
                 where project_id = $1
                 order by id desc",
            ),
            [id]
        )?;
        let stream = stream_rows::load_active(&mut tx, id).await?;
        let relays = match &stream {
            None => Vec::new(),
            Some(stream) => fetch_all!(
                tx,
                concat!(
                    "select ",
                    relay_columns!(""),
                    " from relays
                     where stream_id = $1
                     order by destination_id",
                ),
                [stream.id]
            )?,
        };
        Ok(ProjectSnapshot {
            project,
            destinations,
            stream,
            relays,
        })
    }
}
