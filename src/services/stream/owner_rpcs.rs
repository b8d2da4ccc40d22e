use tonic::{Request, Response};

use super::{
    messages::{read_list_refusals, read_list_stream_samples, read_list_streams, read_stop_stream},
    service::StreamService,
};
use crate::{
    domain::{StreamSample, now},
    error::Result,
    proto::v1 as pb,
    services::{
        fields::read_id,
        rpc::{tenant, tenant_and_audit},
    },
};

/// The RPCs with which owners control streams.
impl StreamService {
    pub(super) async fn get_stream(
        &self,
        request: Request<pb::GetStreamRequest>,
    ) -> Result<Response<pb::GetStreamResponse>> {
        let tenant = tenant(&request)?;
        let id = read_id("stream_id", &request.get_ref().stream_id)?;

        let stream = self.streams.get(tenant, id).await?;

        let stream = Some(stream.into());
        Ok(Response::new(pb::GetStreamResponse { stream }))
    }

    pub(super) async fn list_streams(
        &self,
        request: Request<pb::ListStreamsRequest>,
    ) -> Result<Response<pb::ListStreamsResponse>> {
        let tenant = tenant(&request)?;
        let message = request.into_inner();
        let own = tenant;
        let (tenant, filter, list) = read_list_streams(message, tenant, &self.page_tokens)?;

        self.projects
            .require_chosen_organization(tenant, own)
            .await?;
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

    pub(super) async fn list_stream_samples(
        &self,
        request: Request<pb::ListStreamSamplesRequest>,
    ) -> Result<Response<pb::ListStreamSamplesResponse>> {
        let tenant = tenant(&request)?;
        let message = request.into_inner();
        let (id, sampled, list) = read_list_stream_samples(message, tenant, &self.page_tokens)?;

        self.streams.get(tenant, id).await?;
        let samples = self.samples.list(tenant, id, sampled, list.page).await?;

        let (samples, next_page_token) = self.page_tokens.page(&list, samples, StreamSample::id);
        Ok(Response::new(pb::ListStreamSamplesResponse {
            samples,
            next_page_token,
        }))
    }

    pub(super) async fn list_refusals(
        &self,
        request: Request<pb::ListRefusalsRequest>,
    ) -> Result<Response<pb::ListRefusalsResponse>> {
        let tenant = tenant(&request)?;
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
}
