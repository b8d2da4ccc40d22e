//! Conversions between ProjectService's messages and the domain.

use std::time::Duration;

use prost::Message;

use crate::{
    auth::{Caller, Sealer},
    domain::{
        Invalid, ListFilter, LiveStream, Name, OutagePolicy, PlatformInfo, Project, ProjectId,
        ProjectSnapshot, ProjectUpdate, PublishConflictPolicy, ReconnectWindow, Scope, StreamKey,
        Tenant, UserId,
    },
    error::Error,
    proto::v1 as pb,
    repositories::{ChangeOptions, NewProject, StreamKeyRotation},
    services::{
        enums::read_enum,
        fields::{
            Fields, duration, read_created, read_duration, read_etag, read_idempotency,
            read_organization, timestamp,
        },
        paging::{PageRequest, PageSizes, PageTokens},
    },
};

/// The longest grace period of a replaced stream key.
const MAX_GRACE: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Reads the project to create, with a new stream key.
pub(super) fn read_create_project(
    message: pb::CreateProjectRequest,
    tenant: Tenant,
    sealer: &Sealer,
) -> Result<(Tenant, NewProject, StreamKey), Error> {
    let content = message.encode_to_vec();
    let pb::CreateProjectRequest {
        display_name,
        reconnect_window,
        publish_conflict_policy,
        request_id,
        outage_policy,
        organization_id,
    } = message;
    let window = reconnect_window.map(self::reconnect_window);
    let outage_policy = match outage_policy {
        0 => Ok(OutagePolicy::default()),
        value => read_enum(value),
    };
    let policy = match publish_conflict_policy {
        0 => Ok(PublishConflictPolicy::RejectNew),
        value => read_enum(value),
    };
    Fields::read_all(|fields| {
        let display_name = fields.read("display_name", Name::parse(&display_name));
        let window = fields.read_optional("reconnect_window", window);
        let policy = fields.read("publish_conflict_policy", policy);
        let outage_policy = fields.read("outage_policy", outage_policy);
        let organization = read_organization(fields, tenant, &organization_id);
        let (user, method) = (tenant.user, "CreateProject");
        let idempotency = read_idempotency(fields, user, &request_id, method, &content, sealer);

        let id = ProjectId::generate();
        let stream_key = StreamKey::generate();
        let project = NewProject {
            id,
            display_name: display_name?,
            reconnect_window: window?.unwrap_or_default(),
            publish_conflict_policy: policy?,
            outage_policy: outage_policy?,
            stream_key: stream_key.seal(id, sealer),
            idempotency: idempotency?,
        };
        Some((organization?, project, stream_key))
    })
}

/// The page sizes of projects with what belongs to them. A page of projects with 100 destinations
/// stays below 4 MiB, the default limit of gRPC clients, even if names and addresses are long.
const FULL_PAGE_SIZES: PageSizes = PageSizes {
    default: 10,
    max: 15,
};

/// How much of a project a response contains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum View {
    /// Its own fields.
    Basic,
    /// Also its destinations, its live stream and its relays.
    Full,
}

impl View {
    fn read(value: i32) -> Result<Self, Invalid> {
        match pb::ProjectView::try_from(value) {
            Ok(pb::ProjectView::Unspecified | pb::ProjectView::Basic) => Ok(Self::Basic),
            Ok(pb::ProjectView::Full) => Ok(Self::Full),
            Err(_) => Err(Invalid::because("must be BASIC or FULL")),
        }
    }

    /// `ScopeMissing` if the caller may not read all of the view: without `streams:read`, its
    /// stream. RPCs that return projects require `projects:read` already.
    fn require_access(self, caller: &Caller) -> Result<(), Error> {
        match self {
            Self::Full if !caller.scopes.contains(Scope::StreamsRead) => {
                Err(Error::ScopeMissing(Scope::StreamsRead))
            }
            Self::Full | Self::Basic => Ok(()),
        }
    }
}

/// Reads the project to get, and how much of it.
pub(super) fn read_get_project(
    message: &pb::GetProjectRequest,
    caller: &Caller,
) -> Result<(ProjectId, View), Error> {
    let (id, view) = Fields::read_all(|fields| {
        let id = fields.read("project_id", ProjectId::parse(&message.project_id));
        let view = fields.read("view", View::read(message.view));
        id.zip(view)
    })?;
    view.require_access(caller)?;
    Ok((id, view))
}

