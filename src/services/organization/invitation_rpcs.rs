use tonic::{Request, Response};

use super::{
    messages::{read_create_invitation, read_list_of_organization, read_token},
    service::{Change, OrganizationService, reader},
};
use crate::{
    domain::{InvitationId, Role, now},
    error::Result,
    proto::v1 as pb,
    repositories::Created,
    services::fields::read_id,
};

/// The RPCs for invitations to organizations.
impl OrganizationService {
    pub(super) async fn create_invitation(
        &self,
        request: Request<pb::CreateInvitationRequest>,
    ) -> Result<Response<pb::CreateInvitationResponse>> {
        let change = self.sensitive_change(&request, "CreateInvitation", Role::Admin)?;
        let (tenant, new, idempotency) =
            read_create_invitation(request.into_inner(), change.tenant, &self.sealer)?;
        let outbox = self.outbox()?;

        let audit = change.in_organization(tenant.organization).of(new.id).audit;
        let created = self
            .organizations
            .create_invitation(tenant, &new, idempotency.as_ref(), &audit, now())
            .await?;
        outbox.wake_sender();

        let (Created::New(invitation) | Created::Existing(invitation)) = created;
        let invitation = Some(invitation.into());
        Ok(Response::new(pb::CreateInvitationResponse { invitation }))
    }

    pub(super) async fn list_invitations(
        &self,
        request: Request<pb::ListInvitationsRequest>,
    ) -> Result<Response<pb::ListInvitationsResponse>> {
        let tenant = reader(&request, Role::Admin)?;
        let pb::ListInvitationsRequest {
            organization_id,
            page_size,
            page_token,
        } = request.into_inner();
        let page = (page_size, &*page_token);
        let (id, list) = read_list_of_organization(
            "invitations",
            tenant.user,
            &organization_id,
            page,
            &self.page_tokens,
        )?;

        let tenant = tenant.in_organization(id);
        self.organizations.get(tenant).await?;
        let invitations = self
            .organizations
            .list_invitations(tenant, list.page, now())
            .await?;

        let (invitations, next_page_token) = self
            .page_tokens
            .page(&list, invitations, |row| row.id.uuid());
        Ok(Response::new(pb::ListInvitationsResponse {
            invitations,
            next_page_token,
        }))
    }

    pub(super) async fn revoke_invitation(
        &self,
        request: Request<pb::RevokeInvitationRequest>,
    ) -> Result<Response<pb::RevokeInvitationResponse>> {
        let change = self.change(&request, "RevokeInvitation", Role::Admin)?;
        let id: InvitationId = read_id("invitation_id", &request.get_ref().invitation_id)?;

        let Change { tenant, audit } = change.of(id);
        self.organizations
            .revoke_invitation(tenant, id, &audit, now())
            .await?;

        Ok(Response::new(pb::RevokeInvitationResponse {}))
    }

    pub(super) async fn accept_invitation(
        &self,
        request: Request<pb::AcceptInvitationRequest>,
    ) -> Result<Response<pb::AcceptInvitationResponse>> {
        let Change { tenant, audit } = self.change(&request, "AcceptInvitation", Role::Viewer)?;
        let hash = read_token(&request.get_ref().token)?;

        let organization = self
            .organizations
            .accept_invitation(tenant.user, &hash, &audit, now())
            .await?;

        let organization = Some(organization.into());
        Ok(Response::new(pb::AcceptInvitationResponse { organization }))
    }
}
