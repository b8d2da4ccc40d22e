use tonic::{Request, Response, codegen::BoxStream};

use super::{
    claim_session::ClaimSession, relay_messages::ReportRelays, response_sender::ResponseSender,
    service::StreamService,
};
use crate::{
    auth::{CallAuthorization, Caller},
    domain::now,
    error::Result,
    proto::v1 as pb,
    services::fields::timestamp,
    transport::Connection,
};

/// The RPCs for relay workers.
impl StreamService {
    pub(super) async fn claim_relays(
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

    pub(super) async fn report_relays(
        &self,
        request: Request<pb::ReportRelaysRequest>,
    ) -> Result<Response<pb::ReportRelaysResponse>> {
        Caller::of(&request)?;
        let ReportRelays { worker_id, reports } = request.into_inner().try_into()?;

        let now = now();
        let lost = self.reports.report(&worker_id, reports, now).await?;

        Ok(Response::new(pb::ReportRelaysResponse {
            lost_lease_ids: lost.iter().map(ToString::to_string).collect(),
            lease_expire_time: Some(timestamp(now + self.relay_timeouts.lease)),
        }))
    }
}