/// Reads the filter and the page of a list of projects, and how much of each.
pub(super) fn read_list_projects(
    message: &pb::ListProjectsRequest,
    caller: &Caller,
    tenant: Tenant,
    page_tokens: &PageTokens,
) -> Result<(Tenant, ListFilter, PageRequest, View), Error> {
    let (tenant, filter, list, view) = Fields::read_all(|fields| {
        let tenant = read_organization(fields, tenant, &message.organization_id);
        let created = read_created(fields, message.created_after, message.created_before);
        let filter = created.map(|created| ListFilter {
            disabled: message.disabled,
            created,
        });
        let filters = filter.map(|filter| filter.to_string()).unwrap_or_default();
        let list = format!("projects/{tenant:?}{filters}");
        let view = fields.read("view", View::read(message.view));
        let (size, token) = (message.page_size, &message.page_token);
        let list = match view {
            Some(View::Full) => {
                let list = format!("full_{list}");
                page_tokens.read_sized(fields, list, FULL_PAGE_SIZES, size, token)
            }
            _ => page_tokens.read(fields, list, size, token),
        };
        Some((tenant?, filter?, list?, view?))
    })?;
    view.require_access(caller)?;
    Ok((tenant, filter, list, view))
}

/// Reads the project and its update.
pub(super) fn read_update_project(
    message: pb::UpdateProjectRequest,
    user: UserId,
    sealer: &Sealer,
) -> Result<(ProjectId, ProjectUpdate, ChangeOptions), Error> {
    let content = message.encode_to_vec();
    let pb::UpdateProjectRequest {
        project_id,
        display_name,
        disabled,
        reconnect_window,
        publish_conflict_policy,
        etag,
        request_id,
        outage_policy,
    } = message;
    let outage_policy = outage_policy.map(read_enum);
    let window = reconnect_window.map(self::reconnect_window);
    let policy = publish_conflict_policy.map(read_enum);
    Fields::read_all(|fields| {
        let id = fields.read("project_id", ProjectId::parse(&project_id));
        let display_name = display_name.map(|name| Name::parse(&name));
        let display_name = fields.read_optional("display_name", display_name);
        let window = fields.read_optional("reconnect_window", window);
        let policy = fields.read_optional("publish_conflict_policy", policy);
        let outage_policy = fields.read_optional("outage_policy", outage_policy);
        let method = "UpdateProject";
        let idempotency = read_idempotency(fields, user, &request_id, method, &content, sealer);
        let update = ProjectUpdate {
            display_name: display_name?,
            disabled,
            reconnect_window: window?,
            publish_conflict_policy: policy?,
            outage_policy: outage_policy?,
        };
        let options = ChangeOptions {
            etag: read_etag(etag),
            idempotency: idempotency?,
        };
        Some((id?, update, options))
    })
}

/// Reads the project to delete, and whether to end its stream.
pub(super) fn read_delete_project(
    message: pb::DeleteProjectRequest,
    user: UserId,
    sealer: &Sealer,
) -> Result<(ProjectId, bool, ChangeOptions), Error> {
    let content = message.encode_to_vec();
    let pb::DeleteProjectRequest {
        project_id,
        force,
        etag,
        request_id,
    } = message;
    Fields::read_all(|fields| {
        let id = fields.read("project_id", ProjectId::parse(&project_id));
        let method = "DeleteProject";
        let idempotency = read_idempotency(fields, user, &request_id, method, &content, sealer);
        let options = ChangeOptions {
            etag: read_etag(etag),
            idempotency: idempotency?,
        };
        Some((id?, force, options))
    })
}

/// Reads the project, with a new stream key.
pub(super) fn read_rotate_stream_key(
    message: pb::RotateStreamKeyRequest,
    user: UserId,
    sealer: &Sealer,
) -> Result<(ProjectId, StreamKey, StreamKeyRotation), Error> {
    let content = message.encode_to_vec();
    let pb::RotateStreamKeyRequest {
        project_id,
        grace,
        request_id,
    } = message;
    Fields::read_all(|fields| {
        let id = fields.read("project_id", ProjectId::parse(&project_id));
        let bounds = Duration::ZERO..=MAX_GRACE;
        let grace = fields.read("grace", read_duration(grace, bounds, "must be 0 to 7 days"));
        let method = "RotateStreamKey";
        let idempotency = read_idempotency(fields, user, &request_id, method, &content, sealer);
        let (id, key) = (id?, StreamKey::generate());
        let new = StreamKeyRotation {
            key: key.seal(id, sealer),
            grace: grace?,
            idempotency: idempotency?,
        };
        Some((id, key, new))
    })
}

fn reconnect_window(value: prost_types::Duration) -> Result<ReconnectWindow, Invalid> {
    let any = Duration::ZERO..=Duration::MAX;
    read_duration(Some(value), any, "must be 0 to 30 minutes").and_then(ReconnectWindow::parse)
}

