//! Conversions between StreamService's messages and the domain.

use std::time::Duration;

use super::publisher_messages;
use crate::{
    domain::{
        EndReason, Invalid, PlayUrl, ProjectId, PublishAction, Publisher, Refusal, RefusalReason,
        Stream, StreamId, StreamKey, StreamStats, StreamStatus, Tenant,
    },
    error::Error,
    proto::v1 as pb,
    services::{
        fields::{Fields, read_duration, read_enum, timestamp},
        paging::{PageRequest, PageTokens},
    },
};

/// The longest hold of StopStream.
const MAX_HOLD: Duration = Duration::from_secs(24 * 60 * 60);

pub(super) struct BeginPublish {
    pub stream_key: StreamKey,
    pub publisher: Publisher,
    pub media_flowing: bool,
    pub play_url: Option<PlayUrl>,
}

pub(super) struct HeartbeatPublish {
    pub id: StreamId,
    pub epoch: i64,
    pub publisher: Publisher,
    pub stats: Option<StreamStats>,
}

pub(super) struct EndPublish {
    pub id: StreamId,
    pub epoch: i64,
    pub publisher: Publisher,
}

pub(super) struct ListStreams {
    pub project_id: ProjectId,
    pub status: Option<StreamStatus>,
    pub list: PageRequest,
}

pub(super) struct StopStream {
    pub id: StreamId,
    pub hold: Duration,
}

impl TryFrom<pb::BeginPublishRequest> for BeginPublish {
    type Error = Error;

    fn try_from(message: pb::BeginPublishRequest) -> Result<Self, Error> {
        let pb::BeginPublishRequest {
            stream_key,
            publisher,
            media_flowing,
            play_url,
        } = message;
        Fields::read_all(|fields| {
            let stream_key = fields.read("stream_key", StreamKey::parse(&stream_key));
            let publisher = publisher_messages::publisher(fields, publisher);
            let play_url = fields.read("play_url", PlayUrl::parse(&play_url));
            Some(Self {
                stream_key: stream_key?,
                publisher: publisher?,
                media_flowing,
                play_url: play_url?,
            })
        })
    }
}

impl TryFrom<pb::HeartbeatPublishRequest> for HeartbeatPublish {
    type Error = Error;

    fn try_from(message: pb::HeartbeatPublishRequest) -> Result<Self, Error> {
        let pb::HeartbeatPublishRequest {
            stream_id,
            epoch,
            publisher,
            stats,
        } = message;
        Fields::read_all(|fields| {
            let id = fields.read("stream_id", StreamId::parse(&stream_id));
            let epoch = fields.read("epoch", self::epoch(epoch));
            let publisher = publisher_messages::publisher(fields, publisher);
            let stats = match stats {
                None => Some(None),
                Some(stats) => publisher_messages::stats(fields, stats).map(Some),
            };
            Some(Self {
                id: id?,
                epoch: epoch?,
                publisher: publisher?,
                stats: stats?,
            })
        })
    }
}

impl TryFrom<pb::EndPublishRequest> for EndPublish {
    type Error = Error;

    fn try_from(message: pb::EndPublishRequest) -> Result<Self, Error> {
        let pb::EndPublishRequest {
            stream_id,
            epoch,
            publisher,
        } = message;
        Fields::read_all(|fields| {
            let id = fields.read("stream_id", StreamId::parse(&stream_id));
            let epoch = fields.read("epoch", self::epoch(epoch));
            let publisher = publisher_messages::publisher(fields, publisher);
            Some(Self {
                id: id?,
                epoch: epoch?,
                publisher: publisher?,
            })
        })
    }
}

impl ListStreams {
    pub fn read(
        message: pb::ListStreamsRequest,
        tenant: Tenant,
        page_tokens: &PageTokens,
    ) -> Result<Self, Error> {
        let pb::ListStreamsRequest {
            project_id,
            status,
            page_size,
            page_token,
        } = message;
        Fields::read_all(|fields| {
            let project_id = fields.read("project_id", ProjectId::parse(&project_id));
            let status = status.map(|value| read_enum(value).map(status_of));
            let status = fields.read_optional("status", status);
            let list = format!("streams/{tenant:?}/{project_id:?}/{status:?}");
            let list = page_tokens.read(fields, list, page_size, &page_token);
            Some(Self {
                project_id: project_id?,
                status: status?,
                list: list?,
            })
        })
    }
}

