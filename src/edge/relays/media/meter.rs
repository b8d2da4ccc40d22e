use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use super::{
    description::{AudioFormat, codec_of, metadata_numbers, picture_size},
    packet::{Packet, Role},
};
use crate::{edge::media_meters::MeasuresMedia, proto::v1::StreamStats};

/// The media over which the bitrate and the frame rate are measured, in milliseconds, and the
/// distance of the samples.
const WINDOW_MS: i64 = 5_000;
const SAMPLE_DISTANCE_MS: i64 = 500;

/// The time without audio after which a stream with video counts as one without audio.
const AUDIO_TIMEOUT: Duration = Duration::from_secs(5);

/// The time without media after which there is no bitrate.
const MEDIA_TIMEOUT: Duration = Duration::from_secs(5);

/// Timestamps of a track may go back by this, and ahead of the passed time, in milliseconds.
const MAX_BACKWARD_MS: i64 = 100;
const MAX_AHEAD_MS: i64 = 1_000;

/// The time since the first keyframe from which on it counts as the time between keyframes.
const LONG_INTERVAL_MS: i64 = 3_000;

/// The longest time between key frames that is reported.
const MAX_KEYFRAME_INTERVAL_MS: i64 = 60 * 60 * 1_000;

/// How long a jump of timestamps counts, and the most that are counted.
const JUMP_MEMORY: Duration = Duration::from_secs(60);
const MAX_JUMPS: usize = 1_000;

/// Measures the media of a stream. A packet costs a lock without contention and some additions.
#[derive(Debug, Default)]
pub(crate) struct MediaMeter {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    epoch: u64,
    /// The bytes of media in all epochs.
    bytes: u64,
    frames: u64,
    /// Since when this epoch has media.
    started: Option<Instant>,
    last_media: Option<Instant>,
    last_audio: Option<Instant>,
    video: Track,
    audio: Track,
    /// The positions, bytes and frames of the last seconds, in milliseconds of media.
    samples: VecDeque<(i64, u64, u64)>,
    /// The last keyframe: its position and when it came.
    keyframe: Option<(i64, Instant)>,
    keyframe_interval_ms: Option<i64>,
    video_codec: String,
    audio_codec: String,
    width: i32,
    height: i32,
    audio_format: AudioFormat,
    jumps: VecDeque<Instant>,
}

/// The timestamps of audio or video.
#[derive(Debug, Default, Clone, Copy)]
struct Track {
    last: Option<(u32, Instant)>,
    /// The time from the first packet, in milliseconds, without jumps.
    position: i64,
}

impl Track {
    /// Adds a packet; returns whether its timestamp jumps.
    fn advance(&mut self, timestamp: u32, now: Instant) -> bool {
        let Some((last, at)) = self.last.replace((timestamp, now)) else {
            return false;
        };
        let step = i64::from(timestamp.wrapping_sub(last).cast_signed());
        let elapsed = i64::try_from(now.saturating_duration_since(at).as_millis());
        let ahead = step.saturating_sub(elapsed.unwrap_or(i64::MAX));
        let jumps = step < -MAX_BACKWARD_MS || ahead > MAX_AHEAD_MS;
        if !jumps {
            self.position += step.max(0);
        }
        jumps
    }
}

impl MediaMeter {
    /// Adds a packet.
    pub(super) fn add(&self, packet: &Packet, now: Instant) {
        let mut state = self.state.lock();
        if packet.epoch != state.epoch {
            state.begin_epoch(packet.epoch);
        }
        match packet.role {
            Role::Metadata => state.describe(packet),
            Role::Header(_) => state.add_header(packet),
            Role::Keyframe | Role::Frame | Role::Audio => state.add_media(packet, now),
            Role::Data => {}
        }
    }

    fn stats_at(&self, now: Instant) -> StreamStats {
        let mut state = self.state.lock();
        let state = &mut *state;
        state.forget_jumps(now);
        let is_flowing = state.is_recent(state.last_media, MEDIA_TIMEOUT, now);
        let (bitrate_bps, fps) = match is_flowing {
            true => state.rates(),
            false => (0, 0.0),
        };
        StreamStats {
            bytes_received: i64::try_from(state.bytes).unwrap_or(i64::MAX),
            bitrate_bps,
            width: state.width,
            height: state.height,
            fps,
            video_codec: state.video_codec.clone(),
            audio_codec: state.audio_codec.clone(),
            keyframe_interval: state.keyframe_interval(now).and_then(|millis| {
                let millis = millis.min(MAX_KEYFRAME_INTERVAL_MS);
                let interval = Duration::from_millis(u64::try_from(millis).ok()?);
                prost_types::Duration::try_from(interval).ok()
            }),
            audio_channels: state.audio_format.channels,
            audio_sample_rate: state.audio_format.sample_rate,
            has_audio: is_flowing.then(|| state.has_audio(now)).flatten(),
            timestamp_jumps: i32::try_from(state.jumps.len()).unwrap_or(i32::MAX),
        }
    }
}

