use clap::Subcommand;

use super::{
    email::Token,
    error::ClientError,
    names::organization_id,
    organizations::{ROLE, role},
    output::Table,
    pages::Limit,
    session::{Session, request_id},
    text::{enum_parser, time},
};
use crate::proto::v1::{self as pb, OrganizationRole};

/// The commands of `sluice invitation`. An organization is named by its id, its unique name, or the
/// unique start of its id.
#[derive(Subcommand)]
pub enum InvitationCommand {
    /// Invite the user of an e-mail address: a message with a token is sent to it.
    Create {
        /// The organization.
        #[arg(value_name = "ORGANIZATION")]
        named: String,
        /// The address.
        email: String,
        /// The role of the new member.
        #[arg(value_parser = enum_parser(ROLE, OrganizationRole::as_str_name))]
        role: OrganizationRole,
    },
    /// List the invitations that can still be accepted, newest first.
    List {
        /// The organization.
        #[arg(value_name = "ORGANIZATION")]
        named: String,
        #[command(flatten)]
        limit: Limit,
    },
    /// End an invitation.
    Revoke {
        /// The id of the invitation.
        invitation: String,
    },
    /// Accept an invitation with the token of its message.
    Accept {
        #[command(flatten)]
        token: Token,
    },
}

/// Runs a command of `sluice invitation`.
pub(super) async fn run(session: &Session, command: InvitationCommand) -> Result<(), ClientError> {
    match command {
        InvitationCommand::Create { named, email, role } => {
            create(session, &named, email, role).await
        }
        InvitationCommand::List { named, limit } => list(session, &named, &limit).await,
        InvitationCommand::Revoke { invitation } => revoke(session, invitation).await,
        InvitationCommand::Accept { token } => accept(session, token.read()?).await,
    }
}

async fn create(
    session: &Session,
    named: &str,
    email: String,
    new_role: OrganizationRole,
) -> Result<(), ClientError> {
    let request = pb::CreateInvitationRequest {
        organization_id: organization_id(session, named).await?,
        email,
        role: new_role.into(),
        request_id: request_id(),
    };
    let answer = session.call(request, async |mut api, request| {
        api.organization.create_invitation(request).await
    });
    let answer = answer.await?;
    session.output().print(&answer, |answer| {
        let invitation = answer.invitation.clone().unwrap_or_default();
        Table::record([
            ("id", invitation.id.clone()),
            ("email", invitation.email.clone()),
            ("role", role(invitation.role())),
            ("expires", time(invitation.expire_time)),
        ])
    })
}

async fn list(session: &Session, named: &str, limit: &Limit) -> Result<(), ClientError> {
    let id = organization_id(session, named).await?;
    let invitations = limit.list(async |page_size, page_token| {
        let request = pb::ListInvitationsRequest {
            organization_id: id.clone(),
            page_size,
            page_token,
        };
        let page = session.call(request, async |mut api, request| {
            api.organization.list_invitations(request).await
        });
        let page = page.await?;
        Ok((page.invitations, page.next_page_token))
    });
    let answer = pb::ListInvitationsResponse {
        invitations: invitations.await?,
        next_page_token: String::new(),
    };
    session.output().print(&answer, |answer| {
        let rows = answer.invitations.iter().map(|invitation| {
            [
                invitation.id.clone(),
                invitation.email.clone(),
                role(invitation.role()),
                time(invitation.expire_time),
            ]
        });
        Table::new(["ID", "EMAIL", "ROLE", "EXPIRES"], rows)
    })
}

async fn revoke(session: &Session, invitation_id: String) -> Result<(), ClientError> {
    let text = format!("the invitation {invitation_id} is revoked");
    let request = pb::RevokeInvitationRequest { invitation_id };
    let answer = session.call(request, async |mut api, request| {
        api.organization.revoke_invitation(request).await
    });
    session.output().print_text(&answer.await?, &text)
}

async fn accept(session: &Session, token: String) -> Result<(), ClientError> {
    let request = pb::AcceptInvitationRequest { token };
    let answer = session.call(request, async |mut api, request| {
        api.organization.accept_invitation(request).await
    });
    let answer = answer.await?;
    session.output().print(&answer, |answer| {
        let organization = answer.organization.clone().unwrap_or_default();
        Table::record([
            ("id", organization.id.clone()),
            ("name", organization.display_name.clone()),
            ("role", role(organization.role())),
        ])
    })
}
