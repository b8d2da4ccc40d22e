use tonic::{Request, Response};

use super::{
    messages::read_list_organizations,
    service::{OperatorService, operator_audit},
};
use crate::{
    auth::Caller,
    domain::{OrganizationId, now},
    error::Result,
    proto::v1 as pb,
    services::fields::read_id,
};

/// The RPCs for organizations.
impl OperatorService {
    pub(super) async fn list_organizations(
        &self,
        request: Request<pb::OperatorServiceListOrganizationsRequest>,
    ) -> Result<Response<pb::OperatorServiceListOrganizationsResponse>> {
        let caller = Caller::of(&request)?.operator_key()?;
        let (filter, list) =
            read_list_organizations(request.into_inner(), caller, &self.page_tokens)?;

        let organizations = self.organizations.list(&filter, list.page).await?;

        let (organizations, next_page_token) =
            self.page_tokens
                .page(&list, organizations, |account| account.id.uuid());
        Ok(Response::new(
            pb::OperatorServiceListOrganizationsResponse {
                organizations,
                next_page_token,
            },
        ))
    }

    pub(super) async fn suspend_organization(
        &self,
        request: Request<pb::SuspendOrganizationRequest>,
    ) -> Result<Response<pb::SuspendOrganizationResponse>> {
        let audit = operator_audit(&request, "SuspendOrganization")?;
        let id: OrganizationId = read_id("organization_id", &request.get_ref().organization_id)?;

        let audit = audit.with_resource(id).with_organization(id);
        self.organizations.suspend(id, &audit, now()).await?;
        let account = self.organizations.get(id).await?;

        let organization = Some(account.into());
        Ok(Response::new(pb::SuspendOrganizationResponse {
            organization,
        }))
    }

    pub(super) async fn resume_organization(
        &self,
        request: Request<pb::ResumeOrganizationRequest>,
    ) -> Result<Response<pb::ResumeOrganizationResponse>> {
        let audit = operator_audit(&request, "ResumeOrganization")?;
        let id: OrganizationId = read_id("organization_id", &request.get_ref().organization_id)?;

        let audit = audit.with_resource(id).with_organization(id);
        self.organizations.resume(id, &audit, now()).await?;
        let account = self.organizations.get(id).await?;

        let organization = Some(account.into());
        Ok(Response::new(pb::ResumeOrganizationResponse {
            organization,
        }))
    }
}