impl MeasuresMedia for MediaMeter {
    fn stats(&self) -> StreamStats {
        self.stats_at(Instant::now())
    }
}

impl State {
    fn begin_epoch(&mut self, epoch: u64) {
        *self = Self {
            epoch,
            bytes: self.bytes,
            jumps: std::mem::take(&mut self.jumps),
            ..Self::default()
        };
    }

    fn describe(&mut self, metadata: &Packet) {
        let numbers = metadata_numbers(&metadata.payload);
        self.width = numbers.width.unwrap_or(self.width);
        self.height = numbers.height.unwrap_or(self.height);
        self.audio_format = self.audio_format.or(numbers.audio);
    }

    fn add_header(&mut self, header: &Packet) {
        if header.is_video() {
            if let Some((width, height)) = picture_size(header) {
                (self.width, self.height) = (width, height);
            }
        } else if let Some(format) = AudioFormat::of_header(header) {
            self.audio_format = format;
        }
    }

    fn add_media(&mut self, packet: &Packet, now: Instant) {
        self.started.get_or_insert(now);
        self.last_media = Some(now);
        self.bytes += packet.payload.len() as u64;
        let is_video = packet.is_video();
        let track = if is_video {
            &mut self.video
        } else {
            &mut self.audio
        };
        if track.advance(packet.timestamp, now) && self.jumps.len() < MAX_JUMPS {
            self.jumps.push_back(now);
        }
        let codec = if is_video {
            &mut self.video_codec
        } else {
            self.last_audio = Some(now);
            &mut self.audio_codec
        };
        if codec.is_empty() {
            codec.push_str(codec_of(packet).unwrap_or_default());
        }
        self.frames += u64::from(is_video);
        if packet.role == Role::Keyframe {
            self.add_keyframe(now);
        }
        self.sample();
    }

    fn add_keyframe(&mut self, now: Instant) {
        let position = self.video.position;
        if let Some((before, _)) = self.keyframe.replace((position, now)) {
            self.keyframe_interval_ms = Some(position - before);
        }
    }

    fn sample(&mut self) {
        let position = self.video.position.max(self.audio.position);
        let is_due = |(last, ..): &(i64, u64, u64)| position - last >= SAMPLE_DISTANCE_MS;
        if self.samples.back().is_none_or(is_due) {
            self.samples.push_back((position, self.bytes, self.frames));
        }
        // The newest sample that is older than the window is its beginning.
        while matches!(self.samples.get(1), Some((at, ..)) if position - at >= WINDOW_MS) {
            self.samples.pop_front();
        }
    }

    /// The bitrate and the frame rate of the last seconds.
    #[expect(clippy::cast_precision_loss, reason = "rates are approximate")]
    fn rates(&self) -> (i64, f64) {
        let (Some(first), Some(last)) = (self.samples.front(), self.samples.back()) else {
            return (0, 0.0);
        };
        let millis = last.0 - first.0;
        if millis <= 0 {
            return (0, 0.0);
        }
        let bits = i64::try_from((last.1 - first.1) * 8).unwrap_or(i64::MAX);
        let frames = (last.2 - first.2) as f64;
        (
            bits.saturating_mul(1000) / millis,
            frames * 1000.0 / millis as f64,
        )
    }

    /// The last time between two keyframes, or the time since the last one if that is longer.
    /// After a first keyframe, that time counts once it is long.
    fn keyframe_interval(&self, now: Instant) -> Option<i64> {
        let (_, at) = self.keyframe?;
        let since = i64::try_from(now.saturating_duration_since(at).as_millis());
        let since = since.unwrap_or(i64::MAX);
        match self.keyframe_interval_ms {
            Some(interval) if interval >= since => Some(interval),
            // Without media there are no keyframes either.
            _ if !self.is_recent(self.last_media, MEDIA_TIMEOUT, now) => self.keyframe_interval_ms,
            None if since < LONG_INTERVAL_MS => None,
            _ => Some(since),
        }
    }

    fn has_audio(&self, now: Instant) -> Option<bool> {
        if self.is_recent(self.last_audio, AUDIO_TIMEOUT, now) {
            return Some(true);
        }
        let is_long_enough = !self.is_recent(self.started, AUDIO_TIMEOUT, now);
        is_long_enough.then_some(false)
    }

    fn is_recent(&self, at: Option<Instant>, within: Duration, now: Instant) -> bool {
        at.is_some_and(|at| now.saturating_duration_since(at) < within)
    }

