//! Conversions between OrganizationService's messages and the domain.

use prost::Message;

use crate::{
    auth::{MailToken, Sealer},
    domain::{
        CreateTimeRange, Email, Invalid, Invitation, InvitationId, Member, Name, NewInvitation,
        Organization, OrganizationAuditEvent, OrganizationId, Role, Tenant, UserId,
    },
    error::Error,
    proto::v1 as pb,
    repositories::{ChangeOptions, IdempotencyKey},
    services::{
        enums::read_enum,
        fields::{Fields, read_created, read_etag, read_field, read_idempotency, timestamp},
        paging::{PageRequest, PageTokens},
    },
};

/// Reads the name of the organization to create.
pub(super) fn read_create_organization(
    message: pb::CreateOrganizationRequest,
    user: UserId,
    sealer: &Sealer,
) -> Result<(Name, Option<IdempotencyKey>), Error> {
    let content = message.encode_to_vec();
    let pb::CreateOrganizationRequest {
        display_name,
        request_id,
    } = message;
    Fields::read_all(|fields| {
        let display_name = fields.read("display_name", Name::parse(&display_name));
        let method = "CreateOrganization";
        let idempotency = read_idempotency(fields, user, &request_id, method, &content, sealer);
        Some((display_name?, idempotency?))
    })
}

/// Reads the organization and its new name.
pub(super) fn read_update_organization(
    message: pb::UpdateOrganizationRequest,
    user: UserId,
    sealer: &Sealer,
) -> Result<(OrganizationId, Option<Name>, ChangeOptions), Error> {
    let content = message.encode_to_vec();
    let pb::UpdateOrganizationRequest {
        organization_id,
        display_name,
        etag,
        request_id,
    } = message;
    Fields::read_all(|fields| {
        let id = fields.read("organization_id", OrganizationId::parse(&organization_id));
        let display_name = display_name.map(|name| Name::parse(&name));
        let display_name = fields.read_optional("display_name", display_name);
        let method = "UpdateOrganization";
        let idempotency = read_idempotency(fields, user, &request_id, method, &content, sealer);
        let options = ChangeOptions {
            etag: read_etag(etag),
            idempotency: idempotency?,
        };
        Some((id?, display_name?, options))
    })
}

/// Reads the organization to delete, and whether its streams are ended.
pub(super) fn read_delete_organization(
    message: pb::DeleteOrganizationRequest,
    user: UserId,
    sealer: &Sealer,
) -> Result<(OrganizationId, bool, ChangeOptions), Error> {
    let content = message.encode_to_vec();
    let pb::DeleteOrganizationRequest {
        organization_id,
        force,
        etag,
        request_id,
    } = message;
    Fields::read_all(|fields| {
        let id = fields.read("organization_id", OrganizationId::parse(&organization_id));
        let method = "DeleteOrganization";
        let idempotency = read_idempotency(fields, user, &request_id, method, &content, sealer);
        let options = ChangeOptions {
            etag: read_etag(etag),
            idempotency: idempotency?,
        };
        Some((id?, force, options))
    })
}

/// Reads the organization and the page of a named list.
pub(super) fn read_list_of_organization(
    name: &str,
    user: UserId,
    organization_id: &str,
    (page_size, page_token): (i32, &str),
    page_tokens: &PageTokens,
) -> Result<(OrganizationId, PageRequest), Error> {
    Fields::read_all(|fields| {
        let id = fields.read("organization_id", OrganizationId::parse(organization_id));
        let list = format!("{name}/{user}/{id:?}");
        let page = page_tokens.read(fields, list, page_size, page_token);
        Some((id?, page?))
    })
}

/// Reads the organization, the bounds and the page of a list of audit events.
pub(super) fn read_list_audit_events(
    message: &pb::ListOrganizationAuditEventsRequest,
    user: UserId,
    page_tokens: &PageTokens,
) -> Result<(OrganizationId, CreateTimeRange, PageRequest), Error> {
    Fields::read_all(|fields| {
        let id = OrganizationId::parse(&message.organization_id);
        let id = fields.read("organization_id", id);
        let created = read_created(fields, message.created_after, message.created_before);
        let times = created.map(|range| range.to_string()).unwrap_or_default();
        let list = format!("organization_audit_events/{user}/{id:?}{times}");
        let page = page_tokens.read(fields, list, message.page_size, &message.page_token);
        Some((id?, created?, page?))
    })
}

