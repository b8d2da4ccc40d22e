use serde::{Deserialize, Serialize};

use super::Time;

text_enum! {
    /// The kind of an issue of media.
    pub enum MediaIssueCode {
        /// Key frames are further apart than the platform recommends.
        KeyframeIntervalTooLong = "keyframe_interval_too_long",
        /// The bitrate is above what the platform takes.
        BitrateOverLimit = "bitrate_over_limit",
        /// The stream has no audio.
        NoAudio = "no_audio",
        /// The platform is not known to accept a codec.
        CodecNotAccepted = "codec_not_accepted",
        /// The destination is too slow, and media is dropped.
        DestinationTooSlow = "destination_too_slow",
        /// Timestamps jump.
        TimestampJump = "timestamp_jump",
        /// No worker takes the relay.
        NoCapacity = "no_capacity",
    }
}

/// An issue of the media of a stream or a relay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MediaIssue {
    /// Its kind.
    pub code: MediaIssueCode,
    /// When it was raised.
    pub since: Time,
    /// The values when it was raised.
    pub detail: String,
}
