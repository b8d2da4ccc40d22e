use tonic::{Request, Response, codegen::BoxStream};
use tracing::Instrument;

use super::{
    response_sender::ResponseSender,
    service::StreamService,
    watch::{WatchSession, WatchStart},
    watch_messages::WatchProject,
};
use crate::{
    auth::{CallAuthorization, Caller},
    domain::{ProjectId, Tenant},
    error::Result,
    proto::v1 as pb,
    transport::Connection,
};

/// The RPC for watching a project.
impl StreamService {
    pub(super) async fn watch_project(
        &self,
        request: Request<pb::WatchProjectRequest>,
    ) -> Result<Response<BoxStream<pb::WatchProjectResponse>>> {
        let (caller, authorization) = (Caller::of(&request)?, CallAuthorization::of(&request)?);
        let tenant = caller.tenant()?;
        let closing = Connection::closing_of(&request);
        let WatchProject { id, after_revision } = request.into_inner().try_into()?;

        // Before the project is read, so that no change is missed in between.
        let project = self.hub.watch(tenant.user, id)?;
        let start = self.watch_start(tenant, id, after_revision).await?;
        let (sender, stream) = ResponseSender::channel();
        let watch = WatchSession {
            project,
            events: self.events.clone(),
            authorization,
            timeouts: self.watch_timeouts,
            closing,
            sender,
        };
        tokio::spawn(watch.run(start).in_current_span());

        Ok(Response::new(stream))
    }

    async fn watch_start(
        &self,
        tenant: Tenant,
        id: ProjectId,
        after_revision: i64,
    ) -> Result<WatchStart> {
        if after_revision == 0 {
            let snapshot = self.projects.snapshot(tenant, id).await?;
            return Ok(WatchStart::Snapshot(Box::new(snapshot.into())));
        }
        let revision = self.events.resume(tenant, id, after_revision).await?;
        Ok(WatchStart::After {
            after_revision,
            revision,
        })
    }
}
