use tonic::{Request, Response, codegen::BoxStream};

use super::{
    claim_session::ClaimSession, relay_messages::ReportRelays, response_sender::ResponseSender,
};
use crate::{
    auth::{CallAuthorization, Caller, Sealer},
    domain::{RelayTimeouts, now},
    error::Result,
    proto::v1 as pb,
    repositories::{RelayClaims, RelayReports},
    services::fields::timestamp,
    transport::Connection,
};

/// The RPCs for relay workers.
#[derive(Debug)]
pub(super) struct WorkerRpcs {
    pub claims: RelayClaims,
    pub reports: RelayReports,
    pub sealer: Sealer,
    pub timeouts: RelayTimeouts,
}

impl WorkerRpcs {
    pub async fn claim_relays(
        &self,
        request: Request<pb::ClaimRelaysRequest>,
    ) -> Result<Response<BoxStream<pb::ClaimRelaysResponse>>> {
        let authorization = CallAuthorization::of(&request)?;
        let closing = Connection::closing_of(&request);
        let worker = request.into_inner().try_into()?;

        let (sender, stream) = ResponseSender::channel();
        let session = ClaimSession {
            worker,
            authorization,
            claims: self.claims.clone(),
            reports: self.reports.clone(),
            sealer: self.sealer.clone(),
            closing,
        };
        tokio::spawn(session.run(sender));

        Ok(Response::new(stream))
    }

    pub async fn report_relays(
        &self,
        request: Request<pb::ReportRelaysRequest>,
    ) -> Result<Response<pb::ReportRelaysResponse>> {
        Caller::of(&request)?;
        let ReportRelays { worker_id, reports } = request.into_inner().try_into()?;

        let now = now();
        let lost = self.reports.report(&worker_id, reports, now).await?;

        Ok(Response::new(pb::ReportRelaysResponse {
            lost_lease_ids: lost.iter().map(ToString::to_string).collect(),
            lease_expire_time: Some(timestamp(now + self.timeouts.lease)),
        }))
    }
}
