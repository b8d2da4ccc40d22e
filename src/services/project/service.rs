use tonic::{Request, Response, Status};

use super::{
    destination_messages::{UpdateDestination, read_create_destination},
    messages::{read_create_project, read_rotate_stream_key, read_update_project},
};
use crate::{
    auth::{Caller, Sealer},
    database::Database,
    domain::{Platform, StreamKey, UrlPolicy, now},
    error::{Error, Result},
    proto::v1 as pb,
    repositories::{Created, Destinations, Projects, StreamKeys},
    services::{
        fields::{read_id, timestamp},
        paging::PageTokens,
        rpc::tenant_and_audit,
    },
};

/// The service for projects, stream keys and destinations.
#[derive(Debug)]
pub struct ProjectService {
    projects: Projects,
    stream_keys: StreamKeys,
    destinations: Destinations,
    page_tokens: PageTokens,
    sealer: Sealer,
    url_policy: UrlPolicy,
}

impl ProjectService {
    /// The service of a database. The sealer seals stream keys and destination keys, and a
    /// project has at most `max_destinations`.
    pub fn new(
        database: Database,
        sealer: Sealer,
        url_policy: UrlPolicy,
        max_destinations: u32,
    ) -> Self {
        Self {
            projects: Projects::new(database.clone()),
            stream_keys: StreamKeys::new(database.clone()),
            destinations: Destinations::new(database, max_destinations.into()),
            page_tokens: PageTokens::new(sealer.clone()),
            sealer,
            url_policy,
        }
    }
}

#[tonic::async_trait]
impl pb::project_service_server::ProjectService for ProjectService {
    async fn create_project(
        &self,
        request: Request<pb::CreateProjectRequest>,
    ) -> Result<Response<pb::CreateProjectResponse>, Status> {
        let (tenant, audit) = tenant_and_audit(&request, "CreateProject")?;
        if tenant.restricted_to.is_some() {
            return Err(Error::ApiKeyRestricted.into());
        }
        let (project, stream_key) =
            read_create_project(request.into_inner(), tenant.user, &self.sealer)?;

        let audit = audit.with_resource(project.id);
        let created = self
            .projects
            .create(tenant, &project, &audit, now())
            .await?;
        let (project, stream_key) = match created {
            Created::New(project) => (project, stream_key),
            Created::Existing(project) => {
                let sealed = self.stream_keys.get(tenant, project.id, &audit).await?;
                let key = StreamKey::unseal(&sealed, project.id, &self.sealer)?;
                (project, key)
            }
        };

        Ok(Response::new(pb::CreateProjectResponse {
            project: Some(project.into()),
            stream_key: stream_key.0.expose().to_owned(),
        }))
    }

    async fn get_project(
        &self,
        request: Request<pb::GetProjectRequest>,
    ) -> Result<Response<pb::GetProjectResponse>, Status> {
        let tenant = Caller::of(&request)?.tenant()?;
        let id = read_id("project_id", &request.get_ref().project_id)?;

        let project = self.projects.get(tenant, id).await?;

        let project = Some(project.into());
        Ok(Response::new(pb::GetProjectResponse { project }))
    }

    async fn list_projects(
        &self,
        request: Request<pb::ListProjectsRequest>,
    ) -> Result<Response<pb::ListProjectsResponse>, Status> {
        let tenant = Caller::of(&request)?.tenant()?;
        let message = request.into_inner();
        let list = format!("projects/{tenant:?}");
        let list = self
            .page_tokens
            .read_single(list, message.page_size, &message.page_token)?;

        let projects = self.projects.list(tenant, list.page).await?;

        let (projects, next_page_token) =
            self.page_tokens.page(&list, projects, |row| row.id.uuid());
        Ok(Response::new(pb::ListProjectsResponse {
            projects,
            next_page_token,
        }))
    }

    async fn update_project(
        &self,
        request: Request<pb::UpdateProjectRequest>,
    ) -> Result<Response<pb::UpdateProjectResponse>, Status> {
        let (tenant, audit) = tenant_and_audit(&request, "UpdateProject")?;
        let (id, update) = read_update_project(request.into_inner())?;

        let project = self
            .projects
            .update(tenant, id, &update, &audit.with_resource(id), now())
            .await?;

        let project = Some(project.into());
        Ok(Response::new(pb::UpdateProjectResponse { project }))
    }

    async fn delete_project(
        &self,
        request: Request<pb::DeleteProjectRequest>,
    ) -> Result<Response<pb::DeleteProjectResponse>, Status> {
        let (tenant, audit) = tenant_and_audit(&request, "DeleteProject")?;
        let pb::DeleteProjectRequest { project_id, force } = request.into_inner();
        let id = read_id("project_id", &project_id)?;

        let audit = audit.with_resource(id);
        self.projects
            .delete(tenant, id, force, &audit, now())
            .await?;

        Ok(Response::new(pb::DeleteProjectResponse {}))
    }

