//! Conversions between StreamService's messages and the domain.

use std::time::Duration;

use prost::Message;

use crate::{
    auth::Sealer,
    domain::{
        CreateTimeRange, Invalid, MediaIssue, MediaMeasurements, PlayUrl, ProjectId, PublishAction,
        Publisher, Refusal, Stream, StreamId, StreamKey, StreamSample, StreamStats, Tenant, UserId,
    },
    error::Error,
    proto::v1 as pb,
    repositories::{IdempotencyKey, StreamFilter},
    services::{
        enums::{read_enum, read_protocol},
        fields::{
            Fields, duration, not_negative, read_created, read_duration, read_idempotency,
            read_organization, read_timestamp, timestamp,
        },
        paging::{PageRequest, PageTokens},
    },
};

/// The longest time between key frames that is recorded.
const MAX_KEYFRAME_INTERVAL: Duration = Duration::from_secs(60 * 60);

/// The longest hold of StopStream.
const MAX_HOLD: Duration = Duration::from_secs(24 * 60 * 60);

pub(super) struct BeginPublish {
    pub stream_key: StreamKey,
    pub publisher: Publisher,
    pub media_flowing: bool,
    pub play_url: Option<PlayUrl>,
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
            let publisher = self::publisher(fields, publisher);
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

/// The id and the epoch of a stream, and the connection that reports them.
type HeldStream = (StreamId, i64, Publisher);

/// Reads the stream, and its measurements.
pub(super) fn read_heartbeat_publish(
    message: pb::HeartbeatPublishRequest,
) -> Result<(HeldStream, Option<StreamStats>), Error> {
    let pb::HeartbeatPublishRequest {
        stream_id,
        epoch,
        publisher,
        stats,
    } = message;
    Fields::read_all(|fields| {
        let held = held_stream(fields, &stream_id, epoch, publisher);
        let stats = self::stats(fields, stats);
        held.zip(stats)
    })
}

pub(super) fn read_end_publish(message: pb::EndPublishRequest) -> Result<HeldStream, Error> {
    let pb::EndPublishRequest {
        stream_id,
        epoch,
        publisher,
    } = message;
    Fields::read_all(|fields| held_stream(fields, &stream_id, epoch, publisher))
}

fn held_stream(
    fields: &mut Fields,
    stream_id: &str,
    epoch: i64,
    publisher: Option<pb::Publisher>,
) -> Option<HeldStream> {
    let id = fields.read("stream_id", StreamId::parse(stream_id));
    let epoch = fields.read("epoch", self::epoch(epoch));
    let publisher = self::publisher(fields, publisher);
    Some((id?, epoch?, publisher?))
}

/// Reads the filter and the page of a list of streams.
pub(super) fn read_list_streams(
    message: pb::ListStreamsRequest,
    tenant: Tenant,
    page_tokens: &PageTokens,
) -> Result<(Tenant, StreamFilter, PageRequest), Error> {
    let pb::ListStreamsRequest {
        organization_id,
        project_id,
        state,
        page_size,
        page_token,
        created_after,
        created_before,
    } = message;
    Fields::read_all(|fields| {
        let tenant = read_organization(fields, tenant, &organization_id);
        let project_id = match project_id.is_empty() {
            true => Some(None),
            false => fields.read("project_id", ProjectId::parse(&project_id).map(Some)),
        };
        let state = fields.read_optional("state", state.map(read_enum));
        let created = read_created(fields, created_after, created_before);
        let created_name = created.map(|created| created.to_string());
        let list = format!(
            "streams/{tenant:?}/{project_id:?}/{state:?}{}",
            created_name.unwrap_or_default()
        );
        let list = page_tokens.read(fields, list, page_size, &page_token);
        let filter = StreamFilter {
            project_id: project_id?,
            state: state?,
            created: created?,
        };
        Some((tenant?, filter, list?))
    })
}

/// Reads the project, the bounds and the page of a list of refusals.
pub(super) fn read_list_refusals(
    message: pb::ListRefusalsRequest,
    tenant: Tenant,
    page_tokens: &PageTokens,
) -> Result<(ProjectId, CreateTimeRange, PageRequest), Error> {
    let pb::ListRefusalsRequest {
        project_id,
        page_size,
        page_token,
        created_after,
        created_before,
    } = message;
    Fields::read_all(|fields| {
        let project_id = fields.read("project_id", ProjectId::parse(&project_id));
        let created = read_created(fields, created_after, created_before);
        let created_name = created.map(|created| created.to_string());
        let list = format!(
            "refusals/{tenant:?}/{project_id:?}{}",
            created_name.unwrap_or_default()
        );
        let list = page_tokens.read(fields, list, page_size, &page_token);
        Some((project_id?, created?, list?))
    })
}

/// Reads the stream, the bounds and the page of a list of samples.
pub(super) fn read_list_stream_samples(
    message: pb::ListStreamSamplesRequest,
    tenant: Tenant,
    page_tokens: &PageTokens,
) -> Result<(StreamId, CreateTimeRange, PageRequest), Error> {
    let pb::ListStreamSamplesRequest {
        stream_id,
        page_size,
        page_token,
        sampled_after,
        sampled_before,
    } = message;
    Fields::read_all(|fields| {
        let id = fields.read("stream_id", StreamId::parse(&stream_id));
        let after = fields.read_optional("sampled_after", sampled_after.map(read_timestamp));
        let before = fields.read_optional("sampled_before", sampled_before.map(read_timestamp));
        let sampled = after.zip(before);
        let sampled = sampled.map(|(after, before)| CreateTimeRange::new(after, before));
        let range = sampled.map(|range| range.to_string()).unwrap_or_default();
        let list = format!("samples/{tenant:?}/{id:?}{range}");
        let list = page_tokens.read(fields, list, page_size, &page_token);
        Some((id?, sampled?, list?))
    })
}

/// Reads the stream and the hold.
pub(super) fn read_stop_stream(
    message: pb::StopStreamRequest,
    user: UserId,
    sealer: &Sealer,
) -> Result<(StreamId, Duration, Option<IdempotencyKey>), Error> {
    let content = message.encode_to_vec();
    let pb::StopStreamRequest {
        stream_id,
        hold,
        request_id,
    } = message;
    Fields::read_all(|fields| {
        let id = fields.read("stream_id", StreamId::parse(&stream_id));
        let bounds = Duration::ZERO..=MAX_HOLD;
        let hold = fields.read("hold", read_duration(hold, bounds, "must be 0 to 24 hours"));
        let method = "StopStream";
        let idempotency = read_idempotency(fields, user, &request_id, method, &content, sealer);
        Some((id?, hold?, idempotency?))
    })
}

/// Reads a publisher.
fn publisher(fields: &mut Fields, message: Option<pb::Publisher>) -> Option<Publisher> {
    let pb::Publisher {
        node_id,
        boot_id,
        connection_id,
        peer_address,
        protocol,
    } = message.unwrap_or_default();
    let node_id = fields.read("publisher.node_id", Publisher::parse_id(&node_id));
    let boot_id = fields.read("publisher.boot_id", Publisher::parse_id(&boot_id));
    let connection_id = Publisher::parse_id(&connection_id);
    let connection_id = fields.read("publisher.connection_id", connection_id);
    let peer_address = Publisher::parse_peer_address(&peer_address);
    let peer_address = fields.read("publisher.peer_address", peer_address);
    let protocol = fields.read("publisher.protocol", read_protocol(protocol));
    Some(Publisher {
        node_id: node_id?,
        boot_id: boot_id?,
        connection_id: connection_id?,
        peer_address: peer_address?,
        protocol: protocol?,
    })
}

/// Reads the optional measurements.
pub(super) fn stats(
    fields: &mut Fields,
    message: Option<pb::StreamStats>,
) -> Option<Option<StreamStats>> {
    let Some(message) = message else {
        return Some(None);
    };
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
    } = message;
    let bytes_received = fields.read("stats.bytes_received", not_negative(bytes_received));
    let bitrate_bps = fields.read("stats.bitrate_bps", not_negative(bitrate_bps));
    let width = fields.read("stats.width", not_negative(width));
    let height = fields.read("stats.height", not_negative(height));
    let fps = match fps.is_finite() {
        true => not_negative(fps),
        false => Err(Invalid::because("must be a number")),
    };
    let fps = fields.read("stats.fps", fps);
    let video_codec = fields.read("stats.video_codec", codec(video_codec));
    let audio_codec = fields.read("stats.audio_codec", codec(audio_codec));
    let interval = keyframe_interval.map(read_keyframe_interval).transpose();
    let keyframe_interval_ms = fields.read("stats.keyframe_interval", interval);
    let audio_channels = fields.read("stats.audio_channels", not_negative(audio_channels));
    let sample_rate = not_negative(audio_sample_rate);
    let audio_sample_rate = fields.read("stats.audio_sample_rate", sample_rate);
    let timestamp_jumps = fields.read("stats.timestamp_jumps", not_negative(timestamp_jumps));
    Some(Some(StreamStats {
        bytes_received: bytes_received?,
        bitrate_bps: bitrate_bps?,
        width: width?,
        height: height?,
        fps: fps?,
        video_codec: video_codec?,
        audio_codec: audio_codec?,
        media: MediaMeasurements {
            keyframe_interval_ms: keyframe_interval_ms?,
            audio_channels: audio_channels?,
            audio_sample_rate: audio_sample_rate?,
            has_audio,
            timestamp_jumps: timestamp_jumps?,
        },
    }))
}

