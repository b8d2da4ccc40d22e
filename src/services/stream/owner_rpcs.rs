use tonic::{Request, Response};

use super::{
    messages::{ListStreams, StopStream},
    refusal_messages::ListRefusals,
    service::StreamService,
};
use crate::{
    auth::Caller,
    domain::{StreamId, now},
    error::Result,
    proto::v1 as pb,
    services::{fields::read_field, request_origin::tenant_and_audit},
};

/// The RPCs with which owners control streams.
impl StreamService {
    pub async fn get_stream(
        &self,
        request: Request<pb::GetStreamRequest>,
    ) -> Result<Response<pb::GetStreamResponse>> {
        let tenant = Caller::of(&request)?.tenant()?;
        let id = read_field("stream_id", StreamId::parse(&request.get_ref().stream_id))?;

        let stream = self.streams.get(tenant, id).await?;

        Ok(Response::new(pb::GetStreamResponse {
            stream: Some(stream.into()),
        }))
    }

    pub async fn list_streams(
        &self,
        request: Request<pb::ListStreamsRequest>,
    ) -> Result<Response<pb::ListStreamsResponse>> {
        let tenant = Caller::of(&request)?.tenant()?;
        let ListStreams {
            project_id,
            status,
            list,
        } = ListStreams::read(request.into_inner(), tenant, &self.page_tokens)?;

        self.projects.get(tenant, project_id).await?;
        let mut streams = self
            .streams
            .list(tenant, project_id, status, list.page)
            .await?;

        let next_page_token = self
            .page_tokens
            .truncate(&list, &mut streams, |row| row.id.uuid());
        let streams = streams.into_iter().map(pb::Stream::from).collect();
        Ok(Response::new(pb::ListStreamsResponse {
            streams,
            next_page_token,
        }))
    }

    pub async fn list_refusals(
        &self,
        request: Request<pb::ListRefusalsRequest>,
    ) -> Result<Response<pb::ListRefusalsResponse>> {
        let tenant = Caller::of(&request)?.tenant()?;
        let ListRefusals { project_id, list } =
            ListRefusals::read(request.into_inner(), tenant, &self.page_tokens)?;

        self.projects.get(tenant, project_id).await?;
        let mut refusals = self.refusals.list(tenant, project_id, list.page).await?;

        let next_page_token = self
            .page_tokens
            .truncate(&list, &mut refusals, |row| row.id.uuid());
        let refusals = refusals.into_iter().map(pb::Refusal::from).collect();
        Ok(Response::new(pb::ListRefusalsResponse {
            refusals,
            next_page_token,
        }))
    }

    pub async fn stop_stream(
        &self,
        request: Request<pb::StopStreamRequest>,
    ) -> Result<Response<pb::StopStreamResponse>> {
        let (tenant, audit) = tenant_and_audit(&request, "StopStream")?;
        let StopStream { id, hold } = request.into_inner().try_into()?;

        let stream = self
            .streams
            .stop(tenant, id, hold, &audit.with_resource(id), now())
            .await?;

        Ok(Response::new(pb::StopStreamResponse {
            stream: Some(stream.into()),
        }))
    }
}
