use std::collections::HashMap;

use tokio::time::Instant;
use tonic::{Request, Response, codegen::BoxStream};
use tracing::Instrument;

use super::{
    response_sender::ResponseSender,
    service::StreamService,
    watch::{MAX_PROJECTS, WatchSession},
    watch_messages::{WatchRequest, WatchResponse},
    watch_progress::{Phase, ProjectProgress, WatchProgress},
};
use crate::{
    auth::CallAuthorization,
    database::Requester,
    domain::{ProjectId, Tenant},
    error::{Error, Result},
    proto::v1 as pb,
    repositories::ResumePoint,
    services::rpc::tenant,
    transport::Connection,
    watching::{Watch, WatchOptions},
};

/// The projects of which one statement reads the revisions.
const START_BATCH_SIZE: usize = 500;

/// The RPCs with which owners watch projects.
impl StreamService {
    pub(super) async fn watch_project(
        &self,
        request: Request<pb::WatchProjectRequest>,
    ) -> Result<Response<BoxStream<pb::WatchProjectResponse>>> {
        self.watch(request).await
    }

    pub(super) async fn watch_projects(
        &self,
        request: Request<pb::WatchProjectsRequest>,
    ) -> Result<Response<BoxStream<pb::WatchProjectsResponse>>> {
        self.watch(request).await
    }

    async fn watch<Q, M>(&self, request: Request<Q>) -> Result<Response<BoxStream<M>>>
    where
        WatchRequest: TryFrom<Q, Error = Error>,
        M: WatchResponse,
    {
        let (tenant, authorization) = (tenant(&request)?, CallAuthorization::of(&request)?);
        let closing = Connection::closing_of(&request);
        let watched = WatchRequest::try_from(request.into_inner())?;

        let options = WatchOptions {
            refusals: !M::IS_SINGLE,
            stats: watched.with_stats,
        };
        let is_of_all = watched.projects.is_empty();
        let own = tenant;
        let organization = watched.organization.unwrap_or(own.organization);
        let tenant = own.in_organization(organization);
        if is_of_all || watched.organization.is_some() {
            let projects = &self.projects;
            projects.require_chosen_organization(tenant, own).await?;
        }
        let mut watch = Watch::begin(&self.hub, tenant.user, options)?;
        let progress = match is_of_all {
            true => self.start_with_all(tenant, &mut watch).await?,
            false => {
                let named = &watched.projects;
                self.start_with::<M>(tenant, named, &mut watch).await?
            }
        };
        let first = watched.projects.first();
        let (sender, stream) = ResponseSender::channel();
        let session = WatchSession {
            tenant,
            watch,
            progress,
            is_of_all,
            events: self.events.clone(),
            projects: self.projects.clone(),
            streams: self.streams.clone(),
            authorization,
            heartbeat_interval: self.intervals.watch,
            closing,
            sender,
            last_revision: first.map(|(_, after)| *after).unwrap_or_default(),
            last_time: Instant::now(),
        };
        let session = Requester::scope(Requester::current(), session.run());
        tokio::spawn(session.in_current_span());

        Ok(Response::new(stream))
    }

    /// Starts with all projects of the tenant's organization.
    async fn start_with_all(&self, tenant: Tenant, watch: &mut Watch) -> Result<WatchProgress> {
        // Before the projects are read, so that none is missed in between.
        watch.follow_created(tenant);
        let limit = i64::try_from(MAX_PROJECTS + 1).unwrap_or(i64::MAX);
        let ids = self.projects.ids(tenant, limit).await?;
        if ids.len() > MAX_PROJECTS {
            return Err(Error::TooManyProjects(MAX_PROJECTS));
        }
        watch.add(&ids)?;

        let mut progress = WatchProgress::default();
        for id in ids {
            let unannounced = ProjectProgress {
                is_known: false,
                ..ProjectProgress::initial(0, Phase::Snapshot)
            };
            progress.add(id, unannounced);
        }
        Ok(progress)
    }

    /// Starts with projects that the caller has named, each after a revision.
    async fn start_with<M: WatchResponse>(
        &self,
        tenant: Tenant,
        named: &[(ProjectId, i64)],
        watch: &mut Watch,
    ) -> Result<WatchProgress> {
        // Before the projects are read, so that no change is missed in between.
        let ids: Vec<_> = named.iter().map(|(id, _)| *id).collect();
        watch.add(&ids)?;
        let mut points = HashMap::with_capacity(named.len());
        for named in named.chunks(START_BATCH_SIZE) {
            let found = self.events.resume_points(tenant, named).await?;
            points.extend(found.into_iter().map(|point| (point.project_id, point)));
        }

        let mut progress = WatchProgress::default();
        for (id, after) in named {
            let phase = first_phase::<M>(*id, *after, points.get(id))?;
            if let Phase::CatchUp { until, .. } = phase {
                watch.begin_at(*id, until);
            }
            progress.add(*id, ProjectProgress::initial(*after, phase));
        }
        Ok(progress)
    }
}

/// How the watch of a project begins that the caller has named; `point` is `None` if the caller
/// cannot see it.
fn first_phase<M: WatchResponse>(
    id: ProjectId,
    after: i64,
    point: Option<&ResumePoint>,
) -> Result<Phase> {
    match point {
        Some(_) if after == 0 => Ok(Phase::Snapshot),
        Some(point) if point.allows(after) => Ok(Phase::CatchUp {
            until: point.revision,
            is_resumed: true,
        }),
        Some(_) if M::IS_SINGLE => Err(Error::ResyncRequired),
        Some(_) => Ok(Phase::Resync),
        None if M::IS_SINGLE || after == 0 => Err(Error::not_found("project", id)),
        None => Ok(Phase::Deleted),
    }
}