/// Reads the member whose role is changed, and the role.
pub(super) fn read_update_member(
    message: &pb::UpdateMemberRequest,
) -> Result<(OrganizationId, UserId, Role), Error> {
    Fields::read_all(|fields| {
        let id = OrganizationId::parse(&message.organization_id);
        let id = fields.read("organization_id", id);
        let user = fields.read("user_id", UserId::parse(&message.user_id));
        let role = fields.read("role", read_enum(message.role));
        Some((id?, user?, role?))
    })
}

/// Reads the member to remove.
pub(super) fn read_remove_member(
    message: &pb::RemoveMemberRequest,
) -> Result<(OrganizationId, UserId), Error> {
    Fields::read_all(|fields| {
        let id = OrganizationId::parse(&message.organization_id);
        let id = fields.read("organization_id", id);
        let user = fields.read("user_id", UserId::parse(&message.user_id));
        id.zip(user)
    })
}

/// Reads the invitation to create.
pub(super) fn read_create_invitation(
    message: pb::CreateInvitationRequest,
    tenant: Tenant,
    sealer: &Sealer,
) -> Result<(Tenant, NewInvitation, Option<IdempotencyKey>), Error> {
    let content = message.encode_to_vec();
    let pb::CreateInvitationRequest {
        organization_id,
        email,
        role,
        request_id,
    } = message;
    Fields::read_all(|fields| {
        let id = fields.read("organization_id", OrganizationId::parse(&organization_id));
        let email = fields.read("email", Email::parse(&email));
        let role = fields.read("role", read_enum(role));
        let (user, method) = (tenant.user, "CreateInvitation");
        let idempotency = read_idempotency(fields, user, &request_id, method, &content, sealer);
        let new = NewInvitation {
            id: InvitationId::generate(),
            email: email?,
            role: role?,
        };
        Some((tenant.in_organization(id?), new, idempotency?))
    })
}

/// Reads the token of an invitation; returns its hash.
pub(super) fn read_token(token: &str) -> Result<Vec<u8>, Error> {
    let token = match token.trim() {
        "" => Err(Invalid::because("must not be empty")),
        _ => Ok(MailToken::new(token)),
    };
    Ok(read_field("token", token)?.hash().to_vec())
}

impl From<Organization> for pb::Organization {
    fn from(organization: Organization) -> Self {
        let etag = organization.etag();
        let Organization {
            id,
            display_name,
            personal,
            role,
            create_time,
            update_time,
        } = organization;
        Self {
            id: id.to_string(),
            display_name,
            personal,
            role: pb::OrganizationRole::from(role).into(),
            create_time: Some(timestamp(create_time)),
            update_time: Some(timestamp(update_time)),
            etag,
        }
    }
}

impl From<Member> for pb::Member {
    fn from(member: Member) -> Self {
        let Member {
            user_id,
            email,
            display_name,
            role,
            create_time,
            update_time,
        } = member;
        Self {
            user_id: user_id.to_string(),
            email,
            display_name,
            role: pb::OrganizationRole::from(role).into(),
            create_time: Some(timestamp(create_time)),
            update_time: Some(timestamp(update_time)),
        }
    }
}

impl From<OrganizationAuditEvent> for pb::OrganizationAuditEvent {
    fn from(entry: OrganizationAuditEvent) -> Self {
        let OrganizationAuditEvent { event, user_id } = entry;
        Self {
            event: Some(event.into()),
            user_id: user_id.to_string(),
        }
    }
}

impl From<Invitation> for pb::Invitation {
    fn from(invitation: Invitation) -> Self {
        let Invitation {
            id,
            organization_id,
            email,
            role,
            inviter_id,
            create_time,
            expire_time,
        } = invitation;
        Self {
            id: id.to_string(),
            organization_id: organization_id.to_string(),
            email,
            role: pb::OrganizationRole::from(role).into(),
            inviter_user_id: inviter_id.to_string(),
            create_time: Some(timestamp(create_time)),
            expire_time: Some(timestamp(expire_time)),
        }
    }
}
