use tonic::{Request, Response};

use super::{
    messages::{read_list_of_organization, read_remove_member, read_update_member},
    service::{Change, OrganizationService, reader},
};
use crate::{
    domain::{Role, now},
    error::Result,
    proto::v1 as pb,
    services::fields::read_id,
};

/// The RPCs for the members of organizations.
impl OrganizationService {
    pub(super) async fn list_members(
        &self,
        request: Request<pb::ListMembersRequest>,
    ) -> Result<Response<pb::ListMembersResponse>> {
        let tenant = reader(&request, Role::Viewer)?;
        let pb::ListMembersRequest {
            organization_id,
            page_size,
            page_token,
        } = request.into_inner();
        let page = (page_size, &*page_token);
        let (id, list) = read_list_of_organization(
            "members",
            tenant.user,
            &organization_id,
            page,
            &self.page_tokens,
        )?;

        let tenant = tenant.in_organization(id);
        self.organizations.get(tenant).await?;
        let members = self.organizations.list_members(tenant, list.page).await?;

        let (members, next_page_token) = self
            .page_tokens
            .page(&list, members, |row| row.user_id.uuid());
        Ok(Response::new(pb::ListMembersResponse {
            members,
            next_page_token,
        }))
    }

    pub(super) async fn update_member(
        &self,
        request: Request<pb::UpdateMemberRequest>,
    ) -> Result<Response<pb::UpdateMemberResponse>> {
        let change = self.sensitive_change(&request, "UpdateMember", Role::Admin)?;
        let (id, user, role) = read_update_member(request.get_ref())?;

        let Change { tenant, audit } = change.in_organization(id).of(user);
        let member = self
            .organizations
            .update_member(tenant, user, role, &audit, now())
            .await?;

        let member = Some(member.into());
        Ok(Response::new(pb::UpdateMemberResponse { member }))
    }

    pub(super) async fn remove_member(
        &self,
        request: Request<pb::RemoveMemberRequest>,
    ) -> Result<Response<pb::RemoveMemberResponse>> {
        let change = self.sensitive_change(&request, "RemoveMember", Role::Admin)?;
        let (id, user) = read_remove_member(request.get_ref())?;

        let Change { tenant, audit } = change.in_organization(id).of(user);
        let ended = self
            .organizations
            .remove_member(tenant, user, &audit, now())
            .await?;
        self.revocations.add(ended, now());

        Ok(Response::new(pb::RemoveMemberResponse {}))
    }

    pub(super) async fn leave_organization(
        &self,
        request: Request<pb::LeaveOrganizationRequest>,
    ) -> Result<Response<pb::LeaveOrganizationResponse>> {
        let change = self.change(&request, "LeaveOrganization", Role::Viewer)?;
        let id = read_id("organization_id", &request.get_ref().organization_id)?;

        let Change { tenant, audit } = change.in_organization(id).of(id);
        let ended = self
            .organizations
            .remove_member(tenant, tenant.user, &audit, now())
            .await?;
        self.revocations.add(ended, now());

        Ok(Response::new(pb::LeaveOrganizationResponse {}))
    }
}