    async fn rotate_stream_key(
        &self,
        request: Request<pb::RotateStreamKeyRequest>,
    ) -> Result<Response<pb::RotateStreamKeyResponse>, Status> {
        let (tenant, audit) = tenant_and_audit(&request, "RotateStreamKey")?;
        let (id, grace) = read_rotate_stream_key(request.into_inner())?;
        let key = StreamKey::generate();
        let sealed = key.seal(id, &self.sealer);

        let (project, previous_key_expire_time) = self
            .stream_keys
            .rotate(tenant, id, &sealed, grace, &audit.with_resource(id), now())
            .await?;

        Ok(Response::new(pb::RotateStreamKeyResponse {
            project: Some(project.into()),
            stream_key: key.0.expose().to_owned(),
            previous_key_expire_time: previous_key_expire_time.map(timestamp),
        }))
    }

    async fn reveal_stream_key(
        &self,
        request: Request<pb::RevealStreamKeyRequest>,
    ) -> Result<Response<pb::RevealStreamKeyResponse>, Status> {
        let (tenant, audit) = tenant_and_audit(&request, "RevealStreamKey")?;
        let id = read_id("project_id", &request.get_ref().project_id)?;

        let audit = audit.with_resource(id);
        let sealed = self.stream_keys.reveal(tenant, id, &audit, now()).await?;
        let key = StreamKey::unseal(&sealed, id, &self.sealer)?;

        let stream_key = key.0.expose().to_owned();
        Ok(Response::new(pb::RevealStreamKeyResponse { stream_key }))
    }

    async fn create_destination(
        &self,
        request: Request<pb::CreateDestinationRequest>,
    ) -> Result<Response<pb::CreateDestinationResponse>, Status> {
        let (tenant, audit) = tenant_and_audit(&request, "CreateDestination")?;
        let (destination, idempotency) = read_create_destination(
            request.into_inner(),
            tenant.user,
            &self.sealer,
            &self.url_policy,
        )?;

        let audit = audit.with_resource(destination.id);
        let created = self
            .destinations
            .create(tenant, &destination, idempotency.as_ref(), &audit, now())
            .await?;

        let (Created::New(destination) | Created::Existing(destination)) = created;
        let destination = Some(destination.into());
        Ok(Response::new(pb::CreateDestinationResponse { destination }))
    }

    async fn get_destination(
        &self,
        request: Request<pb::GetDestinationRequest>,
    ) -> Result<Response<pb::GetDestinationResponse>, Status> {
        let tenant = Caller::of(&request)?.tenant()?;
        let id = read_id("destination_id", &request.get_ref().destination_id)?;

        let (destination, _) = self.destinations.get(tenant, id).await?;

        let destination = Some(destination.into());
        Ok(Response::new(pb::GetDestinationResponse { destination }))
    }

    async fn list_destinations(
        &self,
        request: Request<pb::ListDestinationsRequest>,
    ) -> Result<Response<pb::ListDestinationsResponse>, Status> {
        let tenant = Caller::of(&request)?.tenant()?;
        let message = request.into_inner();
        let (project_id, list) = self.page_tokens.read_of_project(
            "destinations",
            tenant,
            &message.project_id,
            message.page_size,
            &message.page_token,
        )?;

        self.projects.get(tenant, project_id).await?;
        let destinations = self
            .destinations
            .list(tenant, project_id, list.page)
            .await?;

        let (destinations, next_page_token) = self
            .page_tokens
            .page(&list, destinations, |row| row.id.uuid());
        Ok(Response::new(pb::ListDestinationsResponse {
            destinations,
            next_page_token,
        }))
    }

    async fn update_destination(
        &self,
        request: Request<pb::UpdateDestinationRequest>,
    ) -> Result<Response<pb::UpdateDestinationResponse>, Status> {
        let (tenant, audit) = tenant_and_audit(&request, "UpdateDestination")?;
        let update = UpdateDestination::read(request.into_inner(), &self.url_policy)?;

        let (before, key) = self.destinations.get(tenant, update.id).await?;
        let after = update.apply(&before, key, &self.sealer, &self.url_policy)?;
        let audit = audit.with_resource(after.id);
        let destination = self
            .destinations
            .replace(tenant, &after, before.update_time, &audit, now())
            .await?;

        let destination = Some(destination.into());
        Ok(Response::new(pb::UpdateDestinationResponse { destination }))
    }

    async fn delete_destination(
        &self,
        request: Request<pb::DeleteDestinationRequest>,
    ) -> Result<Response<pb::DeleteDestinationResponse>, Status> {
        let (tenant, audit) = tenant_and_audit(&request, "DeleteDestination")?;
        let id = read_id("destination_id", &request.get_ref().destination_id)?;

        let audit = audit.with_resource(id);
        self.destinations.delete(tenant, id, &audit, now()).await?;

        Ok(Response::new(pb::DeleteDestinationResponse {}))
    }

    async fn list_platforms(
        &self,
        request: Request<pb::ListPlatformsRequest>,
    ) -> Result<Response<pb::ListPlatformsResponse>, Status> {
        Caller::of(&request)?;

        let platforms = Platform::ALL.map(|platform| platform.info().into()).into();
        Ok(Response::new(pb::ListPlatformsResponse { platforms }))
    }
}
