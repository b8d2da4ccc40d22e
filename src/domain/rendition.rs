//! Limits of the video for a destination, within which a worker encodes a rendition.

use std::ops::RangeInclusive;

use super::{Invalid, invalid::refuse};

/// The bounds of a maximum bitrate in kbit/s: what people can look at, and the most that a
/// platform takes, twice.
const BITRATES: RangeInclusive<i32> = 100..=100_000;

/// The bounds of a maximum height in pixels: up to 8K.
const HEIGHTS: RangeInclusive<i32> = 144..=4_320;

/// The codec of renditions, and the time between their keyframes in milliseconds.
pub(super) const CODEC: &str = "h264";
pub(super) const KEYFRAME_INTERVAL_MS: i64 = 2_000;

/// The limits of the video for a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct VideoLimits {
    /// The most bits of video in a second, in thousands; 0 means no limit.
    pub max_bitrate_kbps: i32,
    /// The greatest height of the picture in pixels; 0 means no limit.
    pub max_height: i32,
}

impl VideoLimits {
    /// Whether the destination receives a rendition instead of the video of the stream.
    pub fn is_rendition(self) -> bool {
        self != Self::default()
    }
}

/// Parses a maximum bitrate of video in kbit/s; 0 means no limit.
pub fn parse_max_video_bitrate(kbps: i32) -> Result<i32, Invalid> {
    match kbps == 0 || BITRATES.contains(&kbps) {
        true => Ok(kbps),
        false => refuse("must be 100 to 100000, or 0 for no limit"),
    }
}

/// Parses a maximum height of the picture in pixels; 0 means no limit.
pub fn parse_max_height(pixels: i32) -> Result<i32, Invalid> {
    match pixels == 0 || HEIGHTS.contains(&pixels) {
        true => Ok(pixels),
        false => refuse("must be 144 to 4320, or 0 for no limit"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_have_bounds_and_0_means_none() {
        for (kbps, is_valid) in [
            (0, true),
            (99, false),
            (100, true),
            (100_001, false),
            (-1, false),
        ] {
            assert_eq!(parse_max_video_bitrate(kbps).is_ok(), is_valid, "{kbps}");
        }
        for (pixels, is_valid) in [(0, true), (143, false), (4_320, true), (4_321, false)] {
            assert_eq!(parse_max_height(pixels).is_ok(), is_valid, "{pixels}");
        }
    }
}
