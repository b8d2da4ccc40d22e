//! Conversions between the messages of watches and the domain.

use std::collections::HashSet;

use crate::{
    domain::{
        Change, Invalid, Issue, IssueCode, LiveStream, MediaIssueCode, OrganizationId, ProjectId,
        ProjectIssues, ProjectSnapshot, Relay, Stream, Time,
    },
    error::Error,
    proto::v1 as pb,
    services::fields::{Fields, not_negative, timestamp},
};

use pb::{watch_project_response::Event as SingleKind, watch_projects_response::Event as Kind};

/// The most projects that a request can name.
const MAX_NAMED_PROJECTS: usize = 1000;

/// What a call watches.
#[derive(Debug)]
pub(super) struct WatchRequest {
    /// The projects, each with the revision to resume after, or 0; empty means all of an
    /// organization.
    pub projects: Vec<(ProjectId, i64)>,
    /// The organization whose projects are watched; `None` means the caller's own.
    pub organization: Option<OrganizationId>,
    /// Whether to send statistics.
    pub with_stats: bool,
}

/// What a watch sends, before it takes the form of its RPC.
#[derive(Debug)]
pub(super) struct Update {
    /// The project; `None` if it concerns the whole call.
    pub project_id: Option<ProjectId>,
    /// The revision of the project.
    pub revision: i64,
    /// When it happened, if it is a change.
    pub create_time: Option<Time>,
    /// What it is.
    pub event: Kind,
}

/// The response of an RPC that watches.
pub(super) trait WatchResponse: Sized + Send + 'static {
    /// Whether the RPC watches one project, and ends with it.
    const IS_SINGLE: bool;

    /// The response; `None` if the RPC does not send this.
    fn of(update: Update) -> Option<Self>;
}

impl WatchResponse for pb::WatchProjectsResponse {
    const IS_SINGLE: bool = false;

    fn of(update: Update) -> Option<Self> {
        let Update {
            project_id,
            revision,
            create_time,
            event,
        } = update;
        Some(Self {
            project_id: project_id.map(|id| id.to_string()).unwrap_or_default(),
            revision,
            create_time: create_time.map(timestamp),
            event: Some(event),
        })
    }
}

impl WatchResponse for pb::WatchProjectResponse {
    const IS_SINGLE: bool = true;

    fn of(update: Update) -> Option<Self> {
        let Update {
            project_id: _,
            revision,
            create_time,
            event,
        } = update;
        let event = match event {
            Kind::Snapshot(snapshot) => SingleKind::Snapshot(snapshot),
            Kind::Synced(synced) => SingleKind::Synced(synced),
            Kind::Heartbeat(heartbeat) => SingleKind::Heartbeat(heartbeat),
            Kind::ProjectUpdated(project) => SingleKind::ProjectUpdated(project),
            Kind::DestinationChanged(change) => SingleKind::DestinationChanged(change),
            Kind::StreamChanged(stream) => SingleKind::StreamChanged(stream),
            Kind::RelayChanged(relay) => SingleKind::RelayChanged(relay),
            Kind::ProjectDeleted(deleted) => SingleKind::ProjectDeleted(deleted),
            Kind::Resync(_)
            | Kind::PublisherRefused(_)
            | Kind::IssuesChanged(_)
            | Kind::Stats(_) => return None,
        };
        Some(Self {
            revision,
            create_time: create_time.map(timestamp),
            event: Some(event),
        })
    }
}

impl TryFrom<pb::WatchProjectRequest> for WatchRequest {
    type Error = Error;

    fn try_from(message: pb::WatchProjectRequest) -> Result<Self, Error> {
        let pb::WatchProjectRequest {
            project_id,
            after_revision,
        } = message;
        let project = Fields::read_all(|fields| position(fields, &project_id, after_revision))?;
        Ok(Self {
            projects: vec![project],
            organization: None,
            with_stats: false,
        })
    }
}

impl TryFrom<pb::WatchProjectsRequest> for WatchRequest {
    type Error = Error;

    fn try_from(message: pb::WatchProjectsRequest) -> Result<Self, Error> {
        let pb::WatchProjectsRequest {
            projects,
            with_stats,
            organization_id,
        } = message;
        Fields::read_all(|fields| {
            let organization = match &*organization_id {
                "" => Some(None),
                id => {
                    let id = OrganizationId::parse(id).map(Some);
                    fields.read("organization_id", id)
                }
            };
            if projects.len() > MAX_NAMED_PROJECTS {
                let invalid = "must have at most 1000 entries: name the others in another call";
                return fields.read("projects", Err(Invalid::because(invalid)));
            }
            let mut seen = HashSet::new();
            let projects = fields.read_each("projects", projects, |fields, message| {
                let pb::WatchedProject {
                    project_id,
                    after_revision,
                } = message;
                let (id, after_revision) = position(fields, &project_id, after_revision)?;
                let once = match seen.insert(id) {
                    true => Ok((id, after_revision)),
                    false => Err(Invalid::because("must not be named twice")),
                };
                fields.read("project_id", once)
            });
            Some(Self {
                projects: projects?,
                organization: organization?,
                with_stats,
            })
        })
    }
}

