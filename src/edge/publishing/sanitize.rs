//! Enforces the bounds of the contract: one invalid field of one connection would make the
//! control plane refuse the report of all.

use std::net::IpAddr;

use crate::{domain::Secret, proto::v1::StreamStats};

const MAX_STREAM_KEY_BYTES: usize = 255;
const MAX_URL_BYTES: usize = 1024;
const MAX_CODEC_CHARS: usize = 32;

/// An IP address; empty if it is none.
pub(super) fn peer_address(text: &str) -> String {
    match text.parse::<IpAddr>() {
        Ok(_) => text.to_owned(),
        Err(_) => String::new(),
    }
}

/// A stream key; empty if it is too long.
pub(super) fn stream_key(key: &Secret) -> String {
    at_most(MAX_STREAM_KEY_BYTES, key)
}

/// A play URL; empty if it is too long.
pub(super) fn play_url(url: &Secret) -> String {
    at_most(MAX_URL_BYTES, url)
}

fn at_most(max_bytes: usize, text: &Secret) -> String {
    let text = Some(text.expose()).filter(|text| text.len() <= max_bytes);
    text.unwrap_or_default().to_owned()
}

/// Measured values; invalid ones become 0 or empty.
pub(super) fn stats(stats: &StreamStats) -> StreamStats {
    let codec = |name: &str| -> String {
        let printable = name.chars().filter(|letter| !letter.is_control());
        printable.take(MAX_CODEC_CHARS).collect()
    };
    StreamStats {
        bytes_received: stats.bytes_received.max(0),
        bitrate_bps: stats.bitrate_bps.max(0),
        width: stats.width.max(0),
        height: stats.height.max(0),
        fps: if stats.fps.is_finite() {
            stats.fps.clamp(0.0, 1000.0)
        } else {
            0.0
        },
        video_codec: codec(&stats.video_codec),
        audio_codec: codec(&stats.audio_codec),
        audio_channels: stats.audio_channels.max(0),
        audio_sample_rate: stats.audio_sample_rate.max(0),
        // Media servers do not measure the rest.
        ..StreamStats::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_values_become_empty_or_zero() {
        assert_eq!(peer_address("2001:db8::1"), "2001:db8::1");
        assert_eq!(peer_address("unix:/run/x"), "");
        assert_eq!(stream_key(&Secret::new("k".repeat(255))).len(), 255);
        assert_eq!(stream_key(&Secret::new("k".repeat(256))), "");
        assert_eq!(play_url(&Secret::new("u".repeat(1024))).len(), 1024);
        assert_eq!(play_url(&Secret::new("u".repeat(1025))), "");

        let invalid = StreamStats {
            bytes_received: -1,
            bitrate_bps: -1,
            width: -1,
            height: -1,
            fps: f64::NAN,
            video_codec: "ä".repeat(33),
            audio_codec: "a\nc".to_owned(),
            audio_channels: -1,
            audio_sample_rate: -1,
            ..StreamStats::default()
        };
        let sanitized = StreamStats {
            video_codec: "ä".repeat(32),
            audio_codec: "ac".to_owned(),
            ..StreamStats::default()
        };
        assert_eq!(stats(&invalid), sanitized);
    }
}
