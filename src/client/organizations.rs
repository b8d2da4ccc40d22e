use clap::Subcommand;

use super::{
    error::ClientError,
    names::{organization_id, project_id},
    output::Table,
    pages::Limit,
    session::{Session, request_id},
    text::{label, time},
};
use crate::proto::v1::{self as pb, OrganizationRole};

/// The prefix of the names of roles.
pub(super) const ROLE: &str = "ORGANIZATION_ROLE_";

/// The commands of `sluice organization`. An organization is named by its id, its unique name, or
/// the unique start of its id.
#[derive(Subcommand)]
pub enum OrganizationCommand {
    /// Create an organization, with the signed-in user as its owner.
    Create {
        /// The name of the organization.
        name: String,
    },
    /// List the organizations of the signed-in user, newest first.
    List {
        #[command(flatten)]
        limit: Limit,
    },
    /// Show an organization.
    Get {
        /// The organization.
        #[arg(value_name = "ORGANIZATION")]
        named: String,
    },
    /// Rename an organization.
    Rename {
        /// The organization.
        #[arg(value_name = "ORGANIZATION")]
        named: String,
        /// The new name.
        name: String,
        /// Do this only if the organization still has this `etag`, which `-o json` shows.
        #[arg(long, default_value = "", hide_default_value = true)]
        etag: String,
    },
    /// Require a second factor of all members of an organization, as its owner.
    RequireSecondFactor {
        /// The organization.
        #[arg(value_name = "ORGANIZATION")]
        named: String,
        /// Require it no more.
        #[arg(long)]
        off: bool,
    },
    /// Delete an organization, with its projects and webhooks.
    Delete {
        /// The organization.
        #[arg(value_name = "ORGANIZATION")]
        named: String,
        /// Delete it even while a stream is live, which ends.
        #[arg(long)]
        force: bool,
        /// Do this only if the organization still has this `etag`, which `-o json` shows.
        #[arg(long, default_value = "", hide_default_value = true)]
        etag: String,
    },
    /// End the own membership in an organization.
    Leave {
        /// The organization.
        #[arg(value_name = "ORGANIZATION")]
        named: String,
    },
    /// Move a project to an organization. Its stream goes on.
    Transfer {
        /// The project.
        project: String,
        /// The organization that gets it.
        #[arg(value_name = "ORGANIZATION")]
        named: String,
    },
}

/// Runs a command of `sluice organization`.
pub(super) async fn run(
    session: &Session,
    command: OrganizationCommand,
) -> Result<(), ClientError> {
    match command {
        OrganizationCommand::Create { name } => create(session, name).await,
        OrganizationCommand::List { limit } => list(session, &limit).await,
        OrganizationCommand::Get { named } => get(session, &named).await,
        OrganizationCommand::Rename { named, name, etag } => {
            rename(session, &named, name, etag).await
        }
        OrganizationCommand::RequireSecondFactor { named, off } => {
            require_second_factor(session, &named, !off).await
        }
        OrganizationCommand::Delete { named, force, etag } => {
            delete(session, &named, force, etag).await
        }
        OrganizationCommand::Leave { named } => leave(session, &named).await,
        OrganizationCommand::Transfer { project, named } => {
            transfer(session, &project, &named).await
        }
    }
}

async fn create(session: &Session, display_name: String) -> Result<(), ClientError> {
    let request = pb::CreateOrganizationRequest {
        display_name,
        request_id: request_id(),
    };
    let answer = session.call(request, async |mut api, request| {
        api.organization.create_organization(request).await
    });
    let answer = answer.await?;
    session
        .output()
        .print(&answer, |answer| record(answer.organization.as_ref()))
}