    fn forget_jumps(&mut self, now: Instant) {
        while let Some(first) = self.jumps.front()
            && now.saturating_duration_since(*first) >= JUMP_MEMORY
        {
            self.jumps.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    struct Stream {
        meter: MediaMeter,
        start: Instant,
    }

    impl Stream {
        fn new() -> Self {
            Self {
                meter: MediaMeter::default(),
                start: Instant::now(),
            }
        }

        fn packet(&self, role: Role, head: &'static [u8], timestamp: u32, bytes: usize) {
            let at = self.start + Duration::from_millis(timestamp.into());
            self.packet_at(role, head, timestamp, bytes, at);
        }

        fn packet_at(
            &self,
            role: Role,
            head: &'static [u8],
            timestamp: u32,
            bytes: usize,
            at: Instant,
        ) {
            let mut payload = head.to_vec();
            payload.resize(bytes.max(head.len()), 0);
            let packet = Packet {
                epoch: 1,
                timestamp,
                role,
                four_cc: None,
                payload: Bytes::from(payload),
            };
            self.meter.add(&packet, at);
        }

        /// 25 frames of 25,000 bytes a second, with a keyframe every `gop` frames.
        fn video(&self, frames: std::ops::Range<u32>, gop: u32) {
            for frame in frames {
                let (role, head): (_, &[u8]) = match frame % gop {
                    0 => (Role::Keyframe, &[0x17, 1]),
                    _ => (Role::Frame, &[0x27, 1]),
                };
                self.packet(role, head, frame * 40, 25_000);
            }
        }

        fn stats_at(&self, seconds: u32) -> StreamStats {
            self.meter.stats_at(self.start + SECOND * seconds)
        }
    }

    #[test]
    fn rates_codecs_and_the_keyframe_interval_are_those_of_the_media() {
        let stream = Stream::new();
        stream.video(0..250, 50);
        let stats = stream.stats_at(10);
        assert_eq!((stats.bitrate_bps, stats.fps), (5_000_000, 25.0));
        assert_eq!(stats.video_codec, "h264");
        let interval = stats.keyframe_interval.unwrap();
        assert_eq!((interval.seconds, interval.nanos), (2, 0));
        assert_eq!((stats.has_audio, stats.timestamp_jumps), (Some(false), 0));
    }

    #[test]
    fn the_time_since_the_last_keyframe_counts_if_it_is_longer() {
        let stream = Stream::new();
        stream.video(0..51, 50);
        for frame in 51..250 {
            stream.packet(Role::Frame, &[0x27, 1], frame * 40, 100);
        }
        assert_eq!(stream.stats_at(10).keyframe_interval.unwrap().seconds, 8);
    }

    #[test]
    fn a_first_keyframe_counts_once_it_is_long_ago() {
        let stream = Stream::new();
        stream.video(0..100, 1_000);
        assert_eq!(stream.stats_at(2).keyframe_interval, None);
        assert_eq!(stream.stats_at(4).keyframe_interval.unwrap().seconds, 4);
    }

    #[test]
    fn a_burst_of_old_media_does_not_raise_the_rates() {
        let stream = Stream::new();
        for frame in 0..250 {
            stream.packet_at(Role::Frame, &[0x27, 1], frame * 40, 25_000, stream.start);
        }
        assert_eq!(stream.stats_at(0).bitrate_bps, 5_000_000);
        assert_eq!(stream.stats_at(0).timestamp_jumps, 0);
        // Silence has no rate.
        assert_eq!(stream.stats_at(6).bitrate_bps, 0);
    }

    #[test]
    fn audio_is_present_missing_or_not_known_yet() {
        let stream = Stream::new();
        stream.video(0..100, 50);
        assert_eq!(stream.stats_at(4).has_audio, None);
        stream.packet(Role::Audio, &[0xaf, 1], 4_000, 100);
        assert_eq!(stream.stats_at(5).has_audio, Some(true));
        assert_eq!(stream.stats_at(5).audio_codec, "aac");
        stream.video(100..300, 50);
        assert_eq!(stream.stats_at(12).has_audio, Some(false));
    }

    #[test]
    fn jumps_of_timestamps_count_for_a_minute() {
        let stream = Stream::new();
        stream.video(0..25, 50);
        let soon = stream.start + SECOND;
        for (timestamp, jumps) in [(9_000, 1), (9_040, 1), (5_000, 2), (5_040, 2), (5_020, 2)] {
            stream.packet_at(Role::Frame, &[0x27, 1], timestamp, 100, soon);
            assert_eq!(stream.stats_at(1).timestamp_jumps, jumps, "{timestamp}");
        }
        // A publisher that was silent meanwhile does not jump.
        stream.packet_at(Role::Frame, &[0x27, 1], 25_000, 100, soon + SECOND * 20);
        assert_eq!(stream.stats_at(21).timestamp_jumps, 2);
        assert_eq!(stream.stats_at(61).timestamp_jumps, 0);
    }
}
