use tonic::{Request, Response};

use super::{
    messages::{read_list_streams, read_stop_stream},
    service::StreamService,
};
use crate::{
    auth::Caller,
    domain::now,
    error::Result,
    proto::v1 as pb,
    services::{fields::read_id, rpc::tenant_and_audit},
};

/// The RPCs with which owners control streams.
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
        let (project_id, status, list) = read_list_streams(message, tenant, &self.page_tokens)?;

        self.projects.get(tenant, project_id).await?;
        let streams = self
            .streams
            .list(tenant, project_id, status, list.page)
            .await?;

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
        let (project_id, list) = self.page_tokens.read_of_project(
            "refusals",
            tenant,
            &message.project_id,
            message.page_size,
            &message.page_token,
        )?;

        self.projects.get(tenant, project_id).await?;
        let refusals = self.refusals.list(tenant, project_id, list.page).await?;

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
        let (id, hold) = read_stop_stream(request.into_inner())?;

        let stream = self
            .streams
            .stop(tenant, id, hold, &audit.with_resource(id), now())
            .await?;

        let stream = Some(stream.into());
        Ok(Response::new(pb::StopStreamResponse { stream }))
    }
}