async fn list(session: &Session, limit: &Limit) -> Result<(), ClientError> {
    let organizations = limit.list(async |page_size, page_token| {
        let request = pb::ListOrganizationsRequest {
            page_size,
            page_token,
        };
        let page = session.call(request, async |mut api, request| {
            api.organization.list_organizations(request).await
        });
        let page = page.await?;
        Ok((page.organizations, page.next_page_token))
    });
    let answer = pb::ListOrganizationsResponse {
        organizations: organizations.await?,
        next_page_token: String::new(),
    };
    session.output().print(&answer, |answer| {
        let rows = answer.organizations.iter().map(|organization| {
            [
                organization.id.clone(),
                organization.display_name.clone(),
                kind(organization).to_owned(),
                role(organization.role()),
                time(organization.create_time),
                time(organization.suspend_time),
            ]
        });
        let header = ["ID", "NAME", "KIND", "ROLE", "CREATED", "SUSPENDED"];
        Table::new(header, rows)
    })
}

async fn get(session: &Session, named: &str) -> Result<(), ClientError> {
    let request = pb::GetOrganizationRequest {
        organization_id: organization_id(session, named).await?,
    };
    let answer = session.call(request, async |mut api, request| {
        api.organization.get_organization(request).await
    });
    let answer = answer.await?;
    session
        .output()
        .print(&answer, |answer| record(answer.organization.as_ref()))
}

async fn rename(
    session: &Session,
    named: &str,
    name: String,
    etag: String,
) -> Result<(), ClientError> {
    let request = pb::UpdateOrganizationRequest {
        organization_id: organization_id(session, named).await?,
        display_name: Some(name),
        etag,
        request_id: request_id(),
        ..Default::default()
    };
    update(session, request).await
}

async fn require_second_factor(
    session: &Session,
    named: &str,
    is_required: bool,
) -> Result<(), ClientError> {
    let request = pb::UpdateOrganizationRequest {
        organization_id: organization_id(session, named).await?,
        require_second_factor: Some(is_required),
        request_id: request_id(),
        ..Default::default()
    };
    update(session, request).await
}

async fn update(
    session: &Session,
    request: pb::UpdateOrganizationRequest,
) -> Result<(), ClientError> {
    let answer = session.call(request, async |mut api, request| {
        api.organization.update_organization(request).await
    });
    let answer = answer.await?;
    session
        .output()
        .print(&answer, |answer| record(answer.organization.as_ref()))
}

async fn delete(
    session: &Session,
    named: &str,
    force: bool,
    etag: String,
) -> Result<(), ClientError> {
    let organization_id = organization_id(session, named).await?;
    let text = format!("the organization {organization_id} is deleted");
    let request = pb::DeleteOrganizationRequest {
        organization_id,
        force,
        etag,
        request_id: request_id(),
    };
    let answer = session.call(request, async |mut api, request| {
        api.organization.delete_organization(request).await
    });
    session.output().print_text(&answer.await?, &text)
}

async fn leave(session: &Session, named: &str) -> Result<(), ClientError> {
    let organization_id = organization_id(session, named).await?;
    let text = format!("you are no member of {organization_id} any more");
    let request = pb::LeaveOrganizationRequest { organization_id };
    let answer = session.call(request, async |mut api, request| {
        api.organization.leave_organization(request).await
    });
    session.output().print_text(&answer.await?, &text)
}

async fn transfer(session: &Session, project: &str, named: &str) -> Result<(), ClientError> {
    let project_id = project_id(session, project).await?;
    let organization_id = organization_id(session, named).await?;
    let text = format!("the project {project_id} belongs to the organization {organization_id}");
    let request = pb::TransferProjectRequest {
        project_id,
        organization_id,
    };
    let answer = session.call(request, async |mut api, request| {
        api.organization.transfer_project(request).await
    });
    session.output().print_text(&answer.await?, &text)
}

/// The name of a role.
pub(super) fn role(role: OrganizationRole) -> String {
    label(role.as_str_name(), ROLE)
}

fn kind(organization: &pb::Organization) -> &'static str {
    match organization.personal {
        true => "personal",
        false => "shared",
    }
}

fn record(organization: Option<&pb::Organization>) -> Table {
    let organization = organization.cloned().unwrap_or_default();
    Table::record([
        ("id", organization.id.clone()),
        ("name", organization.display_name.clone()),
        ("kind", kind(&organization).to_owned()),
        ("role", role(organization.role())),
        ("created", time(organization.create_time)),
        (
            "second factor",
            match organization.require_second_factor {
                true => "required".to_owned(),
                false => "-".to_owned(),
            },
        ),
    ])
}