impl TryFrom<pb::StopStreamRequest> for StopStream {
    type Error = Error;

    fn try_from(message: pb::StopStreamRequest) -> Result<Self, Error> {
        let pb::StopStreamRequest { stream_id, hold } = message;
        Fields::read_all(|fields| {
            let id = fields.read("stream_id", StreamId::parse(&stream_id));
            let bounds = Duration::ZERO..=MAX_HOLD;
            let hold = fields.read("hold", read_duration(hold, bounds, "must be 0 to 24 hours"));
            Some(Self {
                id: id?,
                hold: hold?,
            })
        })
    }
}

pub(super) fn epoch(value: i64) -> Result<i64, Invalid> {
    match value {
        1.. => Ok(value),
        _ => Err(Invalid::because("must be at least 1")),
    }
}

fn status_of(status: pb::StreamStatus) -> StreamStatus {
    match status {
        pb::StreamStatus::Unspecified | pb::StreamStatus::Connecting => StreamStatus::Connecting,
        pb::StreamStatus::Live => StreamStatus::Live,
        pb::StreamStatus::Reconnecting => StreamStatus::Reconnecting,
        pb::StreamStatus::Ended => StreamStatus::Ended,
    }
}

/// The action and stop reason of a heartbeat response.
pub(super) fn action_and_reason(action: PublishAction) -> (pb::PublishAction, pb::EndReason) {
    match action {
        PublishAction::Continue => (pb::PublishAction::Continue, pb::EndReason::Unspecified),
        PublishAction::Stop(reason) => (pb::PublishAction::Stop, reason.into()),
    }
}

impl From<Stream> for pb::Stream {
    fn from(stream: Stream) -> Self {
        let Stream {
            id,
            project_id,
            status,
            epoch,
            publisher,
            connected: _,
            create_time,
            live_time,
            last_seen_time,
            deadline: _,
            key_expire_time: _,
            end_time,
            end_reason,
            stats,
        } = stream;
        let status = match status {
            StreamStatus::Connecting => pb::StreamStatus::Connecting,
            StreamStatus::Live => pb::StreamStatus::Live,
            StreamStatus::Reconnecting => pb::StreamStatus::Reconnecting,
            StreamStatus::Ended => pb::StreamStatus::Ended,
        };
        let end_reason = end_reason.map_or(pb::EndReason::Unspecified, pb::EndReason::from);
        Self {
            id: id.to_string(),
            project_id: project_id.to_string(),
            status: status.into(),
            epoch,
            create_time: Some(timestamp(create_time)),
            live_time: live_time.map(timestamp),
            last_seen_time: Some(timestamp(last_seen_time)),
            end_time: end_time.map(timestamp),
            end_reason: end_reason.into(),
            publisher: Some(publisher.into()),
            stats: stats.map(pb::StreamStats::from),
        }
    }
}

impl From<EndReason> for pb::EndReason {
    fn from(reason: EndReason) -> Self {
        match reason {
            EndReason::PublisherEnded => Self::PublisherEnded,
            EndReason::ReconnectTimeout => Self::ReconnectTimeout,
            EndReason::HeartbeatTimeout => Self::HeartbeatTimeout,
            EndReason::StoppedByOwner => Self::StoppedByOwner,
            EndReason::TakenOver => Self::TakenOver,
            EndReason::KeyRotated => Self::KeyRotated,
            EndReason::ProjectDisabled => Self::ProjectDisabled,
            EndReason::ProjectDeleted => Self::ProjectDeleted,
            EndReason::NodeLost => Self::NodeLost,
            EndReason::NeverStarted => Self::NeverStarted,
        }
    }
}

impl From<Refusal> for pb::Refusal {
    fn from(refusal: Refusal) -> Self {
        let Refusal {
            id: _,
            create_time,
            reason,
            node_id,
            peer_prefix,
        } = refusal;
        let reason = match reason {
            RefusalReason::StreamKeyInvalid => pb::ErrorReason::StreamKeyInvalid,
            RefusalReason::PublishConflict => pb::ErrorReason::PublishConflict,
            RefusalReason::ProjectDisabled => pb::ErrorReason::ProjectDisabled,
            RefusalReason::PublishHeld => pb::ErrorReason::PublishHeld,
        };
        Self {
            create_time: Some(timestamp(create_time)),
            reason: reason.into(),
            node_id,
            peer_prefix,
        }
    }
}
