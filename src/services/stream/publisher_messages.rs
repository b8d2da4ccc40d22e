//! Conversions of publishers and their measurements.

use crate::{
    domain::{IngestProtocol, Invalid, Publisher, StreamStats},
    proto::v1 as pb,
    services::fields::{Fields, not_negative},
};

pub(super) fn publisher(fields: &mut Fields, message: Option<pb::Publisher>) -> Option<Publisher> {
    let pb::Publisher {
        node_id,
        boot_id,
        connection_id,
        peer_address,
        protocol,
    } = message.unwrap_or_default();
    let node_id = fields.read("publisher.node_id", Publisher::parse_id(&node_id));
    let boot_id = fields.read("publisher.boot_id", Publisher::parse_id(&boot_id));
    let connection_id = fields.read(
        "publisher.connection_id",
        Publisher::parse_id(&connection_id),
    );
    let peer_address = fields.read(
        "publisher.peer_address",
        Publisher::parse_peer_address(&peer_address),
    );
    let protocol = fields.read("publisher.protocol", self::protocol(protocol));
    Some(Publisher {
        node_id: node_id?,
        boot_id: boot_id?,
        connection_id: connection_id?,
        peer_address: peer_address?,
        protocol: protocol?,
    })
}

pub(super) fn protocol(value: i32) -> Result<IngestProtocol, Invalid> {
    match pb::IngestProtocol::try_from(value) {
        Ok(pb::IngestProtocol::Unspecified) => Ok(IngestProtocol::Unknown),
        Ok(pb::IngestProtocol::Rtmp) => Ok(IngestProtocol::Rtmp),
        Ok(pb::IngestProtocol::Rtmps) => Ok(IngestProtocol::Rtmps),
        Ok(pb::IngestProtocol::Srt) => Ok(IngestProtocol::Srt),
        Ok(pb::IngestProtocol::Whip) => Ok(IngestProtocol::Whip),
        Ok(pb::IngestProtocol::Rtsp) => Ok(IngestProtocol::Rtsp),
        Err(_) => Err(Invalid::because("must be one of the values of its enum")),
    }
}

pub(super) fn stats(fields: &mut Fields, message: pb::StreamStats) -> Option<StreamStats> {
    let pb::StreamStats {
        bytes_received,
        bitrate_bps,
        width,
        height,
        fps,
        video_codec,
        audio_codec,
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
    Some(StreamStats {
        bytes_received: bytes_received?,
        bitrate_bps: bitrate_bps?,
        width: width?,
        height: height?,
        fps: fps?,
        video_codec: video_codec?,
        audio_codec: audio_codec?,
    })
}

fn codec(text: String) -> Result<String, Invalid> {
    if text.chars().count() > 32 || text.chars().any(char::is_control) {
        return Err(Invalid::because(
            "must have at most 32 characters, none of them a control character",
        ));
    }
    Ok(text)
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
        let protocol = match protocol {
            IngestProtocol::Unknown => pb::IngestProtocol::Unspecified,
            IngestProtocol::Rtmp => pb::IngestProtocol::Rtmp,
            IngestProtocol::Rtmps => pb::IngestProtocol::Rtmps,
            IngestProtocol::Srt => pb::IngestProtocol::Srt,
            IngestProtocol::Whip => pb::IngestProtocol::Whip,
            IngestProtocol::Rtsp => pb::IngestProtocol::Rtsp,
        };
        Self {
            node_id,
            boot_id,
            connection_id,
            peer_address,
            protocol: protocol.into(),
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
        } = stats;
        Self {
            bytes_received,
            bitrate_bps,
            width,
            height,
            fps,
            video_codec,
            audio_codec,
        }
    }
}
