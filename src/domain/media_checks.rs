//! What impairs the media of a stream or a relay, from a table of checks.
//!
//! A check compares measurements with the limits of the platform ([`PlatformLimits`]). It is
//! stricter for an issue that is not raised yet, so that values near a limit do not raise and
//! clear it again and again.
//!
//! [`PlatformLimits`]: super::PlatformLimits

use chrono::TimeDelta;

use super::{
    MediaIssue, MediaIssueCode, PlatformInfo, Relay, Stream, StreamState, StreamStats, Time,
    VideoLimits, rendition,
};

/// How long a dropped packet counts.
const DROP_MEMORY: TimeDelta = TimeDelta::minutes(1);

/// A relay, and what is known of its media.
#[derive(Debug, Clone, Copy)]
struct RelayedMedia<'a> {
    stats: &'a StreamStats,
    platform: &'a PlatformInfo,
    video_limits: VideoLimits,
    relay: &'a Relay,
    now: Time,
}

/// A check: the detail of the issue, if there is one. It gets whether the issue is raised.
type StreamCheck = fn(&StreamStats, bool) -> Option<String>;
type RelayCheck = fn(RelayedMedia<'_>, bool) -> Option<String>;

const STREAM_CHECKS: [(MediaIssueCode, StreamCheck); 2] = [
    (MediaIssueCode::NoAudio, no_audio),
    (MediaIssueCode::TimestampJump, timestamp_jump),
];

const RELAY_CHECKS: [(MediaIssueCode, RelayCheck); 4] = [
    (MediaIssueCode::KeyframeIntervalTooLong, keyframe_interval),
    (MediaIssueCode::BitrateOverLimit, bitrate),
    (MediaIssueCode::CodecNotAccepted, codec),
    (MediaIssueCode::DestinationTooSlow, too_slow),
];

impl MediaIssue {
    /// The present issues of a stream, without those of its relays; `None` if they are those
    /// that it has.
    pub fn of_stream(stream: &Stream, now: Time) -> Option<Vec<Self>> {
        let stats = match stream.state {
            StreamState::Live => stream.stats.as_ref(),
            _ => None,
        };
        let found = stats.into_iter().flat_map(|stats| {
            STREAM_CHECKS
                .iter()
                .map(move |(code, check)| (*code, move |is_raised| check(stats, is_raised)))
        });
        changed(&stream.issues, found, now)
    }

    /// The present issues of a relay of a stream to a platform; `None` if they are those that
    /// it has. While the publisher is away, they stay. With limits of the video, the platform
    /// receives a rendition, and that is what is checked.
    pub fn of_relay(
        relay: &Relay,
        stream: &Stream,
        platform: &PlatformInfo,
        video_limits: VideoLimits,
        now: Time,
    ) -> Option<Vec<Self>> {
        if stream.state == StreamState::Reconnecting && relay.wanted {
            return None;
        }
        let stats = stream.stats.as_ref().filter(|_| relay.wanted);
        let found = stats.into_iter().flat_map(|stats| {
            let media = RelayedMedia {
                stats,
                platform,
                video_limits,
                relay,
                now,
            };
            RELAY_CHECKS
                .iter()
                .map(move |(code, check)| (*code, move |is_raised| check(media, is_raised)))
        });
        changed(&relay.issues, found, now)
    }
}

/// The issues that checks find; `None` if they are those that are raised. These keep their time
/// and detail.
fn changed<C: Fn(bool) -> Option<String>>(
    raised: &[MediaIssue],
    checks: impl Iterator<Item = (MediaIssueCode, C)>,
    now: Time,
) -> Option<Vec<MediaIssue>> {
    let found = checks.filter_map(|(code, check)| {
        let before = raised.iter().find(|issue| issue.code == code);
        let detail = check(before.is_some())?;
        Some(before.cloned().unwrap_or(MediaIssue {
            code,
            since: now,
            detail,
        }))
    });
    let found: Vec<_> = found.collect();
    (found != raised).then_some(found)
}

fn no_audio(stats: &StreamStats, _is_raised: bool) -> Option<String> {
    (stats.media.has_audio == Some(false)).then(|| "the stream has no audio".to_owned())
}

fn timestamp_jump(stats: &StreamStats, _is_raised: bool) -> Option<String> {
    let jumps = stats.media.timestamp_jumps;
    let detail = || format!("the timestamps of the media jumped {jumps} times within a minute");
    (jumps > 0).then(detail)
}

fn keyframe_interval(media: RelayedMedia<'_>, is_raised: bool) -> Option<String> {
    const TOLERANCE_MS: i64 = 500;
    let limit_ms = i64::from(media.platform.limits.keyframe_interval_seconds) * 1000;
    let tolerance_ms = if is_raised {
        TOLERANCE_MS / 2
    } else {
        TOLERANCE_MS
    };
    let (interval_ms, advice) = match media.video_limits.is_rendition() {
        true => (rendition::KEYFRAME_INTERVAL_MS, ""),
        false => (
            media.stats.media.keyframe_interval_ms?,
            ": set the key frame interval of the encoder",
        ),
    };
    (limit_ms > 0 && interval_ms > limit_ms + tolerance_ms).then(|| {
        let name = media.platform.display_name;
        format!(
            "key frames are {} apart, {name} recommends {}{advice}",
            seconds(interval_ms),
            seconds(limit_ms)
        )
    })
}

fn bitrate(media: RelayedMedia<'_>, is_raised: bool) -> Option<String> {
    let limits = media.platform.limits;
    let limit_kbps =
        i64::from(limits.max_video_bitrate_kbps) + i64::from(limits.max_audio_bitrate_kbps);
    let percent = if is_raised { 100 } else { 110 };
    // That of a rendition is measured where it arrives.
    let bitrate_bps = match media.video_limits.is_rendition() {
        true => media.relay.bitrate_bps,
        false => media.stats.bitrate_bps,
    };
    let kbps = bitrate_bps / 1000;
    let is_over = kbps.saturating_mul(100) > limit_kbps.saturating_mul(percent);
    (limits.max_video_bitrate_kbps > 0 && is_over).then(|| {
        let name = media.platform.display_name;
        format!("the bitrate is {kbps} kbit/s, {name} takes {limit_kbps} kbit/s with audio")
    })
}

fn codec(media: RelayedMedia<'_>, _is_raised: bool) -> Option<String> {
    let (limits, stats) = (media.platform.limits, media.stats);
    let refused = |accepted: &[&str], codec: &str| {
        let codec = canonical(codec);
        let is_refused = !codec.is_empty() && !accepted.is_empty() && !accepted.contains(&codec);
        is_refused.then(|| {
            let name = media.platform.display_name;
            let accepted = accepted.join(", ");
            format!("{name} is not known to accept {codec}, but {accepted}")
        })
    };
    let video_codec = match media.video_limits.is_rendition() {
        true => rendition::CODEC,
        false => &stats.video_codec,
    };
    refused(limits.video_codecs, video_codec)
        .or_else(|| refused(limits.audio_codecs, &stats.audio_codec))
}

fn too_slow(media: RelayedMedia<'_>, _is_raised: bool) -> Option<String> {
    let relay = media.relay;
    let is_recent = |last: Time| last + DROP_MEMORY > media.now;
    relay
        .delivery
        .last_drop_time
        .is_some_and(is_recent)
        .then(|| {
            format!(
                "the destination is too slow: {} packets were dropped, and it received {} kbit/s",
                relay.delivery.dropped_packets,
                relay.bitrate_bps / 1000
            )
        })
}

/// The usual name of a codec, of which media servers have several.
fn canonical(codec: &str) -> &str {
    match codec {
        "avc" | "avc1" => "h264",
        "h265" | "hvc1" => "hevc",
        "av01" => "av1",
        "mp4a" => "aac",
        codec => codec,
    }
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds of an interval")]
fn seconds(millis: i64) -> String {
    format!("{} s", millis as f64 / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::{MediaIssueCode::*, *};
    use crate::domain::{
        DestinationId, IngestProtocol, MediaMeasurements, Platform, ProjectId, Publisher,
        RelayDelivery, StreamTimeouts, now,
    };

    fn live(stats: StreamStats) -> Stream {
        let publisher = Publisher {
            node_id: "n".to_owned(),
            boot_id: "b".to_owned(),
            connection_id: "c".to_owned(),
            peer_address: String::new(),
            protocol: IngestProtocol::Rtmp,
        };
        let second = std::time::Duration::from_secs(1);
        let timeouts = StreamTimeouts {
            connect: second,
            heartbeat: second,
        };
        let mut stream = Stream::begin(ProjectId::generate(), publisher, timeouts, now());
        stream.record_activity(true, now());
        stream.stats = Some(stats);
        stream
    }

    fn good() -> StreamStats {
        StreamStats {
            bytes_received: 1,
            bitrate_bps: 6_000_000,
            video_codec: "h264".to_owned(),
            audio_codec: "aac".to_owned(),
            media: MediaMeasurements {
                keyframe_interval_ms: Some(2_000),
                has_audio: Some(true),
                ..MediaMeasurements::default()
            },
            ..StreamStats::default()
        }
    }

    fn with_interval(keyframe_interval_ms: i64) -> StreamStats {
        let mut stats = good();
        stats.media.keyframe_interval_ms = Some(keyframe_interval_ms);
        stats
    }

    fn with_bitrate(bitrate_bps: i64) -> StreamStats {
        StreamStats {
            bitrate_bps,
            ..good()
        }
    }

    fn with_codec(video_codec: &str) -> StreamStats {
        StreamStats {
            video_codec: video_codec.to_owned(),
            ..good()
        }
    }

    /// The issues of a relay that copies the media of the stream.
    fn of_relay(
        relay: &Relay,
        stream: &Stream,
        platform: &PlatformInfo,
        now: Time,
    ) -> Option<Vec<MediaIssue>> {
        MediaIssue::of_relay(relay, stream, platform, VideoLimits::default(), now)
    }

    fn codes(issues: Option<Vec<MediaIssue>>) -> Vec<MediaIssueCode> {
        let issues = issues.unwrap_or_default();
        issues.into_iter().map(|issue| issue.code).collect()
    }

    #[test]
    fn a_relay_has_the_issues_of_its_platform() {
        use Platform::{Chzzk, Custom, Twitch, Youtube};
        for (platform, stats, expected) in [
            (Twitch, good(), &[][..]),
            (Twitch, with_interval(8_333), &[KeyframeIntervalTooLong]),
            (Twitch, with_interval(2_500), &[]),
            (Chzzk, with_interval(2_000), &[KeyframeIntervalTooLong]),
            (Custom, with_interval(8_333), &[]),
            (Twitch, with_bitrate(9_000_000), &[BitrateOverLimit]),
            (Twitch, with_bitrate(6_900_000), &[]),
            (Youtube, with_bitrate(9_000_000), &[]),
            (Twitch, with_codec("hevc"), &[CodecNotAccepted]),
            (Twitch, with_codec("h265"), &[CodecNotAccepted]),
            (Youtube, with_codec("h265"), &[]),
            (Youtube, with_codec("vp9"), &[CodecNotAccepted]),
            (Custom, with_codec("vp9"), &[]),
            (Twitch, with_codec(""), &[]),
        ] {
            let stream = live(stats.clone());
            let relay = Relay::new(&stream, DestinationId::generate(), now());
            let found = of_relay(&relay, &stream, platform.info(), now());
            assert_eq!(codes(found), expected, "{platform:?} {stats:?}");
        }
    }

    #[test]
    fn of_a_rendition_the_media_that_the_platform_receives_is_checked() {
        use Platform::{Chzzk, Twitch};
        let limits = [(2_500, 0), (0, 720)].map(|(max_bitrate_kbps, max_height)| VideoLimits {
            max_bitrate_kbps,
            max_height,
        });
        let source = StreamStats {
            video_codec: "av1".to_owned(),
            bitrate_bps: 20_000_000,
            ..with_interval(8_333)
        };
        let stream = live(source);
        for (platform, bitrate_bps, expected) in [
            (Twitch, 2_600_000, &[][..]),
            (Twitch, 9_000_000, &[BitrateOverLimit]),
            (Chzzk, 2_600_000, &[KeyframeIntervalTooLong]),
        ] {
            for limits in limits {
                let relay = Relay {
                    bitrate_bps,
                    ..Relay::new(&stream, DestinationId::generate(), now())
                };
                let info = platform.info();
                let found = MediaIssue::of_relay(&relay, &stream, info, limits, now());
                assert_eq!(codes(found), expected, "{platform:?} {limits:?}");
            }
        }
    }

    #[test]
    fn a_destination_is_too_slow_until_a_minute_after_the_last_drop() {
        let (stream, now) = (live(good()), now());
        for (seconds, expected) in [
            (0, &[DestinationTooSlow][..]),
            (59, &[DestinationTooSlow]),
            (60, &[]),
        ] {
            let relay = Relay {
                delivery: RelayDelivery {
                    dropped_packets: 7,
                    last_drop_time: Some(now - TimeDelta::seconds(seconds)),
                    ..RelayDelivery::default()
                },
                ..Relay::new(&stream, DestinationId::generate(), now)
            };
            let found = of_relay(&relay, &stream, Platform::Custom.info(), now);
            assert_eq!(codes(found), expected, "after {seconds} s");
        }
    }

    #[test]
    fn a_stream_has_the_issues_that_concern_every_platform() {
        let without_audio = |has_audio| {
            let mut stats = good();
            stats.media.has_audio = has_audio;
            stats
        };
        let mut jumping = good();
        jumping.media.timestamp_jumps = 2;
        for (stats, expected) in [
            (good(), &[][..]),
            (without_audio(Some(false)), &[NoAudio]),
            (without_audio(None), &[]),
            (jumping, &[TimestampJump]),
        ] {
            let found = MediaIssue::of_stream(&live(stats.clone()), now());
            assert_eq!(codes(found), expected, "{stats:?}");
        }
    }

    #[test]
    fn a_raised_issue_stays_until_the_value_is_well_within_the_limit() {
        let raised_at = now();
        for (stats, stays) in [
            (with_bitrate(9_000_000), true),
            (with_bitrate(6_500_000), true),
            (with_bitrate(6_300_000), false),
        ] {
            let mut stream = live(with_bitrate(9_000_000));
            let mut relay = Relay::new(&stream, DestinationId::generate(), raised_at);
            let platform = Platform::Twitch.info();
            relay.issues = of_relay(&relay, &stream, platform, raised_at).unwrap();
            stream.stats = Some(stats.clone());
            let later = raised_at + TimeDelta::seconds(9);
            let found = of_relay(&relay, &stream, platform, later);
            // Unchanged issues keep their time and detail.
            assert_eq!(found.is_none(), stays, "{stats:?}");
        }
    }

    #[test]
    fn a_stream_that_is_not_live_and_a_stopped_relay_have_no_issues() {
        let mut stats = with_bitrate(9_000_000);
        stats.media.has_audio = Some(false);
        let mut stream = live(stats);
        stream.issues = MediaIssue::of_stream(&stream, now()).unwrap();
        let platform = Platform::Twitch.info();
        let mut relay = Relay::new(&stream, DestinationId::generate(), now());
        relay.issues = of_relay(&relay, &stream, platform, now()).unwrap();

        relay.wanted = false;
        assert_eq!(of_relay(&relay, &stream, platform, now()), Some(vec![]));
        stream.state = StreamState::Reconnecting;
        assert_eq!(MediaIssue::of_stream(&stream, now()), Some(vec![]));
        relay.wanted = true;
        assert_eq!(of_relay(&relay, &stream, platform, now()), None);
    }
}
