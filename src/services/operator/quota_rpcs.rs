use tonic::{Request, Response};

use super::service::{OperatorService, operator_audit};
use crate::{
    auth::Caller,
    domain::{Id, now},
    error::Result,
    proto::v1 as pb,
    services::{
        fields::{Fields, read_id},
        usage::read_quota,
    },
};

/// The RPCs for quotas.
impl OperatorService {
    pub(super) async fn get_organization_quota(
        &self,
        request: Request<pb::GetOrganizationQuotaRequest>,
    ) -> Result<Response<pb::GetOrganizationQuotaResponse>> {
        Caller::of(&request)?.operator_key()?;
        let id = read_id("organization_id", &request.get_ref().organization_id)?;

        let (quota, used) = self.quotas.get(id, now()).await?;

        Ok(Response::new(pb::GetOrganizationQuotaResponse {
            quota: Some(quota.into()),
            used: Some(used.into()),
        }))
    }

    pub(super) async fn set_organization_quota(
        &self,
        request: Request<pb::SetOrganizationQuotaRequest>,
    ) -> Result<Response<pb::SetOrganizationQuotaResponse>> {
        let audit = operator_audit(&request, "SetOrganizationQuota")?;
        let pb::SetOrganizationQuotaRequest {
            organization_id,
            quota,
        } = request.into_inner();
        let (id, quota) = Fields::read_all(|fields| {
            let id = fields.read("organization_id", Id::parse(&organization_id));
            let quota = read_quota(fields, quota);
            Some((id?, quota?))
        })?;
        let now = now();

        let audit = audit.with_resource(id);
        self.quotas.set(id, quota, &audit, now).await?;
        let (quota, used) = self.quotas.get(id, now).await?;

        Ok(Response::new(pb::SetOrganizationQuotaResponse {
            quota: Some(quota.into()),
            used: Some(used.into()),
        }))
    }
}
