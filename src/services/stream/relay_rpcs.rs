use tonic::{Request, Response};

use super::{relay_messages::relay_ids, service::StreamService};
use crate::{
    auth::Caller,
    domain::{StreamId, now},
    error::Result,
    proto::v1 as pb,
    services::{fields::read_field, request_origin::tenant_and_audit},
};

/// The RPCs with which owners control relays.
impl StreamService {
    pub(super) async fn start_relay(
        &self,
        request: Request<pb::StartRelayRequest>,
    ) -> Result<Response<pb::StartRelayResponse>> {
        let (tenant, audit) = tenant_and_audit(&request, "StartRelay")?;
        let pb::StartRelayRequest {
            stream_id,
            destination_id,
        } = request.into_inner();
        let (stream_id, destination_id) = relay_ids(&stream_id, &destination_id)?;

        let audit = audit.with_resource(destination_id);
        let relay = self
            .relays
            .start(tenant, stream_id, destination_id, &audit, now())
            .await?;

        let relay = Some(relay.into());
        Ok(Response::new(pb::StartRelayResponse { relay }))
    }

    pub(super) async fn stop_relay(
        &self,
        request: Request<pb::StopRelayRequest>,
    ) -> Result<Response<pb::StopRelayResponse>> {
        let (tenant, audit) = tenant_and_audit(&request, "StopRelay")?;
        let pb::StopRelayRequest {
            stream_id,
            destination_id,
        } = request.into_inner();
        let (stream_id, destination_id) = relay_ids(&stream_id, &destination_id)?;

        let audit = audit.with_resource(destination_id);
        let relay = self
            .relays
            .stop(tenant, stream_id, destination_id, &audit, now())
            .await?;

        let relay = Some(relay.into());
        Ok(Response::new(pb::StopRelayResponse { relay }))
    }

    pub(super) async fn list_relays(
        &self,
        request: Request<pb::ListRelaysRequest>,
    ) -> Result<Response<pb::ListRelaysResponse>> {
        let tenant = Caller::of(&request)?.tenant()?;
        let id = read_field("stream_id", StreamId::parse(&request.get_ref().stream_id))?;

        self.streams.get(tenant, id).await?;
        let relays = self.relays.list(tenant, id).await?;

        let relays = relays.into_iter().map(pb::Relay::from).collect();
        Ok(Response::new(pb::ListRelaysResponse { relays }))
    }
}
