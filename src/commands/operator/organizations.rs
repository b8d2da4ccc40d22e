//! The commands for organizations.

use clap::Subcommand;

use super::{
    client::{ApiOptions, OperatorSession, run_with},
    tables,
};
use crate::{
    client::{ClientError, Limit},
    commands::error::CommandError,
    proto::v1 as pb,
};

/// Commands for organizations.
#[derive(Subcommand)]
pub(in crate::commands) enum OrganizationCommand {
    /// List the organizations. Personal ones are not among them: `list-users` lists their users.
    ListOrganizations {
        /// Only organizations of which the user with this id is a member.
        #[arg(long, default_value = "")]
        user_id: String,
        /// Only suspended organizations.
        #[arg(long)]
        suspended: bool,
        #[command(flatten)]
        limit: Limit,
        #[command(flatten)]
        options: ApiOptions,
    },
    /// Suspend an organization: its streams and relays end within 5 seconds, and calls of its members
    /// and API keys are refused.
    SuspendOrganization {
        /// The id of the organization.
        organization: String,
        #[command(flatten)]
        options: ApiOptions,
    },
    /// End the suspension of an organization.
    ResumeOrganization {
        /// The id of the organization.
        organization: String,
        #[command(flatten)]
        options: ApiOptions,
    },
}

/// Runs a command.
pub(super) fn run(command: OrganizationCommand) -> Result<(), CommandError> {
    match command {
        OrganizationCommand::ListOrganizations {
            user_id,
            suspended,
            limit,
            options,
        } => run_with(options, async |session| {
            list(session, &user_id, suspended, &limit).await
        }),
        OrganizationCommand::SuspendOrganization {
            organization,
            options,
        } => run_with(options, async |session| {
            suspend(session, organization).await
        }),
        OrganizationCommand::ResumeOrganization {
            organization,
            options,
        } => run_with(options, async |session| resume(session, organization).await),
    }
}

async fn list(
    session: &OperatorSession,
    user_id: &str,
    is_suspended: bool,
    limit: &Limit,
) -> Result<(), ClientError> {
    let state = match is_suspended {
        true => pb::OrganizationState::Suspended,
        false => pb::OrganizationState::Unspecified,
    };
    let organizations = limit.list(async |page_size, page_token| {
        let request = pb::OperatorServiceListOrganizationsRequest {
            user_id: user_id.to_owned(),
            state: state.into(),
            page_size,
            page_token,
            ..Default::default()
        };
        let page = session.call(request, async |mut api, request| {
            api.list_organizations(request).await
        });
        let page = page.await?;
        Ok((page.organizations, page.next_page_token))
    });
    let answer = pb::OperatorServiceListOrganizationsResponse {
        organizations: organizations.await?,
        next_page_token: String::new(),
    };
    session.output().print(&answer, |answer| {
        tables::organizations(&answer.organizations)
    })
}

async fn suspend(session: &OperatorSession, organization_id: String) -> Result<(), ClientError> {
    let request = pb::SuspendOrganizationRequest { organization_id };
    let answer = session.call(request, async |mut api, request| {
        api.suspend_organization(request).await
    });
    session.output().print(&answer.await?, |answer| {
        tables::organizations(answer.organization.as_slice())
    })
}

async fn resume(session: &OperatorSession, organization_id: String) -> Result<(), ClientError> {
    let request = pb::ResumeOrganizationRequest { organization_id };
    let answer = session.call(request, async |mut api, request| {
        api.resume_organization(request).await
    });
    session.output().print(&answer.await?, |answer| {
        tables::organizations(answer.organization.as_slice())
    })
}
