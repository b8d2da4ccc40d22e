use tonic::{Request, Response};

use super::{
    messages::{
        read_create_organization, read_delete_organization, read_list_audit_events,
        read_update_organization,
    },
    service::{Change, OrganizationService, reader},
};
use crate::{
    domain::{OrganizationId, ProjectId, Role, now},
    error::Result,
    proto::v1 as pb,
    repositories::Created,
    services::fields::{Fields, read_id},
};

/// The RPCs for organizations themselves.
impl OrganizationService {
    pub(super) async fn create_organization(
        &self,
        request: Request<pb::CreateOrganizationRequest>,
    ) -> Result<Response<pb::CreateOrganizationResponse>> {
        let change = self.change(&request, "CreateOrganization", Role::Owner)?;
        let user = change.tenant.user;
        let (display_name, idempotency) =
            read_create_organization(request.into_inner(), user, &self.sealer)?;

        let id = OrganizationId::generate();
        let audit = change.in_organization(id).of(id).audit;
        let created = self
            .organizations
            .create(id, user, &display_name, idempotency.as_ref(), &audit, now())
            .await?;

        let (Created::New(organization) | Created::Existing(organization)) = created;
        let organization = Some(organization.into());
        Ok(Response::new(pb::CreateOrganizationResponse {
            organization,
        }))
    }

    pub(super) async fn get_organization(
        &self,
        request: Request<pb::GetOrganizationRequest>,
    ) -> Result<Response<pb::GetOrganizationResponse>> {
        let tenant = reader(&request, Role::Viewer)?;
        let id = read_id("organization_id", &request.get_ref().organization_id)?;

        let organization = self.organizations.get(tenant.in_organization(id)).await?;

        let organization = Some(organization.into());
        Ok(Response::new(pb::GetOrganizationResponse { organization }))
    }

    pub(super) async fn list_organizations(
        &self,
        request: Request<pb::ListOrganizationsRequest>,
    ) -> Result<Response<pb::ListOrganizationsResponse>> {
        let user = reader(&request, Role::Viewer)?.user;
        let message = request.into_inner();
        let list = format!("organizations/{user}");
        let list = self
            .page_tokens
            .read_single(list, message.page_size, &message.page_token)?;

        let organizations = self.organizations.list(user, list.page).await?;

        let (organizations, next_page_token) = self
            .page_tokens
            .page(&list, organizations, |row| row.id.uuid());
        Ok(Response::new(pb::ListOrganizationsResponse {
            organizations,
            next_page_token,
        }))
    }

    pub(super) async fn update_organization(
        &self,
        request: Request<pb::UpdateOrganizationRequest>,
    ) -> Result<Response<pb::UpdateOrganizationResponse>> {
        let change = self.change(&request, "UpdateOrganization", Role::Admin)?;
        let (id, display_name, options) =
            read_update_organization(request.into_inner(), change.tenant.user, &self.sealer)?;

        let Change { tenant, audit } = change.in_organization(id).of(id);
        let organization = self
            .organizations
            .update(tenant, display_name.as_ref(), &options, &audit, now())
            .await?;

        let organization = Some(organization.into());
        Ok(Response::new(pb::UpdateOrganizationResponse {
            organization,
        }))
    }

    pub(super) async fn delete_organization(
        &self,
        request: Request<pb::DeleteOrganizationRequest>,
    ) -> Result<Response<pb::DeleteOrganizationResponse>> {
        let change = self.sensitive_change(&request, "DeleteOrganization", Role::Owner)?;
        let (id, force, options) =
            read_delete_organization(request.into_inner(), change.tenant.user, &self.sealer)?;

        let Change { tenant, audit } = change.in_organization(id).of(id);
        let ended = self
            .organizations
            .delete(tenant, force, &options, &audit, now())
            .await?;
        self.revocations.add(ended, now());

        Ok(Response::new(pb::DeleteOrganizationResponse {}))
    }

    pub(super) async fn list_organization_audit_events(
        &self,
        request: Request<pb::ListOrganizationAuditEventsRequest>,
    ) -> Result<Response<pb::ListOrganizationAuditEventsResponse>> {
        let tenant = reader(&request, Role::Admin)?;
        let (id, created, list) =
            read_list_audit_events(request.get_ref(), tenant.user, &self.page_tokens)?;

        self.organizations.get(tenant.in_organization(id)).await?;
        let events = self
            .audit_log
            .list_of_organization(id, created, list.page)
            .await?;

        let (audit_events, next_page_token) = self
            .page_tokens
            .page(&list, events, |row| row.event.id.uuid());
        Ok(Response::new(pb::ListOrganizationAuditEventsResponse {
            audit_events,
            next_page_token,
        }))
    }

    pub(super) async fn transfer_project(
        &self,
        request: Request<pb::TransferProjectRequest>,
    ) -> Result<Response<pb::TransferProjectResponse>> {
        let change = self.sensitive_change(&request, "TransferProject", Role::Admin)?;
        let pb::TransferProjectRequest {
            project_id,
            organization_id,
        } = request.into_inner();
        let (id, target) = Fields::read_all(|fields| {
            let id = fields.read("project_id", ProjectId::parse(&project_id));
            let target = OrganizationId::parse(&organization_id);
            id.zip(fields.read("organization_id", target))
        })?;

        let Change { tenant, audit } = change.of(id);
        let target = tenant.in_organization(target);
        let project = self
            .projects
            .transfer(tenant, id, target, &audit, now())
            .await?;

        let project = Some(project.into());
        Ok(Response::new(pb::TransferProjectResponse { project }))
    }
}
