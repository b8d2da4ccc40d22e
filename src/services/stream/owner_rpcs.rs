use tonic::{Request, Response, codegen::BoxStream};
use tracing::Instrument;

use super::{
    messages::{read_list_refusals, read_list_streams, read_stop_stream},
    response_sender::ResponseSender,
    service::StreamService,
    watch::{WatchSession, WatchStart, read_watch_project},
};
use crate::{
    auth::{CallAuthorization, Caller},
    domain::{ProjectId, Tenant, now},
    error::Result,
    proto::v1 as pb,
    services::{fields::read_id, rpc::tenant_and_audit},
    transport::Connection,
};

/// The RPCs with which owners control streams and watch projects.
impl StreamService {
    pub(super) async fn get_stream(
        &self,
        request: Request<pb::GetStreamRequest>,
    ) -> Result<Response<pb::GetStreamResponse>> {
        let tenant = Caller::of(&request)?.tenant()?;
        let id = read_id("stream_id", &request.get_ref().stream_id)?;

        let stream = self.streams.get(tenant, id).await?;

        let stream = Some(stream.into());
        Ok(Response::new(pb::GetStreamResponse { stream }))
    }

    pub(super) async fn list_streams(
        &self,
        request: Request<pb::ListStreamsRequest>,
    ) -> Result<Response<pb::ListStreamsResponse>> {
        let tenant = Caller::of(&request)?.tenant()?;
        let message = request.into_inner();
        let (filter, list) = read_list_streams(message, tenant, &self.page_tokens)?;

        if let Some(project_id) = filter.project_id {
            self.projects.get(tenant, project_id).await?;
        }
        let streams = self.streams.list(tenant, filter, list.page).await?;

        let (streams, next_page_token) = self.page_tokens.page(&list, streams, |row| row.id.uuid());
        Ok(Response::new(pb::ListStreamsResponse {
            streams,
            next_page_token,
        }))
    }

    pub(super) async fn list_refusals(
        &self,
        request: Request<pb::ListRefusalsRequest>,
    ) -> Result<Response<pb::ListRefusalsResponse>> {
        let tenant = Caller::of(&request)?.tenant()?;
        let message = request.into_inner();
        let (project_id, created, list) = read_list_refusals(message, tenant, &self.page_tokens)?;

        self.projects.get(tenant, project_id).await?;
        let refusals = self
            .refusals
            .list(tenant, project_id, created, list.page)
            .await?;

        let (refusals, next_page_token) =
            self.page_tokens.page(&list, refusals, |row| row.id.uuid());
        Ok(Response::new(pb::ListRefusalsResponse {
            refusals,
            next_page_token,
        }))
    }

    pub(super) async fn stop_stream(
        &self,
        request: Request<pb::StopStreamRequest>,
    ) -> Result<Response<pb::StopStreamResponse>> {
        let (tenant, audit) = tenant_and_audit(&request, "StopStream")?;
        let message = request.into_inner();
        let (id, hold, idempotency) = read_stop_stream(message, tenant.user, &self.sealer)?;

        let (idempotency, audit) = (idempotency.as_ref(), audit.with_resource(id));
        let stream = self
            .streams
            .stop(tenant, id, hold, idempotency, &audit, now())
            .await?;

        let stream = Some(stream.into());
        Ok(Response::new(pb::StopStreamResponse { stream }))
    }

    pub(super) async fn watch_project(
        &self,
        request: Request<pb::WatchProjectRequest>,
    ) -> Result<Response<BoxStream<pb::WatchProjectResponse>>> {
        let (caller, authorization) = (Caller::of(&request)?, CallAuthorization::of(&request)?);
        let tenant = caller.tenant()?;
        let closing = Connection::closing_of(&request);
        let (id, after_revision) = read_watch_project(request.into_inner())?;

        // Before the project is read, so that no change is missed in between.
        let project = self.hub.watch(tenant.user, id)?;
        let start = self.watch_start(tenant, id, after_revision).await?;
        let (sender, stream) = ResponseSender::channel();
        let watch = WatchSession {
            project,
            events: self.events.clone(),
            authorization,
            heartbeat_interval: self.watch_heartbeat,
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
