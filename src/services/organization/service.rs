use std::time::Duration;

use tonic::Request;

use crate::{
    auth::{Caller, Revocations, Sealer},
    database::Database,
    domain::{AuditContext, Id, OrganizationId, Role, Tenant, now},
    error::{Error, Result},
    proto::v1 as pb,
    repositories::{AuditLog, OrganizationLimits, Organizations, Outbox, Projects},
    services::{
        paging::PageTokens,
        rpc::{implement_service, request_origin},
    },
};

/// What an [`OrganizationService`] needs.
#[derive(Debug)]
pub struct OrganizationDependencies {
    /// The database.
    pub database: Database,
    /// The sessions and API keys that have ended.
    pub revocations: Revocations,
    /// Authenticates page tokens and request ids.
    pub sealer: Sealer,
    /// The most organizations, members and invitations.
    pub limits: OrganizationLimits,
    /// The queue of e-mail messages; `None` if mail is off.
    pub outbox: Option<Outbox>,
    /// The greatest age of the authentication of a session that changes members; zero means any age.
    pub recent_authentication: Duration,
}

/// The service for organizations.
#[derive(Debug)]
pub struct OrganizationService {
    pub(super) organizations: Organizations,
    pub(super) projects: Projects,
    pub(super) audit_log: AuditLog,
    pub(super) page_tokens: PageTokens,
    pub(super) sealer: Sealer,
    pub(super) revocations: Revocations,
    outbox: Option<Outbox>,
    recent_authentication: Duration,
}

/// A user who changes something, and the context of the audit event.
pub(super) struct Change {
    /// The user, with the role that the change requires.
    pub tenant: Tenant,
    pub audit: AuditContext,
}

impl OrganizationService {
    /// The service of a database.
    pub fn new(dependencies: OrganizationDependencies) -> Self {
        let OrganizationDependencies {
            database,
            revocations,
            sealer,
            limits,
            outbox,
            recent_authentication,
        } = dependencies;
        Self {
            organizations: Organizations::new(database.clone(), limits),
            projects: Projects::new(database.clone()),
            audit_log: AuditLog::new(database),
            page_tokens: PageTokens::new(sealer.clone()),
            revocations,
            sealer,
            outbox,
            recent_authentication,
        }
    }

    /// The queue of e-mail messages.
    pub(super) fn outbox(&self) -> Result<&Outbox> {
        self.outbox.as_ref().ok_or(Error::MailDisabled)
    }

    /// The user of a request that changes something with this role.
    pub(super) fn change<T>(
        &self,
        request: &Request<T>,
        action: &'static str,
        role: Role,
    ) -> Result<Change> {
        let caller = Caller::of(request)?;
        caller.session()?;
        Ok(Change {
            tenant: caller.tenant(role)?,
            audit: caller.audit_context(action, request_origin(request)),
        })
    }

    /// The same for a change that needs a recent authentication.
    pub(super) fn sensitive_change<T>(
        &self,
        request: &Request<T>,
        action: &'static str,
        role: Role,
    ) -> Result<Change> {
        let change = self.change(request, action, role)?;
        let caller = Caller::of(request)?;
        caller.require_recent_authentication(self.recent_authentication, now())?;
        Ok(change)
    }
}

impl Change {
    /// The same in an organization, for which the audit event is.
    pub fn in_organization(self, id: OrganizationId) -> Self {
        Self {
            tenant: self.tenant.in_organization(id),
            audit: self.audit.with_organization(id),
        }
    }

    /// The same with what it changes, for the audit event.
    pub fn of<K>(self, resource: Id<K>) -> Self {
        Self {
            audit: self.audit.with_resource(resource),
            ..self
        }
    }
}

/// The user of a request that reads with this role.
pub(super) fn reader<T>(request: &Request<T>, role: Role) -> Result<Tenant> {
    let caller = Caller::of(request)?;
    caller.session()?;
    caller.tenant(role)
}

implement_service! {
    OrganizationService as pb::organization_service_server::OrganizationService {
        rpc create_organization(pb::CreateOrganizationRequest) -> pb::CreateOrganizationResponse;
        rpc get_organization(pb::GetOrganizationRequest) -> pb::GetOrganizationResponse;
        rpc list_organizations(pb::ListOrganizationsRequest) -> pb::ListOrganizationsResponse;
        rpc update_organization(pb::UpdateOrganizationRequest) -> pb::UpdateOrganizationResponse;
        rpc delete_organization(pb::DeleteOrganizationRequest) -> pb::DeleteOrganizationResponse;
        rpc list_members(pb::ListMembersRequest) -> pb::ListMembersResponse;
        rpc update_member(pb::UpdateMemberRequest) -> pb::UpdateMemberResponse;
        rpc remove_member(pb::RemoveMemberRequest) -> pb::RemoveMemberResponse;
        rpc leave_organization(pb::LeaveOrganizationRequest) -> pb::LeaveOrganizationResponse;
        rpc create_invitation(pb::CreateInvitationRequest) -> pb::CreateInvitationResponse;
        rpc list_invitations(pb::ListInvitationsRequest) -> pb::ListInvitationsResponse;
        rpc revoke_invitation(pb::RevokeInvitationRequest) -> pb::RevokeInvitationResponse;
        rpc accept_invitation(pb::AcceptInvitationRequest) -> pb::AcceptInvitationResponse;
        rpc transfer_project(pb::TransferProjectRequest) -> pb::TransferProjectResponse;
        rpc list_organization_audit_events(pb::ListOrganizationAuditEventsRequest) -> pb::ListOrganizationAuditEventsResponse;
    }
}
