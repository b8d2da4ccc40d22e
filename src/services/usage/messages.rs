//! Conversions between UsageService's messages and the domain.

use std::time::Duration;

use prost_types::Timestamp;

use crate::{
    domain::{CreateTimeRange, Invalid, Quota, Tenant, Time, Usage, UsageFilter, UsageRecord},
    error::Error,
    proto::v1 as pb,
    services::{
        fields::{Fields, duration, not_negative, read_organization, read_timestamp, timestamp},
        paging::{PageRequest, PageTokens},
    },
};

/// Reads which records are summed up.
pub(super) fn read_get_usage(
    message: pb::GetUsageRequest,
    tenant: Tenant,
    now: Time,
) -> Result<(Tenant, UsageFilter), Error> {
    let pb::GetUsageRequest {
        project_id,
        start_time,
        end_time,
        organization_id,
    } = message;
    Fields::read_all(|fields| {
        let tenant = read_organization(fields, tenant, &organization_id);
        let project_id = fields.read_optional_id("project_id", &project_id);
        let hours = read_hours(fields, start_time, end_time, UsageFilter::month_of(now));
        let (start_time, end_time) = hours?;
        let filter = UsageFilter {
            project_id: project_id?,
            destination_id: None,
            start_time,
            end_time,
        };
        Some((tenant?, filter))
    })
}

/// Reads the filter and the page of a list of records.
pub(super) fn read_list_usage(
    message: pb::ListUsageRequest,
    tenant: Tenant,
    page_tokens: &PageTokens,
) -> Result<(Tenant, UsageFilter, PageRequest), Error> {
    let pb::ListUsageRequest {
        project_id,
        destination_id,
        start_time,
        end_time,
        page_size,
        page_token,
        organization_id,
    } = message;
    Fields::read_all(|fields| {
        let tenant = read_organization(fields, tenant, &organization_id);
        let project_id = fields.read_optional_id("project_id", &project_id);
        let destination_id = fields.read_optional_id("destination_id", &destination_id);
        let hours = read_hours(fields, start_time, end_time, Time::UNIX_EPOCH);
        let filter = project_id.zip(destination_id).zip(hours);
        let filter =
            filter.map(
                |((project_id, destination_id), (start_time, end_time))| UsageFilter {
                    project_id,
                    destination_id,
                    start_time,
                    end_time,
                },
            );
        let name = format!("usage/{tenant:?}/{filter:?}");
        let list = page_tokens.read(fields, name, page_size, &page_token);
        Some((tenant?, filter?, list?))
    })
}

/// Reads the first hour, and the time before which the hours begin.
fn read_hours(
    fields: &mut Fields,
    start: Option<Timestamp>,
    end: Option<Timestamp>,
    default_start: Time,
) -> Option<(Time, Time)> {
    let start = fields.read_optional("start_time", start.map(read_timestamp));
    let end = fields.read_optional("end_time", end.map(read_timestamp));
    let start = start?.unwrap_or(default_start);
    let end = CreateTimeRange::new(None, end?).before;
    let order = match start < end {
        true => Ok(()),
        false => Err(Invalid::because("must be after start_time")),
    };
    fields.read("end_time", order)?;
    Some((start, end))
}

/// Reads the limits of an organization.
pub(in crate::services) fn read_quota(
    fields: &mut Fields,
    quota: Option<pb::Quota>,
) -> Option<Quota> {
    let Some(quota) = quota else {
        return fields.read("quota", Err(Invalid::because("must not be absent")));
    };
    let pb::Quota {
        projects,
        destinations,
        live_streams,
        stream_minutes,
        delivered_bytes,
        members,
    } = quota;
    let mut read = |field: &str, limit: Option<i64>| {
        fields.read_optional(&format!("quota.{field}"), limit.map(not_negative))
    };
    let projects = read("projects", projects);
    let destinations = read("destinations", destinations);
    let live_streams = read("live_streams", live_streams);
    let stream_minutes = read("stream_minutes", stream_minutes);
    let delivered_bytes = read("delivered_bytes", delivered_bytes);
    let members = read("members", members);
    Some(Quota {
        projects: projects?,
        destinations: destinations?,
        live_streams: live_streams?,
        stream_minutes: stream_minutes?,
        delivered_bytes: delivered_bytes?,
        members: members?,
    })
}

impl From<Quota> for pb::Quota {
    fn from(quota: Quota) -> Self {
        let Quota {
            projects,
            destinations,
            live_streams,
            stream_minutes,
            delivered_bytes,
            members,
        } = quota;
        Self {
            projects,
            destinations,
            live_streams,
            stream_minutes,
            delivered_bytes,
            members,
        }
    }
}

impl From<Usage> for pb::Usage {
    fn from(usage: Usage) -> Self {
        let Usage {
            stream_us,
            bytes_received,
            bytes_delivered,
        } = usage;
        let stream_time = Duration::from_micros(stream_us.max(0).unsigned_abs());
        Self {
            stream_time: Some(duration(stream_time)),
            bytes_received,
            bytes_delivered,
        }
    }
}

impl From<UsageRecord> for pb::UsageRecord {
    fn from(record: UsageRecord) -> Self {
        let UsageRecord {
            id,
            project_id,
            destination_id,
            hour_time,
            usage,
        } = record;
        Self {
            id: id.to_string(),
            project_id: project_id.to_string(),
            destination_id: destination_id.map(|id| id.to_string()).unwrap_or_default(),
            hour_time: Some(timestamp(hour_time)),
            usage: Some(usage.into()),
        }
    }
}
