use std::time::Duration;

use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::{
    check_destination::DestinationChecker,
    destination_messages::{
        CreateDestination, read_create_destination, read_delete_destination, read_list_destinations,
    },
    messages::{
        View, read_create_project, read_delete_project, read_get_project, read_list_projects,
        read_rotate_stream_key, read_update_project,
    },
    update_destination::UpdateDestination,
};
use crate::{
    auth::{AssociatedData, Caller, Sealer},
    check_dispatch::CheckDispatch,
    database::Database,
    domain::{
        AuditContext, Destination, DestinationId, DestinationLint, IngestUrl, Platform,
        ProjectSnapshot, Secret, StreamKey, Tenant, UrlPolicy, now,
    },
    error::{Error, Result},
    proto::v1 as pb,
    repositories::{Created, Destinations, Projects, SealedTarget, StreamKeys},
    services::{
        fields::{read_id, timestamp},
        paging::PageTokens,
        rpc::{tenant, tenant_and_audit},
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
    checker: DestinationChecker,
    recent_authentication: Duration,
}

impl ProjectService {
    /// The service of a database. The sealer seals stream keys and destination keys, and a
    /// project has at most `max_destinations`. Edges of `dispatch` check destinations. Stream keys are
    /// shown and replaced for sessions whose authentication is not older than
    /// `recent_authentication`; zero means any age.
    pub fn new(
        database: Database,
        dispatch: CheckDispatch,
        sealer: Sealer,
        url_policy: UrlPolicy,
        max_destinations: u32,
        recent_authentication: Duration,
    ) -> Self {
        Self {
            projects: Projects::new(database.clone()),
            stream_keys: StreamKeys::new(database.clone()),
            checker: DestinationChecker::new(database.clone(), dispatch),
            destinations: Destinations::new(database, max_destinations.into()),
            page_tokens: PageTokens::new(sealer.clone()),
            sealer,
            url_policy,
            recent_authentication,
        }
    }
}

impl ProjectService {
    /// `ReauthenticationRequired` if the authentication of the caller's session is too old.
    fn require_recent_authentication<T>(&self, request: &Request<T>) -> Result<()> {
        Caller::of(request)?.require_recent_authentication(self.recent_authentication, now())
    }

    /// Changes a destination; returns it with its sealed key.
    async fn change_destination(
        &self,
        tenant: Tenant,
        update: UpdateDestination,
        audit: &AuditContext,
    ) -> Result<(Destination, Vec<u8>)> {
        let (id, options) = (update.id, update.options.clone());
        let before = self.destinations.get(tenant, id).await?;
        options.check_etag(&before.destination.etag())?;
        let after = update.apply(&before, &self.sealer, &self.url_policy)?;
        let read_time = before.destination.update_time;
        let changed = self
            .destinations
            .replace(tenant, &after, read_time, &options, audit, now())
            .await;
        if matches!(changed, Err(Error::ConcurrentChange)) && options.etag.is_some() {
            let now = self.destinations.get(tenant, id).await?;
            options.check_etag(&now.destination.etag())?;
        }
        let key = after.stream_key_sealed.unwrap_or(before.stream_key_sealed);
        Ok((changed?, key))
    }
}

#[tonic::async_trait]
impl pb::project_service_server::ProjectService for ProjectService {
    async fn create_project(
        &self,
        request: Request<pb::CreateProjectRequest>,
    ) -> Result<Response<pb::CreateProjectResponse>, Status> {
        let (tenant, audit) = tenant_and_audit(&request, "CreateProject")?;
        let own = tenant;
        let (tenant, project, stream_key) =
            read_create_project(request.into_inner(), tenant, &self.sealer)?;

        self.projects
            .require_chosen_organization(tenant, own)
            .await?;
        if tenant.restricted {
            return Err(Error::ApiKeyRestricted.into());
        }
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
        let (caller, tenant) = (Caller::of(&request)?, tenant(&request)?);
        let (id, view) = read_get_project(request.get_ref(), &caller)?;

        let project = match view {
            View::Basic => self.projects.get(tenant, id).await?.into(),
            View::Full => self.projects.get_snapshot(tenant, id).await?.into(),
        };

        let project = Some(project);
        Ok(Response::new(pb::GetProjectResponse { project }))
    }

    async fn list_projects(
        &self,
        request: Request<pb::ListProjectsRequest>,
    ) -> Result<Response<pb::ListProjectsResponse>, Status> {
        let (caller, tenant) = (Caller::of(&request)?, tenant(&request)?);
        let own = tenant;
        let (tenant, filter, list, view) =
            read_list_projects(request.get_ref(), &caller, tenant, &self.page_tokens)?;

        self.projects
            .require_chosen_organization(tenant, own)
            .await?;

        let (projects, next_page_token) = match view {
            View::Basic => {
                let projects = self.projects.list(tenant, filter, list.page).await?;
                self.page_tokens.page(&list, projects, |row| row.id.uuid())
            }
            View::Full => {
                let projects = self.projects.list_snapshots(tenant, filter, list.page);
                let id = |row: &ProjectSnapshot| row.project.id.uuid();
                self.page_tokens.page(&list, projects.await?, id)
            }
        };
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
        let message = request.into_inner();
        let (id, update, options) = read_update_project(message, tenant.user, &self.sealer)?;

        let audit = audit.with_resource(id);
        let project = self
            .projects
            .update(tenant, id, &update, &options, &audit, now())
            .await?;

        let project = Some(project.into());
        Ok(Response::new(pb::UpdateProjectResponse { project }))
    }

    async fn delete_project(
        &self,
        request: Request<pb::DeleteProjectRequest>,
    ) -> Result<Response<pb::DeleteProjectResponse>, Status> {
        let (tenant, audit) = tenant_and_audit(&request, "DeleteProject")?;
        let message = request.into_inner();
        let (id, force, options) = read_delete_project(message, tenant.user, &self.sealer)?;

        let audit = audit.with_resource(id);
        self.projects
            .delete(tenant, id, force, &options, &audit, now())
            .await?;

        Ok(Response::new(pb::DeleteProjectResponse {}))
    }

    async fn rotate_stream_key(
        &self,
        request: Request<pb::RotateStreamKeyRequest>,
    ) -> Result<Response<pb::RotateStreamKeyResponse>, Status> {
        let (tenant, audit) = tenant_and_audit(&request, "RotateStreamKey")?;
        self.require_recent_authentication(&request)?;
        let message = request.into_inner();
        let (id, key, new) = read_rotate_stream_key(message, tenant.user, &self.sealer)?;

        let audit = audit.with_resource(id);
        let rotated = self
            .stream_keys
            .rotate(tenant, id, &new, &audit, now())
            .await?;
        let ((project, previous_key_expire_time), key) = match rotated {
            Created::New(rotated) => (rotated, key),
            Created::Existing(rotated) => {
                let sealed = self.stream_keys.get(tenant, id, &audit).await?;
                (rotated, StreamKey::unseal(&sealed, id, &self.sealer)?)
            }
        };

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
        self.require_recent_authentication(&request)?;
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
        let CreateDestination {
            destination: sealed,
            idempotency,
        } = read_create_destination(
            request.into_inner(),
            tenant.user,
            &self.sealer,
            &self.url_policy,
        )?;

        let targets = self
            .destinations
            .list_targets(tenant, sealed.project_id)
            .await?;
        let audit = audit.with_resource(sealed.id);
        let created = self
            .destinations
            .create(tenant, &sealed, idempotency.as_ref(), &audit, now())
            .await?;

        let (destination, key) = match created {
            Created::New(destination) => (destination, sealed.stream_key_sealed.as_deref()),
            Created::Existing(destination) => {
                let own = targets.iter().find(|target| target.id == destination.id);
                (destination, own.map(|own| &*own.stream_key_sealed))
            }
        };
        let lints = lints(&destination, key, &targets, &self.sealer, &self.url_policy);
        Ok(Response::new(pb::CreateDestinationResponse {
            destination: Some(destination.into()),
            lints,
        }))
    }

    async fn get_destination(
        &self,
        request: Request<pb::GetDestinationRequest>,
    ) -> Result<Response<pb::GetDestinationResponse>, Status> {
        let tenant = tenant(&request)?;
        let id = read_id("destination_id", &request.get_ref().destination_id)?;

        let stored = self.destinations.get(tenant, id).await?;

        let destination = Some(stored.destination.into());
        Ok(Response::new(pb::GetDestinationResponse { destination }))
    }

    async fn list_destinations(
        &self,
        request: Request<pb::ListDestinationsRequest>,
    ) -> Result<Response<pb::ListDestinationsResponse>, Status> {
        let tenant = tenant(&request)?;
        let message = request.into_inner();
        let (project_id, filter, list) =
            read_list_destinations(&message, tenant, &self.page_tokens)?;

        self.projects.get(tenant, project_id).await?;
        let destinations = self
            .destinations
            .list(tenant, project_id, filter, list.page)
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
        let message = request.into_inner();
        let update = UpdateDestination::read(message, tenant.user, &self.sealer, &self.url_policy)?;
        let audit = audit.with_resource(update.id);

        let options = update.options.clone();
        let changed = self
            .destinations
            .find_changed(tenant, &options, now())
            .await?;
        let (destination, key) = match changed {
            Some(changed) => (changed.destination, changed.stream_key_sealed),
            None => match self.change_destination(tenant, update, &audit).await {
                // The same request may have changed it meanwhile.
                Err(error @ Error::ConcurrentChange) => {
                    let changed = self
                        .destinations
                        .find_changed(tenant, &options, now())
                        .await?;
                    let changed = changed.ok_or(error)?;
                    (changed.destination, changed.stream_key_sealed)
                }
                changed => changed?,
            },
        };
        let targets = self
            .destinations
            .list_targets(tenant, destination.project_id)
            .await?;
        let key = Some(&*key);
        let lints = lints(&destination, key, &targets, &self.sealer, &self.url_policy);
        Ok(Response::new(pb::UpdateDestinationResponse {
            destination: Some(destination.into()),
            lints,
        }))
    }

    async fn check_destination(
        &self,
        request: Request<pb::CheckDestinationRequest>,
    ) -> Result<Response<pb::CheckDestinationResponse>, Status> {
        let tenant = tenant(&request)?;
        let id = read_id("destination_id", &request.get_ref().destination_id)?;

        let stored = self.destinations.get(tenant, id).await?;
        let answer = self.checker.check(tenant, &stored.destination).await?;

        Ok(Response::new(answer))
    }

    async fn delete_destination(
        &self,
        request: Request<pb::DeleteDestinationRequest>,
    ) -> Result<Response<pb::DeleteDestinationResponse>, Status> {
        let (tenant, audit) = tenant_and_audit(&request, "DeleteDestination")?;
        let message = request.into_inner();
        let (id, options) = read_delete_destination(message, tenant.user, &self.sealer)?;

        let audit = audit.with_resource(id);
        self.destinations
            .delete(tenant, id, &options, &audit, now())
            .await?;

        Ok(Response::new(pb::DeleteDestinationResponse {}))
    }

    async fn list_platforms(
        &self,
        request: Request<pb::ListPlatformsRequest>,
    ) -> Result<Response<pb::ListPlatformsResponse>, Status> {
        let caller = Caller::of(&request)?;
        let message = request.get_ref();
        let list = self.page_tokens.read_single(
            format!("platforms/{caller}"),
            message.page_size,
            &message.page_token,
        )?;

        // The ids of a list descend.
        let id = |index: usize| Uuid::from_u128(u128::MAX - 1 - index as u128);
        let platforms = Platform::ALL.into_iter().enumerate();
        let mut platforms: Vec<_> = platforms
            .filter(|(index, _)| id(*index) < list.page.below)
            .collect();
        let next_page_token = self
            .page_tokens
            .truncate(&list, &mut platforms, |(index, _)| id(*index));
        let platforms = platforms.iter().map(|(_, platform)| platform.info().into());
        Ok(Response::new(pb::ListPlatformsResponse {
            platforms: platforms.collect(),
            next_page_token,
        }))
    }
}

/// The lints of a destination with this sealed key among the destinations of its project. Without
/// the key it is not compared with them.
fn lints(
    destination: &Destination,
    key_sealed: Option<&[u8]>,
    targets: &[SealedTarget],
    sealer: &Sealer,
    policy: &UrlPolicy,
) -> Vec<pb::DestinationLint> {
    let mut lints = DestinationLint::of_url(destination.platform, &destination.url, policy);
    let key = key_sealed.and_then(|key| open_key(destination.id, key, sealer));
    if let Some(key) = key {
        let duplicate = find_duplicate(destination, &key, targets, sealer);
        lints.extend(duplicate.map(DestinationLint::duplicate_of));
        lints.extend(DestinationLint::of_key(destination.platform, &key));
    }
    lints.into_iter().map(Into::into).collect()
}

/// Another destination with the same address and key.
fn find_duplicate(
    destination: &Destination,
    key: &Secret,
    targets: &[SealedTarget],
    sealer: &Sealer,
) -> Option<DestinationId> {
    let url = IngestUrl::saved(&destination.url).ok()?;
    let others = targets.iter().filter(|other| {
        let address = IngestUrl::saved(&other.url);
        other.id != destination.id && address.is_ok_and(|address| address.is_same_ingest(&url))
    });
    others
        .filter(|other| open_key(other.id, &other.stream_key_sealed, sealer).as_ref() == Some(key))
        .map(|other| other.id)
        .next()
}

/// Opens a key. One that cannot be opened is nobody's duplicate.
fn open_key(id: DestinationId, sealed: &[u8], sealer: &Sealer) -> Option<Secret> {
    let opened = sealer.open_text(&AssociatedData::destination_key(id), sealed);
    opened
        .inspect_err(|error| {
            let error = error.with_causes();
            tracing::warn!(destination_id = %id, error, "cannot compare a stream key");
        })
        .ok()
}
