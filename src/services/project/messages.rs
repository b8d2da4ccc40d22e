//! Conversions between ProjectService's messages and the domain.

use std::time::Duration;

use prost::Message;

use crate::{
    auth::Sealer,
    domain::{
        Invalid, Name, Project, ProjectId, ProjectUpdate, PublishConflictPolicy, ReconnectWindow,
        StreamKey, UserId,
    },
    error::Error,
    proto::v1 as pb,
    repositories::NewProject,
    services::fields::{
        Fields, duration, idempotency_key, read_duration, read_enum, read_request_id, timestamp,
    },
};

/// The longest grace period of a replaced stream key.
const MAX_GRACE: Duration = Duration::from_secs(7 * 24 * 60 * 60);

pub(super) struct CreateProject {
    pub project: NewProject,
    pub stream_key: StreamKey,
}

pub(super) struct UpdateProject {
    pub id: ProjectId,
    pub update: ProjectUpdate,
}

pub(super) struct RotateStreamKey {
    pub id: ProjectId,
    pub grace: Duration,
}

impl CreateProject {
    pub fn read(
        message: pb::CreateProjectRequest,
        owner: UserId,
        sealer: &Sealer,
    ) -> Result<Self, Error> {
        let content = message.encode_to_vec();
        let pb::CreateProjectRequest {
            name,
            reconnect_window,
            publish_conflict_policy,
            request_id: id,
        } = message;
        let mut fields = Fields::default();
        let name = fields.read("name", Name::parse(&name));
        let window = fields
            .read_optional(
                "reconnect_window",
                reconnect_window.map(self::reconnect_window),
            )
            .map(Option::unwrap_or_default);
        let policy = match publish_conflict_policy {
            0 => Some(PublishConflictPolicy::RejectNew),
            value => fields.read("publish_conflict_policy", conflict_policy(value)),
        };
        let request_id = fields.read("request_id", read_request_id(&id));
        let (Some(name), Some(window), Some(policy), Some(request_id)) =
            (name, window, policy, request_id)
        else {
            return Err(fields.into_error());
        };

        let id = ProjectId::generate();
        let stream_key = StreamKey::generate();
        let project = NewProject {
            id,
            name,
            reconnect_window: window,
            publish_conflict_policy: policy,
            stream_key: stream_key.seal(id, sealer),
            idempotency: request_id
                .map(|id| idempotency_key(owner.uuid(), id, "CreateProject", &content, sealer)),
        };
        Ok(Self {
            project,
            stream_key,
        })
    }
}

impl TryFrom<pb::UpdateProjectRequest> for UpdateProject {
    type Error = Error;

    fn try_from(message: pb::UpdateProjectRequest) -> Result<Self, Error> {
        let pb::UpdateProjectRequest {
            project_id,
            name,
            disabled,
            reconnect_window,
            publish_conflict_policy,
        } = message;
        let mut fields = Fields::default();
        let id = fields.read("project_id", ProjectId::parse(&project_id));
        let name = fields.read_optional("name", name.map(|name| Name::parse(&name)));
        let window = fields.read_optional(
            "reconnect_window",
            reconnect_window.map(self::reconnect_window),
        );
        let policy = fields.read_optional(
            "publish_conflict_policy",
            publish_conflict_policy.map(conflict_policy),
        );
        let (Some(id), Some(name), Some(reconnect_window), Some(publish_conflict_policy)) =
            (id, name, window, policy)
        else {
            return Err(fields.into_error());
        };

        let update = ProjectUpdate {
            name,
            disabled,
            reconnect_window,
            publish_conflict_policy,
        };
        Ok(Self { id, update })
    }
}

impl TryFrom<pb::RotateStreamKeyRequest> for RotateStreamKey {
    type Error = Error;

    fn try_from(message: pb::RotateStreamKeyRequest) -> Result<Self, Error> {
        let pb::RotateStreamKeyRequest { project_id, grace } = message;
        Fields::read_all(|fields| {
            let id = fields.read("project_id", ProjectId::parse(&project_id));
            let bounds = Duration::ZERO..=MAX_GRACE;
            let grace = fields.read("grace", read_duration(grace, bounds, "must be 0 to 7 days"));
            Some(Self {
                id: id?,
                grace: grace?,
            })
        })
    }
}

fn reconnect_window(value: prost_types::Duration) -> Result<ReconnectWindow, Invalid> {
    let any = Duration::ZERO..=Duration::MAX;
    read_duration(Some(value), any, "must be 0 to 30 minutes").and_then(ReconnectWindow::parse)
}

fn conflict_policy(value: i32) -> Result<PublishConflictPolicy, Invalid> {
    match read_enum(value)? {
        pb::PublishConflictPolicy::Takeover => Ok(PublishConflictPolicy::Takeover),
        pb::PublishConflictPolicy::Unspecified | pb::PublishConflictPolicy::RejectNew => {
            Ok(PublishConflictPolicy::RejectNew)
        }
    }
}

impl From<Project> for pb::Project {
    fn from(project: Project) -> Self {
        let Project {
            id,
            name,
            disabled,
            reconnect_window,
            publish_conflict_policy,
            stream_key_hint,
            live_stream_id,
            revision,
            create_time,
            update_time,
        } = project;
        let policy = match publish_conflict_policy {
            PublishConflictPolicy::RejectNew => pb::PublishConflictPolicy::RejectNew,
            PublishConflictPolicy::Takeover => pb::PublishConflictPolicy::Takeover,
        };
        Self {
            id: id.to_string(),
            name,
            disabled,
            reconnect_window: Some(duration(reconnect_window.as_duration())),
            publish_conflict_policy: policy.into(),
            stream_key_hint,
            live_stream_id: live_stream_id.map(|id| id.to_string()).unwrap_or_default(),
            revision,
            create_time: Some(timestamp(create_time)),
            update_time: Some(timestamp(update_time)),
        }
    }
}