/// A time between key frames, in milliseconds.
fn read_keyframe_interval(interval: prost_types::Duration) -> Result<i64, Invalid> {
    let bounds = Duration::ZERO..=MAX_KEYFRAME_INTERVAL;
    let interval = read_duration(Some(interval), bounds, "must be 0 to 1 hour")?;
    Ok(i64::try_from(interval.as_millis()).unwrap_or(i64::MAX))
}

fn codec(text: String) -> Result<String, Invalid> {
    if text.chars().count() > 32 || text.chars().any(char::is_control) {
        return Err(Invalid::because(
            "must have at most 32 characters, none of them a control character",
        ));
    }
    Ok(text)
}

pub(super) fn epoch(value: i64) -> Result<i64, Invalid> {
    match value {
        1.. => Ok(value),
        _ => Err(Invalid::because("must be at least 1")),
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
            state,
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
            issues,
        } = stream;
        let end_reason = end_reason.map_or(pb::EndReason::Unspecified, pb::EndReason::from);
        Self {
            id: id.to_string(),
            project_id: project_id.to_string(),
            state: pb::StreamState::from(state).into(),
            epoch,
            create_time: Some(timestamp(create_time)),
            live_time: live_time.map(timestamp),
            last_seen_time: Some(timestamp(last_seen_time)),
            end_time: end_time.map(timestamp),
            end_reason: end_reason.into(),
            publisher: Some(publisher.into()),
            stats: stats.map(pb::StreamStats::from),
            issues: issues.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<MediaIssue> for pb::MediaIssue {
    fn from(issue: MediaIssue) -> Self {
        let MediaIssue {
            code,
            since,
            detail,
        } = issue;
        Self {
            code: pb::MediaIssueCode::from(code).into(),
            since: Some(timestamp(since)),
            detail,
        }
    }
}

impl From<Publisher> for pb::Publisher {
    fn from(publisher: Publisher) -> Self {
        let Publisher {
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
            protocol: pb::IngestProtocol::from(protocol).into(),
        }
    }
}

impl From<StreamStats> for pb::StreamStats {
    fn from(stats: StreamStats) -> Self {
        let StreamStats {
            bytes_received,
            bitrate_bps,
            width,
            height,
            fps,
            video_codec,
            audio_codec,
            media,
        } = stats;
        let MediaMeasurements {
            keyframe_interval_ms,
            audio_channels,
            audio_sample_rate,
            has_audio,
            timestamp_jumps,
        } = media;
        let interval = |millis: i64| Duration::from_millis(millis.unsigned_abs());
        Self {
            bytes_received,
            bitrate_bps,
            width,
            height,
            fps,
            video_codec,
            audio_codec,
            keyframe_interval: keyframe_interval_ms.map(interval).map(duration),
            audio_channels,
            audio_sample_rate,
            has_audio,
            timestamp_jumps,
        }
    }
}

impl From<StreamSample> for pb::StreamSample {
    fn from(sample: StreamSample) -> Self {
        let StreamSample { sample_time, stats } = sample;
        Self {
            sample_time: Some(timestamp(sample_time)),
            stats: Some(stats.into()),
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
        Self {
            create_time: Some(timestamp(create_time)),
            reason: pb::ErrorReason::from(reason).into(),
            node_id,
            peer_prefix,
        }
    }
}
