use chrono::{DateTime, Utc};
use clap::Args;

use super::{
    error::ClientError,
    names::project_id,
    output::Table,
    pages::Limit,
    session::Session,
    text::{bytes, duration, or_dash, time},
};
use crate::proto::v1 as pb;

/// What `sluice usage` prints.
#[derive(Args)]
pub struct UsageArguments {
    /// The project (id or name). Default: all projects.
    #[arg(long)]
    project: Option<String>,

    /// Only hours that begin at this time or later, for example 2026-11-01T00:00:00Z. Default: the start
    /// of the month.
    #[arg(long)]
    since: Option<DateTime<Utc>>,

    /// Only hours that begin before this time.
    #[arg(long)]
    until: Option<DateTime<Utc>>,

    /// Print the limits of the organization, and what is used of them.
    #[arg(long, conflicts_with_all = ["project", "since", "until", "hours"])]
    quota: bool,

    /// Print the records of hours, newest first, instead of their sum.
    #[arg(long)]
    hours: bool,

    #[command(flatten)]
    limit: Limit,
}

/// Prints the usage of the signed-in user.
pub(super) async fn print(
    session: &Session,
    arguments: &UsageArguments,
) -> Result<(), ClientError> {
    if arguments.quota {
        return quota(session).await;
    }
    let project_id = match &arguments.project {
        Some(project) => project_id(session, project).await?,
        None => String::new(),
    };
    match arguments.hours {
        true => list(session, arguments, project_id).await,
        false => total(session, arguments, project_id).await,
    }
}

async fn total(
    session: &Session,
    arguments: &UsageArguments,
    project_id: String,
) -> Result<(), ClientError> {
    let request = pb::GetUsageRequest {
        project_id,
        start_time: arguments.since.map(timestamp),
        end_time: arguments.until.map(timestamp),
        organization_id: session.organization(),
    };
    let answer = session.call(request, async |mut api, request| {
        api.usage.get_usage(request).await
    });
    session.output().print(&answer.await?, |answer| {
        let usage = answer.usage.unwrap_or_default();
        Table::record([
            ("since", time(answer.start_time)),
            ("stream time", duration(usage.stream_time)),
            ("received", bytes(usage.bytes_received)),
            ("delivered", bytes(usage.bytes_delivered)),
        ])
    })
}

async fn list(
    session: &Session,
    arguments: &UsageArguments,
    project_id: String,
) -> Result<(), ClientError> {
    let records = arguments.limit.list(async |page_size, page_token| {
        let request = pb::ListUsageRequest {
            project_id: project_id.clone(),
            start_time: arguments.since.map(timestamp),
            end_time: arguments.until.map(timestamp),
            organization_id: session.organization(),
            page_size,
            page_token,
            ..Default::default()
        };
        let page = session.call(request, async |mut api, request| {
            api.usage.list_usage(request).await
        });
        let page = page.await?;
        Ok((page.records, page.next_page_token))
    });
    let answer = pb::ListUsageResponse {
        records: records.await?,
        next_page_token: String::new(),
    };
    session.output().print(&answer, |answer| {
        let rows = answer.records.iter().map(|record| {
            let usage = record.usage.unwrap_or_default();
            [
                time(record.hour_time),
                record.project_id.clone(),
                or_dash(&record.destination_id),
                duration(usage.stream_time),
                bytes(usage.bytes_received),
                bytes(usage.bytes_delivered),
            ]
        });
        let header = [
            "HOUR",
            "PROJECT",
            "DESTINATION",
            "STREAM TIME",
            "RECEIVED",
            "DELIVERED",
        ];
        Table::new(header, rows)
    })
}

async fn quota(session: &Session) -> Result<(), ClientError> {
    let request = pb::GetQuotaRequest {
        organization_id: session.organization(),
    };
    let answer = session.call(request, async |mut api, request| {
        api.usage.get_quota(request).await
    });
    session.output().print(&answer.await?, |answer| {
        quota_table(answer.quota, answer.used)
    })
}

/// What an organization uses, and its limits.
pub(crate) fn quota_table(limits: Option<pb::Quota>, used: Option<pb::Quota>) -> Table {
    let (limits, used) = (limits.unwrap_or_default(), used.unwrap_or_default());
    let rows = [
        ("projects", limits.projects, used.projects),
        ("destinations", limits.destinations, used.destinations),
        ("members", limits.members, used.members),
        ("live streams", limits.live_streams, used.live_streams),
        (
            "stream minutes this month",
            limits.stream_minutes,
            used.stream_minutes,
        ),
        (
            "delivered bytes this month",
            limits.delivered_bytes,
            used.delivered_bytes,
        ),
    ];
    let rows = rows.map(|(name, limit, used)| {
        let number = |number: i64| number.to_string();
        let limit = limit.map_or_else(|| "unlimited".to_owned(), number);
        [name.to_owned(), number(used.unwrap_or_default()), limit]
    });
    Table::new(["WHAT", "USED", "LIMIT"], rows)
}

fn timestamp(time: DateTime<Utc>) -> prost_types::Timestamp {
    prost_types::Timestamp {
        seconds: time.timestamp(),
        nanos: 0,
    }
}