impl From<Project> for pb::Project {
    fn from(project: Project) -> Self {
        let etag = project.etag();
        let Project {
            id,
            organization_id,
            display_name,
            disabled,
            reconnect_window,
            publish_conflict_policy,
            outage_policy,
            stream_key_hint,
            live_stream_id,
            revision,
            create_time,
            update_time,
        } = project;
        let policy = pb::PublishConflictPolicy::from(publish_conflict_policy);
        Self {
            id: id.to_string(),
            organization_id: organization_id.map(|id| id.to_string()).unwrap_or_default(),
            display_name,
            disabled,
            reconnect_window: Some(duration(reconnect_window.as_duration())),
            publish_conflict_policy: policy.into(),
            outage_policy: pb::OutagePolicy::from(outage_policy).into(),
            stream_key_hint,
            live_stream_id: live_stream_id.map(|id| id.to_string()).unwrap_or_default(),
            revision,
            create_time: Some(timestamp(create_time)),
            update_time: Some(timestamp(update_time)),
            etag,
            destinations: Vec::new(),
            live_stream: None,
            relays: Vec::new(),
        }
    }
}

impl From<ProjectSnapshot> for pb::Project {
    fn from(snapshot: ProjectSnapshot) -> Self {
        let ProjectSnapshot {
            project,
            destinations,
            live,
        } = snapshot;
        let (stream, relays) = match live {
            None => (None, Vec::new()),
            Some(LiveStream { stream, relays }) => (Some(pb::Stream::from(stream)), relays),
        };
        Self {
            destinations: destinations.into_iter().map(Into::into).collect(),
            live_stream: stream.map(Into::into),
            relays: relays.into_iter().map(Into::into).collect(),
            ..project.into()
        }
    }
}

/// The enums have the same numbers.
impl From<pb::Stream> for pb::ProjectStream {
    fn from(stream: pb::Stream) -> Self {
        let pb::Stream {
            id,
            project_id,
            state,
            epoch,
            create_time,
            live_time,
            last_seen_time,
            end_time: _,
            end_reason: _,
            publisher,
            stats,
            issues,
        } = stream;
        Self {
            id,
            project_id,
            state,
            epoch,
            create_time,
            live_time,
            last_seen_time,
            publisher: publisher.map(Into::into),
            stats: stats.map(Into::into),
            issues,
        }
    }
}

impl From<pb::Publisher> for pb::ProjectStreamPublisher {
    fn from(publisher: pb::Publisher) -> Self {
        let pb::Publisher {
            node_id,
            boot_id,
            connection_id,
            peer_address,
            protocol,
        } = publisher;
        Self {
            node_id,
            boot_id,
            connection_id,
            peer_address,
            protocol,
        }
    }
}

impl From<pb::StreamStats> for pb::ProjectStreamStats {
    fn from(stats: pb::StreamStats) -> Self {
        let pb::StreamStats {
            bytes_received,
            bitrate_bps,
            width,
            height,
            fps,
            video_codec,
            audio_codec,
            keyframe_interval,
            audio_channels,
            audio_sample_rate,
            has_audio,
            timestamp_jumps,
        } = stats;
        Self {
            bytes_received,
            bitrate_bps,
            width,
            height,
            fps,
            video_codec,
            audio_codec,
            keyframe_interval,
            audio_channels,
            audio_sample_rate,
            has_audio,
            timestamp_jumps,
        }
    }
}

impl From<&PlatformInfo> for pb::PlatformInfo {
    fn from(info: &PlatformInfo) -> Self {
        let PlatformInfo {
            platform,
            display_name,
            kind,
            urls,
            hosts,
            tls,
            may_accept_srt: _,
            limits,
            note,
        } = info;
        let limit = |number| i32::try_from(number).unwrap_or(i32::MAX);
        Self {
            platform: pb::Platform::from(*platform).into(),
            display_name: (*display_name).to_owned(),
            kind: pb::PlatformKind::from(*kind).into(),
            urls: urls.iter().map(ToString::to_string).collect(),
            tls: pb::PlatformTls::from(*tls).into(),
            limits: Some(pb::PlatformLimits {
                keyframe_interval_seconds: limit(limits.keyframe_interval_seconds),
                max_video_bitrate_kbps: limit(limits.max_video_bitrate_kbps),
                max_audio_bitrate_kbps: limit(limits.max_audio_bitrate_kbps),
                video_codecs: limits
                    .video_codecs
                    .iter()
                    .map(ToString::to_string)
                    .collect(),
                audio_codecs: limits
                    .audio_codecs
                    .iter()
                    .map(ToString::to_string)
                    .collect(),
            }),
            note: (*note).to_owned(),
            hosts: hosts.iter().map(ToString::to_string).collect(),
        }
    }
}
