use prost::Message;
use tonic::{Request, Response, codegen::BoxStream};
use uuid::Uuid;

use super::{
    claim_session::ClaimSession,
    relay_messages::{
        WorkerReports, read_claimant, read_list_relays, read_relay_ids, read_report_relays,
    },
    response_sender::ResponseSender,
    service::StreamService,
};
use crate::{
    auth::{CallAuthorization, Caller},
    domain::{Relay, now},
    error::{Error, Result},
    proto::v1 as pb,
    services::{
        fields::{Fields, duration, read_idempotency, timestamp},
        rpc::{tenant, tenant_and_audit},
    },
    transport::Connection,
};

/// The RPCs with which owners control relays.
impl StreamService {
    pub(super) async fn start_relay(
        &self,
        request: Request<pb::StartRelayRequest>,
    ) -> Result<Response<pb::StartRelayResponse>> {
        let (tenant, audit) = tenant_and_audit(&request, "StartRelay")?;
        let message = request.into_inner();
        let content = message.encode_to_vec();
        let pb::StartRelayRequest {
            stream_id,
            destination_id,
            request_id,
        } = message;
        let (ids, idempotency) = Fields::read_all(|fields| {
            let ids = read_relay_ids(fields, &stream_id, &destination_id);
            let (user, method) = (tenant.user, "StartRelay");
            let idempotency =
                read_idempotency(fields, user, &request_id, method, &content, &self.sealer);
            ids.zip(idempotency)
        })?;

        let (idempotency, audit) = (idempotency.as_ref(), audit.with_resource(ids.1));
        let relay = self
            .relays
            .change(tenant, ids, Relay::start, idempotency, &audit, now())
            .await?;

        let relay = Some(relay.into());
        Ok(Response::new(pb::StartRelayResponse { relay }))
    }

    pub(super) async fn stop_relay(
        &self,
        request: Request<pb::StopRelayRequest>,
    ) -> Result<Response<pb::StopRelayResponse>> {
        let (tenant, audit) = tenant_and_audit(&request, "StopRelay")?;
        let message = request.into_inner();
        let content = message.encode_to_vec();
        let pb::StopRelayRequest {
            stream_id,
            destination_id,
            request_id,
        } = message;
        let (ids, idempotency) = Fields::read_all(|fields| {
            let ids = read_relay_ids(fields, &stream_id, &destination_id);
            let (user, method) = (tenant.user, "StopRelay");
            let idempotency =
                read_idempotency(fields, user, &request_id, method, &content, &self.sealer);
            ids.zip(idempotency)
        })?;

        let (idempotency, audit) = (idempotency.as_ref(), audit.with_resource(ids.1));
        let relay = self
            .relays
            .change(tenant, ids, Relay::stop, idempotency, &audit, now())
            .await?;

        let relay = Some(relay.into());
        Ok(Response::new(pb::StopRelayResponse { relay }))
    }

    pub(super) async fn list_relays(
        &self,
        request: Request<pb::ListRelaysRequest>,
    ) -> Result<Response<pb::ListRelaysResponse>> {
        let tenant = tenant(&request)?;
        let message = request.into_inner();
        let (id, state, list) = read_list_relays(message, tenant, &self.page_tokens)?;

        self.streams.get(tenant, id).await?;
        let relays = self.relays.list(tenant, id, state, list.page).await?;

        // Its ids ascend, so a page token has the complement.
        let (relays, next_page_token) = self.page_tokens.page(&list, relays, |row| {
            Uuid::from_u128(!row.destination_id.uuid().as_u128())
        });
        Ok(Response::new(pb::ListRelaysResponse {
            relays,
            next_page_token,
        }))
    }
}

/// The RPCs for relay workers.
impl StreamService {
    pub(super) async fn claim_relays(
        &self,
        request: Request<pb::ClaimRelaysRequest>,
    ) -> Result<Response<BoxStream<pb::ClaimRelaysResponse>>> {
        let authorization = CallAuthorization::of(&request)?;
        let closing = Connection::closing_of(&request);
        let checks_destinations = request.get_ref().checks_destinations;
        let (worker, previous) = read_claimant(request.into_inner(), authorization.caller())?;
        let key = authorization.caller().operator_key()?;
        let (leases, bound) = (&self.relay_leases, authorization.caller().bound_node());
        if let Some(previous) = &previous {
            leases.require_worker_of(previous, bound).await?;
        }
        leases.record_worker(&worker, key, bound, now()).await?;
        if let Some(previous) = &previous {
            self.claim_dispatch.replace(previous);
            leases.end_leases(previous, now()).await?;
        }

        let (sender, stream) = ResponseSender::channel();
        let dispatch = &self.check_dispatch;
        let checks = checks_destinations.then(|| dispatch.add(&worker.worker_id, &worker.node_id));
        let session = ClaimSession {
            waker: self.claim_dispatch.add(&worker),
            worker,
            key,
            authorization,
            relay_leases: self.relay_leases.clone(),
            sealer: self.sealer.clone(),
            checks,
            closing,
        };
        tokio::spawn(session.run(sender));

        Ok(Response::new(stream))
    }

    pub(super) async fn report_relays(
        &self,
        request: Request<pb::ReportRelaysRequest>,
    ) -> Result<Response<pb::ReportRelaysResponse>> {
        let caller = Caller::of(&request)?;
        let WorkerReports {
            worker_id,
            reports,
            checks,
        } = read_report_relays(request.into_inner())?;

        self.relay_leases
            .require_worker_of(&worker_id, caller.bound_node())
            .await?;
        let (now, lease) = (now(), self.relay_leases.times.lease);
        let lost = self.relay_leases.report(&worker_id, reports, now).await?;
        for (id, results) in checks {
            let results = serde_json::to_string(&results).map_err(Error::internal)?;
            self.checks.store_results(id, &worker_id, &results).await?;
        }

        Ok(Response::new(pb::ReportRelaysResponse {
            lost_lease_ids: lost.iter().map(ToString::to_string).collect(),
            lease_expire_time: Some(timestamp(now + lease)),
            lease_duration: Some(duration(lease)),
        }))
    }
}
