use tonic::{Request, Response, codegen::BoxStream};
use tracing::Instrument;

use super::{
    response_sender::Outlet,
    watch::{Start, Watch, WatchTimes},
    watch_messages::WatchProject,
};
use crate::{
    auth::{Caller, Permit},
    domain::{ProjectId, Tenant},
    error::Result,
    proto::v1 as pb,
    repositories::{Events, Snapshots},
    transport::Connection,
    watching::Hub,
};

/// The RPC of those who watch.
#[derive(Debug)]
pub(super) struct WatchRpcs {
    pub snapshots: Snapshots,
    pub events: Events,
    pub hub: Hub,
    pub times: WatchTimes,
}

impl WatchRpcs {
    pub async fn watch_project(
        &self,
        request: Request<pb::WatchProjectRequest>,
    ) -> Result<Response<BoxStream<pb::WatchProjectResponse>>> {
        let (caller, permit) = (Caller::of(&request)?, Permit::of(&request)?);
        let tenant = caller.tenant()?;
        let closing = Connection::closing_of(&request);
        let WatchProject { id, after_revision } = request.into_inner().try_into()?;

        // Before it is read, so that no change falls in between.
        let project = self.hub.watch(tenant.user, id)?;
        let start = self.start(tenant, id, after_revision).await?;
        let (outlet, answer) = Outlet::open();
        let watch = Watch {
            project,
            events: self.events.clone(),
            permit,
            times: self.times,
            closing,
            outlet,
        };
        tokio::spawn(watch.run(start).in_current_span());

        Ok(Response::new(answer))
    }

    async fn start(&self, tenant: Tenant, id: ProjectId, after_revision: i64) -> Result<Start> {
        if after_revision == 0 {
            let snapshot = self.snapshots.take(tenant, id).await?;
            return Ok(Start::Snapshot(Box::new(snapshot.into())));
        }
        let revision = self.events.resume(tenant, id, after_revision).await?;
        Ok(Start::After {
            after_revision,
            revision,
        })
    }
}
