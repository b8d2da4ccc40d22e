use clap::Subcommand;

use super::{
    error::{ClientError, ExitClass},
    names::organization_id,
    organizations::{ROLE, role},
    output::Table,
    pages::{Limit, list_all},
    session::Session,
    text::{enum_parser, time},
};
use crate::proto::v1::{self as pb, OrganizationRole};

/// The commands of `sluice member`. An organization is named by its id, its unique name, or the
/// unique start of its id; a member by the id or the e-mail address.
#[derive(Subcommand)]
pub enum MemberCommand {
    /// List the members of an organization.
    List {
        /// The organization.
        #[arg(value_name = "ORGANIZATION")]
        named: String,
        #[command(flatten)]
        limit: Limit,
    },
    /// Change the role of a member.
    Role {
        /// The organization.
        #[arg(value_name = "ORGANIZATION")]
        named: String,
        /// The member.
        member: String,
        /// The new role.
        #[arg(value_parser = enum_parser(ROLE, OrganizationRole::as_str_name))]
        role: OrganizationRole,
    },
    /// Remove a member.
    Remove {
        /// The organization.
        #[arg(value_name = "ORGANIZATION")]
        named: String,
        /// The member.
        member: String,
    },
}

/// Runs a command of `sluice member`.
pub(super) async fn run(session: &Session, command: MemberCommand) -> Result<(), ClientError> {
    match command {
        MemberCommand::List { named, limit } => list(session, &named, &limit).await,
        MemberCommand::Role {
            named,
            member,
            role,
        } => update(session, &named, &member, role).await,
        MemberCommand::Remove { named, member } => remove(session, &named, &member).await,
    }
}

async fn list(session: &Session, named: &str, limit: &Limit) -> Result<(), ClientError> {
    let id = organization_id(session, named).await?;
    let members = limit
        .list(async |page_size, page_token| page(session, id.clone(), page_size, page_token).await);
    let answer = pb::ListMembersResponse {
        members: members.await?,
        next_page_token: String::new(),
    };
    session.output().print(&answer, |answer| {
        let rows = answer.members.iter().map(|member| {
            [
                member.user_id.clone(),
                member.email.clone(),
                member.display_name.clone(),
                role(member.role()),
                time(member.create_time),
            ]
        });
        Table::new(["ID", "EMAIL", "NAME", "ROLE", "SINCE"], rows)
    })
}

async fn page(
    session: &Session,
    organization_id: String,
    page_size: i32,
    page_token: String,
) -> Result<(Vec<pb::Member>, String), ClientError> {
    let request = pb::ListMembersRequest {
        organization_id,
        page_size,
        page_token,
    };
    let page = session.call(request, async |mut api, request| {
        api.organization.list_members(request).await
    });
    let page = page.await?;
    Ok((page.members, page.next_page_token))
}

async fn update(
    session: &Session,
    named: &str,
    member: &str,
    new_role: OrganizationRole,
) -> Result<(), ClientError> {
    let organization_id = organization_id(session, named).await?;
    let user_id = user_id(session, &organization_id, member).await?;
    let request = pb::UpdateMemberRequest {
        organization_id,
        user_id,
        role: new_role.into(),
    };
    let answer = session.call(request, async |mut api, request| {
        api.organization.update_member(request).await
    });
    let answer = answer.await?;
    session.output().print(&answer, |answer| {
        let member = answer.member.clone().unwrap_or_default();
        Table::record([
            ("id", member.user_id.clone()),
            ("email", member.email.clone()),
            ("role", role(member.role())),
        ])
    })
}

async fn remove(session: &Session, named: &str, member: &str) -> Result<(), ClientError> {
    let organization_id = organization_id(session, named).await?;
    let user_id = user_id(session, &organization_id, member).await?;
    let text = format!("{user_id} is no member of {organization_id} any more");
    let request = pb::RemoveMemberRequest {
        organization_id,
        user_id,
    };
    let answer = session.call(request, async |mut api, request| {
        api.organization.remove_member(request).await
    });
    session.output().print_text(&answer.await?, &text)
}

/// The id of a member: by the id or the e-mail address.
async fn user_id(
    session: &Session,
    organization_id: &str,
    text: &str,
) -> Result<String, ClientError> {
    if !text.contains('@') {
        return Ok(text.to_owned());
    }
    let members = list_all(async |page_size, page_token| {
        page(session, organization_id.to_owned(), page_size, page_token).await
    });
    let mut members = members.await?.into_iter();
    match members.find(|member| member.email.eq_ignore_ascii_case(text)) {
        Some(member) => Ok(member.user_id),
        None => Err(ClientError::new(
            ExitClass::NotFound,
            format!("no member has the e-mail address {text}: `sluice member list` lists them"),
        )),
    }
}
