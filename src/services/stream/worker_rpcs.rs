use tonic::{Request, Response, codegen::BoxStream};

use super::{claim_session::Claiming, relay_messages::ReportRelays, response_sender::Outlet};
use crate::{
    auth::{Caller, Permit, Sealer},
    domain::{RelayTimes, now},
    error::Result,
    proto::v1 as pb,
    repositories::{RelayClaims, RelayWork},
    services::fields::timestamp,
    transport::Connection,
};

/// The RPCs of relay workers.
#[derive(Debug)]
pub(super) struct WorkerRpcs {
    pub claims: RelayClaims,
    pub work: RelayWork,
    pub sealer: Sealer,
    pub times: RelayTimes,
}

impl WorkerRpcs {
    pub async fn claim_relays(
        &self,
        request: Request<pb::ClaimRelaysRequest>,
    ) -> Result<Response<BoxStream<pb::ClaimRelaysResponse>>> {
        let permit = Permit::of(&request)?;
        let closing = Connection::closing_of(&request);
        let claimant = request.into_inner().try_into()?;

        let (outlet, answer) = Outlet::open();
        let claiming = Claiming {
            claimant,
            permit,
            claims: self.claims.clone(),
            work: self.work.clone(),
            sealer: self.sealer.clone(),
            closing,
        };
        tokio::spawn(claiming.run(outlet));

        Ok(Response::new(answer))
    }

    pub async fn report_relays(
        &self,
        request: Request<pb::ReportRelaysRequest>,
    ) -> Result<Response<pb::ReportRelaysResponse>> {
        Caller::of(&request)?;
        let ReportRelays { worker_id, reports } = request.into_inner().try_into()?;

        let now = now();
        let lost = self.work.report(&worker_id, reports, now).await?;

        Ok(Response::new(pb::ReportRelaysResponse {
            lost_lease_ids: lost.iter().map(ToString::to_string).collect(),
            lease_expire_time: Some(timestamp(now + self.times.lease)),
        }))
    }
}
