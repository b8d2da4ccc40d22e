//! The commands for quotas of organizations.

use clap::{Args, Subcommand};

use super::client::{ApiOptions, OperatorSession, run_with};
use crate::{
    client::{ClientError, quota_table},
    commands::error::CommandError,
    proto::v1 as pb,
};

/// Commands for quotas of organizations.
#[derive(Subcommand)]
pub(in crate::commands) enum QuotaCommand {
    /// Show the quota of an organization, and what it uses.
    GetQuota {
        /// The id of the organization. The personal organization of a user has the user's id.
        organization: String,
        #[command(flatten)]
        options: ApiOptions,
    },
    /// Change the quota of an organization. Limits that are not named stay.
    SetQuota {
        /// The id of the organization. The personal organization of a user has the user's id.
        organization: String,
        #[command(flatten)]
        limits: Limits,
        #[command(flatten)]
        options: ApiOptions,
    },
}

/// The limits that change: each is a number or `unlimited`.
#[derive(Args)]
#[group(required = true, multiple = true)]
pub(in crate::commands) struct Limits {
    /// Maximum number of projects, or `unlimited`.
    #[arg(long, value_parser = parse_limit)]
    projects: Option<NewLimit>,
    /// Maximum number of destinations, of all projects together, or `unlimited`.
    #[arg(long, value_parser = parse_limit)]
    destinations: Option<NewLimit>,
    /// Maximum number of streams at the same time, or `unlimited`.
    #[arg(long, value_parser = parse_limit)]
    live_streams: Option<NewLimit>,
    /// Maximum number of minutes of streams in a month, or `unlimited`.
    #[arg(long, value_parser = parse_limit)]
    stream_minutes: Option<NewLimit>,
    /// Maximum number of delivered bytes in a month, or `unlimited`.
    #[arg(long, value_parser = parse_limit)]
    delivered_bytes: Option<NewLimit>,
    /// Maximum number of members, or `unlimited`.
    #[arg(long, value_parser = parse_limit)]
    members: Option<NewLimit>,
}

/// A limit that replaces another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NewLimit {
    Unlimited,
    AtMost(i64),
}

impl Limits {
    fn change(&self, quota: &mut pb::Quota) {
        let changes = [
            (self.projects, &mut quota.projects),
            (self.destinations, &mut quota.destinations),
            (self.live_streams, &mut quota.live_streams),
            (self.stream_minutes, &mut quota.stream_minutes),
            (self.delivered_bytes, &mut quota.delivered_bytes),
            (self.members, &mut quota.members),
        ];
        for (change, limit) in changes {
            match change {
                None => {}
                Some(NewLimit::Unlimited) => *limit = None,
                Some(NewLimit::AtMost(number)) => *limit = Some(number),
            }
        }
    }
}

fn parse_limit(text: &str) -> Result<NewLimit, String> {
    match (text, text.parse()) {
        ("unlimited", _) => Ok(NewLimit::Unlimited),
        (_, Ok(number @ 0..)) => Ok(NewLimit::AtMost(number)),
        _ => Err("must be a number that is not negative, or `unlimited`".to_owned()),
    }
}

/// Runs a command.
pub(super) fn run(command: QuotaCommand) -> Result<(), CommandError> {
    match command {
        QuotaCommand::GetQuota {
            organization,
            options,
        } => run_with(options, async |session| {
            let answer = get(session, organization).await?;
            print(session, answer)
        }),
        QuotaCommand::SetQuota {
            organization,
            limits,
            options,
        } => run_with(options, async |session| {
            set(session, organization, &limits).await
        }),
    }
}

async fn get(
    session: &OperatorSession,
    organization_id: String,
) -> Result<pb::GetOrganizationQuotaResponse, ClientError> {
    let request = pb::GetOrganizationQuotaRequest { organization_id };
    let answer = session.call(request, async |mut api, request| {
        api.get_organization_quota(request).await
    });
    answer.await
}

async fn set(
    session: &OperatorSession,
    organization_id: String,
    limits: &Limits,
) -> Result<(), ClientError> {
    let mut quota = get(session, organization_id.clone())
        .await?
        .quota
        .unwrap_or_default();
    limits.change(&mut quota);
    let request = pb::SetOrganizationQuotaRequest {
        organization_id,
        quota: Some(quota),
    };
    let answer = session.call(request, async |mut api, request| {
        api.set_organization_quota(request).await
    });
    let pb::SetOrganizationQuotaResponse { quota, used } = answer.await?;
    print(session, pb::GetOrganizationQuotaResponse { quota, used })
}

fn print(
    session: &OperatorSession,
    answer: pb::GetOrganizationQuotaResponse,
) -> Result<(), ClientError> {
    session
        .output()
        .print(&answer, |answer| quota_table(answer.quota, answer.used))
}
