//! The command for audit events.

use std::time::{Duration, SystemTime};

use clap::Subcommand;
use prost_types::Timestamp;

use super::{
    client::{ApiOptions, OperatorSession, run_with},
    tables,
};
use crate::{
    client::{ClientError, Limit},
    commands::error::CommandError,
    config::parse::duration,
    proto::v1 as pb,
};

/// Commands for audit events.
#[derive(Subcommand)]
pub(in crate::commands) enum AuditCommand {
    /// List the audit events of all users and operator keys.
    ListAuditEvents {
        /// Only events of this user's account.
        #[arg(long, default_value = "")]
        user_id: String,
        /// Only events in which this operator key acted.
        #[arg(long, default_value = "")]
        key_id: String,
        /// Only this action, for example `SuspendUser`.
        #[arg(long, default_value = "")]
        action: String,
        /// Only events of this time until now, for example `24h`.
        #[arg(long, value_parser = duration("1s", "3650days"))]
        since: Option<Duration>,
        #[command(flatten)]
        limit: Limit,
        #[command(flatten)]
        options: ApiOptions,
    },
}

/// Runs a command.
pub(super) fn run(command: AuditCommand) -> Result<(), CommandError> {
    match command {
        AuditCommand::ListAuditEvents {
            user_id,
            key_id,
            action,
            since,
            limit,
            options,
        } => {
            let after = since.and_then(|since| SystemTime::now().checked_sub(since));
            let filter = pb::OperatorServiceListAuditEventsRequest {
                user_id,
                operator_key_id: key_id,
                action,
                created_after: after.map(Timestamp::from),
                ..Default::default()
            };
            run_with(options, async |session| {
                list_audit_events(session, &filter, &limit).await
            })
        }
    }
}

async fn list_audit_events(
    session: &OperatorSession,
    filter: &pb::OperatorServiceListAuditEventsRequest,
    limit: &Limit,
) -> Result<(), ClientError> {
    let events = limit.list(async |page_size, page_token| {
        let request = pb::OperatorServiceListAuditEventsRequest {
            page_size,
            page_token,
            ..filter.clone()
        };
        let page = session.call(request, async |mut api, request| {
            api.list_audit_events(request).await
        });
        let page = page.await?;
        Ok((page.audit_events, page.next_page_token))
    });
    let answer = pb::OperatorServiceListAuditEventsResponse {
        audit_events: events.await?,
        next_page_token: String::new(),
    };
    let table = |answer: &pb::OperatorServiceListAuditEventsResponse| {
        tables::audit_events(&answer.audit_events)
    };
    session.output().print(&answer, table)
}
