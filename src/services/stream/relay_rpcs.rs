use tonic::{Request, Response};

use super::relay_messages::RelayOf;
use crate::{
    auth::Caller,
    domain::{StreamId, now},
    error::Result,
    proto::v1 as pb,
    repositories::{Relays, Streams},
    services::{fields::only, request_origin::acting},
};

/// The RPCs of owners about the relays of their streams.
#[derive(Debug)]
pub(super) struct RelayRpcs {
    pub streams: Streams,
    pub relays: Relays,
}

impl RelayRpcs {
    pub async fn start_relay(
        &self,
        request: Request<pb::StartRelayRequest>,
    ) -> Result<Response<pb::StartRelayResponse>> {
        let (tenant, act) = acting(&request, "StartRelay")?;
        let RelayOf {
            stream_id,
            destination_id,
        } = request.into_inner().try_into()?;

        let act = act.on(destination_id);
        let relay = self
            .relays
            .start(tenant, stream_id, destination_id, &act, now())
            .await?;

        let relay = Some(relay.into());
        Ok(Response::new(pb::StartRelayResponse { relay }))
    }

    pub async fn stop_relay(
        &self,
        request: Request<pb::StopRelayRequest>,
    ) -> Result<Response<pb::StopRelayResponse>> {
        let (tenant, act) = acting(&request, "StopRelay")?;
        let RelayOf {
            stream_id,
            destination_id,
        } = request.into_inner().try_into()?;

        let act = act.on(destination_id);
        let relay = self
            .relays
            .stop(tenant, stream_id, destination_id, &act, now())
            .await?;

        let relay = Some(relay.into());
        Ok(Response::new(pb::StopRelayResponse { relay }))
    }

    pub async fn list_relays(
        &self,
        request: Request<pb::ListRelaysRequest>,
    ) -> Result<Response<pb::ListRelaysResponse>> {
        let tenant = Caller::of(&request)?.tenant()?;
        let id = only("stream_id", StreamId::parse(&request.get_ref().stream_id))?;

        self.streams.get(tenant, id).await?;
        let relays = self.relays.list(tenant, id).await?;

        let relays = relays.into_iter().map(pb::Relay::from).collect();
        Ok(Response::new(pb::ListRelaysResponse { relays }))
    }
}
