//! What the contract bounds, held to it here: one wrong field of one connection would
//! make the control plane refuse the report of all.

use std::net::IpAddr;

use crate::{domain::Secret, proto::v1::StreamStats};

/// The longest stream key and the longest address, in bytes.
const KEY: usize = 255;
const URL: usize = 1024;

/// The longest name of a codec, in characters.
const CODEC: usize = 32;

/// An IP address, or nothing.
pub(super) fn peer(text: &str) -> String {
    match text.parse::<IpAddr>() {
        Ok(_) => text.to_owned(),
        Err(_) => String::new(),
    }
}

/// A stream key that may be one, or nothing.
pub(super) fn key(key: &Secret) -> String {
    let fits = key.expose().len() <= KEY;
    if fits {
        key.expose().to_owned()
    } else {
        String::new()
    }
}

/// An address that is not too long, or nothing.
pub(super) fn url(url: &Secret) -> String {
    let fits = url.expose().len() <= URL;
    if fits {
        url.expose().to_owned()
    } else {
        String::new()
    }
}

/// Measured values that can be: what cannot is not measured.
pub(super) fn stats(stats: &StreamStats) -> StreamStats {
    let codec = |name: &str| -> String {
        let plain = name.chars().filter(|letter| !letter.is_control());
        plain.take(CODEC).collect()
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
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_is_left_out() {
        assert_eq!(peer("2001:db8::1"), "2001:db8::1");
        assert_eq!(peer("unix:/run/x"), "");
        assert_eq!(key(&Secret::new("k".repeat(255))).len(), 255);
        assert_eq!(key(&Secret::new("k".repeat(256))), "");
        assert_eq!(url(&Secret::new("u".repeat(1024))).len(), 1024);
        assert_eq!(url(&Secret::new("u".repeat(1025))), "");

        let odd = StreamStats {
            bytes_received: -1,
            bitrate_bps: -1,
            width: -1,
            height: -1,
            fps: f64::NAN,
            video_codec: "ä".repeat(33),
            audio_codec: "a\nc".to_owned(),
        };
        let even = StreamStats {
            video_codec: "ä".repeat(32),
            audio_codec: "ac".to_owned(),
            ..StreamStats::default()
        };
        assert_eq!(stats(&odd), even);
    }
}