/// Reads a project, and the revision after which its watch begins.
fn position(
    fields: &mut Fields,
    project_id: &str,
    after_revision: i64,
) -> Option<(ProjectId, i64)> {
    let id = fields.read("project_id", ProjectId::parse(project_id));
    let after_revision = fields.read("after_revision", not_negative(after_revision));
    id.zip(after_revision)
}

pub(super) fn snapshot_kind(snapshot: ProjectSnapshot) -> Kind {
    let ProjectSnapshot {
        project,
        destinations,
        live,
    } = snapshot;
    let (stream, relays) = match live {
        None => (None, Vec::new()),
        Some(LiveStream { stream, relays }) => (Some(stream), relays),
    };
    Kind::Snapshot(pb::ProjectSnapshot {
        project: Some(project.into()),
        destinations: destinations.into_iter().map(Into::into).collect(),
        stream: stream.map(Into::into),
        relays: relays.into_iter().map(pb::Relay::from).collect(),
    })
}

pub(in crate::services) fn change_kind(change: Change) -> Kind {
    match change {
        Change::Project(project) => Kind::ProjectUpdated(project.into()),
        Change::ProjectDeleted => Kind::ProjectDeleted(pb::ProjectDeleted {}),
        Change::Destination(destination) => Kind::DestinationChanged(pb::DestinationChanged {
            destination_id: destination.id.to_string(),
            destination: Some(destination.into()),
        }),
        Change::DestinationDeleted(id) => Kind::DestinationChanged(pb::DestinationChanged {
            destination_id: id.to_string(),
            destination: None,
        }),
        Change::Stream(stream) => Kind::StreamChanged(stream.into()),
        Change::Relay(relay) => Kind::RelayChanged(relay.into()),
    }
}

pub(super) fn issues_kind(issues: &ProjectIssues) -> Kind {
    Kind::IssuesChanged(pb::IssuesChanged {
        issues: issues.iter().cloned().map(pb::Issue::from).collect(),
    })
}

pub(super) fn stats_kind(live: &LiveStream) -> Kind {
    let LiveStream { stream, relays } = live;
    let Stream {
        id,
        last_seen_time,
        stats,
        ..
    } = stream;
    Kind::Stats(pb::ProjectStats {
        stream_id: id.to_string(),
        stream: stats.clone().map(pb::StreamStats::from),
        last_seen_time: Some(timestamp(*last_seen_time)),
        relays: relays.iter().map(relay_stats).collect(),
    })
}

fn relay_stats(relay: &Relay) -> pb::RelayStats {
    pb::RelayStats {
        destination_id: relay.destination_id.to_string(),
        bytes_sent: relay.bytes_sent,
        bitrate_bps: relay.bitrate_bps,
        last_progress_time: relay.last_progress_time.map(timestamp),
        lag_ms: relay.delivery.lag_ms,
        dropped_packets: relay.delivery.dropped_packets,
        retransmitted_segments: relay.delivery.retransmitted_segments,
    }
}

impl From<Issue> for pb::Issue {
    fn from(issue: Issue) -> Self {
        let severity = match issue.is_permanent() {
            true => pb::IssueSeverity::Error,
            false => pb::IssueSeverity::Warning,
        };
        let Issue {
            code,
            since,
            detail,
            stream_id,
            destination_id,
        } = issue;
        Self {
            code: pb::IssueCode::from(code).into(),
            severity: severity.into(),
            since: Some(timestamp(since)),
            detail,
            stream_id: stream_id.to_string(),
            destination_id: destination_id.map(|id| id.to_string()).unwrap_or_default(),
        }
    }
}

impl From<IssueCode> for pb::IssueCode {
    fn from(code: IssueCode) -> Self {
        match code {
            IssueCode::PublisherLost => Self::PublisherLost,
            IssueCode::RelayStalled => Self::RelayStalled,
            IssueCode::RelayRetrying => Self::RelayRetrying,
            IssueCode::RelayFailed => Self::RelayFailed,
            IssueCode::Media(code) => match code {
                MediaIssueCode::KeyframeIntervalTooLong => Self::KeyframeIntervalTooLong,
                MediaIssueCode::BitrateOverLimit => Self::BitrateOverLimit,
                MediaIssueCode::NoAudio => Self::NoAudio,
                MediaIssueCode::CodecNotAccepted => Self::CodecNotAccepted,
                MediaIssueCode::DestinationTooSlow => Self::DestinationTooSlow,
                MediaIssueCode::TimestampJump => Self::TimestampJump,
                MediaIssueCode::NoCapacity => Self::NoCapacity,
            },
        }
    }
}
