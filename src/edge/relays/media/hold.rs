use std::time::{Duration, Instant};

use super::{
    packet::{Packet, Role},
    silence::Silence,
    timeline::{Timeline, Track},
};

/// The interval of the repeated keyframe, in milliseconds. Platforms expect keyframes at least
/// every 4 seconds.
const KEYFRAME_INTERVAL_MS: i64 = 2_000;

/// The most that is sent at once, in milliseconds: after a destination did not read.
const MAX_BACKLOG_MS: i64 = 10_000;

/// What an output sends while the input has no media: the last keyframe again and again, and
/// silence.
///
/// Nothing is encoded: a held output costs a keyframe every 2 seconds, and every codec with
/// keyframes can be held. Two consecutive IDR pictures of H.264 should differ in `idr_pic_id`,
/// which repeated ones do not: decoders that know where an access unit begins, as in FLV and
/// MPEG-TS, do not depend on it.
#[derive(Debug, Default)]
pub(crate) struct Hold {
    keyframe: Option<Packet>,
    silence: Option<Silence>,
    filling: Option<Filling>,
}

/// The positions at which the next packets are due.
#[derive(Debug)]
struct Filling {
    /// In milliseconds.
    video: i64,
    /// In microseconds: frames of audio do not last whole milliseconds.
    audio: i64,
}

impl Hold {
    /// How often [`fill`](Self::fill) has to be called.
    pub(crate) const FILL_INTERVAL: Duration = Duration::from_millis(100);

    /// A packet of the input is sent.
    pub(crate) fn observe(&mut self, packet: &Packet) {
        match packet.role {
            Role::Keyframe => self.keyframe = Some(packet.clone()),
            // The last keyframe cannot be decoded with another configuration.
            Role::Header(slot) if slot.is_video => self.keyframe = None,
            _ => Silence::observe(&mut self.silence, packet),
        }
    }

    /// Whether there is anything to send.
    pub(crate) fn is_possible(&self) -> bool {
        self.keyframe.is_some() || self.silence.is_some()
    }

    /// With what a hold begins on another connection: the picture, or else silence.
    pub(crate) fn first_packet(&self) -> Option<Packet> {
        let silence = || Some(audio(self.silence.as_ref()?, 0));
        self.keyframe.clone().or_else(silence)
    }

    pub(crate) fn is_active(&self) -> bool {
        self.filling.is_some()
    }

    /// Begins behind the packets that were sent.
    pub(crate) fn begin(&mut self, timeline: &Timeline) {
        let frame = self.silence.as_ref().map_or(0, Silence::frame_micros);
        self.filling = Some(Filling {
            video: timeline.sent(Track::Video) + KEYFRAME_INTERVAL_MS,
            audio: timeline.sent(Track::Audio) * 1_000 + frame,
        });
    }

    /// Ends. Returns whether it was active.
    pub(crate) fn end(&mut self) -> bool {
        self.filling.take().is_some()
    }

    /// The packets that are due `now`, with their timestamps.
    pub(crate) fn fill(&mut self, timeline: &mut Timeline, now: Instant) -> Vec<(u32, Packet)> {
        let (Some(filling), Some(position)) = (&mut self.filling, timeline.position_at(now)) else {
            return Vec::new();
        };
        let mut packets = Vec::new();
        if let Some(silence) = &self.silence {
            let until = position * 1_000;
            filling.audio = filling.audio.max(until - MAX_BACKLOG_MS * 1_000);
            while filling.audio <= until {
                let timestamp = timeline.place(Track::Audio, filling.audio / 1_000);
                packets.push((timestamp, audio(silence, timestamp)));
                filling.audio += silence.frame_micros().max(1_000);
            }
        }
        if let Some(keyframe) = &self.keyframe {
            filling.video = filling.video.max(position - MAX_BACKLOG_MS);
            while filling.video <= position {
                let timestamp = timeline.place(Track::Video, filling.video);
                packets.push((timestamp, keyframe.clone()));
                filling.video += KEYFRAME_INTERVAL_MS;
            }
        }
        packets
    }
}

/// A frame of silence. It belongs to no play session.
fn audio(silence: &Silence, timestamp: u32) -> Packet {
    Packet {
        epoch: 0,
        timestamp,
        role: Role::Audio,
        four_cc: None,
        payload: silence.payload(),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::edge::relays::rtmp::{
        Message,
        message::kind::{AUDIO, VIDEO},
    };

    const VIDEO_HEADER: &[u8] = &[0x17, 0, 0, 0, 0, 1];
    const KEYFRAME: &[u8] = &[0x17, 1, 0, 0, 0, 2];
    const FRAME: &[u8] = &[0x27, 1, 0, 0, 0, 3];
    /// AAC-LC, 44.1 kHz, stereo.
    const AUDIO_HEADER: &[u8] = &[0xaf, 0, 0x12, 0x10];
    const SOUND: &[u8] = &[0xaf, 1, 0x21];

    /// A hold, and the timeline of its output.
    struct Output {
        hold: Hold,
        timeline: Timeline,
        start: Instant,
    }

    impl Output {
        fn new() -> Self {
            Self {
                hold: Hold::default(),
                timeline: Timeline::default(),
                start: Instant::now(),
            }
        }

        fn at(&self, milliseconds: u64) -> Instant {
            self.start + Duration::from_millis(milliseconds)
        }

        /// Sends a packet of the input at its timestamp; returns the timestamp in the output.
        fn send(&mut self, kind: u8, timestamp: u32, payload: &'static [u8]) -> u32 {
            let message = Message {
                kind,
                timestamp,
                stream_id: 1,
                payload: Bytes::from_static(payload),
            };
            let packet = Packet::of(&message, 1).unwrap();
            self.hold.observe(&packet);
            match packet.is_description() {
                true => 0,
                false => self.timeline.next(&packet, self.at(timestamp.into())),
            }
        }

        fn fill(&mut self, milliseconds: u64) -> Vec<(u32, Role)> {
            let now = self.at(milliseconds);
            let packets = self.hold.fill(&mut self.timeline, now);
            packets
                .iter()
                .map(|(timestamp, packet)| (*timestamp, packet.role))
                .collect()
        }
    }

    fn of(role: Role, packets: &[(u32, Role)]) -> Vec<u32> {
        let found = packets.iter().filter(|(_, other)| *other == role);
        found.map(|(timestamp, _)| *timestamp).collect()
    }

    #[test]
    fn the_last_keyframe_is_repeated_every_two_seconds_with_continuous_silence() {
        let mut output = Output::new();
        output.send(VIDEO, 0, VIDEO_HEADER);
        output.send(AUDIO, 0, AUDIO_HEADER);
        output.send(VIDEO, 0, KEYFRAME);
        output.send(VIDEO, 40, FRAME);
        output.send(AUDIO, 46, SOUND);
        output.hold.begin(&output.timeline);

        let mut sent = Vec::new();
        for milliseconds in (100..=10_000).step_by(100) {
            sent.extend(output.fill(milliseconds));
        }
        let keyframes = of(Role::Keyframe, &sent);
        assert_eq!(keyframes, [2_040, 4_040, 6_040, 8_040]);
        let audio = of(Role::Audio, &sent);
        assert_eq!(audio[..3], [69, 92, 115]);
        assert!(
            audio
                .windows(2)
                .all(|two| (23..=24).contains(&(two[1] - two[0])))
        );
        assert!(audio.last().unwrap().abs_diff(10_000) < 24, "{audio:?}");
    }

    #[test]
    fn the_media_continues_behind_the_hold() {
        let mut output = Output::new();
        output.send(AUDIO, 0, AUDIO_HEADER);
        output.send(VIDEO, 0, KEYFRAME);
        output.send(AUDIO, 10, SOUND);
        output.hold.begin(&output.timeline);
        let held = output.fill(5_000);
        assert!(output.hold.end() && !output.hold.end());
        output.timeline.restart();

        let video = output.send(VIDEO, 5_001, KEYFRAME);
        let audio = output.send(AUDIO, 5_011, SOUND);
        assert!(of(Role::Audio, &held).last() < Some(&video), "{video}");
        assert_eq!(audio - video, 10);
        assert!(video.abs_diff(5_001) < 30, "{video}");
    }

    #[test]
    fn a_codec_without_silence_is_held_with_pictures_only() {
        let mut output = Output::new();
        output.send(VIDEO, 0, KEYFRAME);
        output.send(AUDIO, 0, b"\x2fmp3");
        output.hold.begin(&output.timeline);
        assert_eq!(output.fill(2_500), [(2_000, Role::Keyframe)]);
    }

    #[test]
    fn audio_alone_is_held_with_silence_only() {
        let mut output = Output::new();
        output.send(AUDIO, 0, AUDIO_HEADER);
        output.send(AUDIO, 0, SOUND);
        output.hold.begin(&output.timeline);
        assert_eq!(of(Role::Audio, &output.fill(50)), [23, 46]);
    }

    #[test]
    fn without_media_there_is_nothing_to_hold() {
        let mut output = Output::new();
        assert!(!output.hold.is_possible());
        output.send(VIDEO, 0, KEYFRAME);
        assert!(output.hold.is_possible());
        output.send(VIDEO, 0, VIDEO_HEADER);
        assert!(
            !output.hold.is_possible(),
            "the keyframe is of another codec"
        );
    }

    #[test]
    fn a_destination_that_did_not_read_for_long_gets_a_limited_backlog() {
        let mut output = Output::new();
        output.send(AUDIO, 0, AUDIO_HEADER);
        output.send(VIDEO, 0, KEYFRAME);
        output.send(AUDIO, 0, SOUND);
        output.hold.begin(&output.timeline);
        let sent = output.fill(3_600_000);
        assert_eq!(of(Role::Keyframe, &sent).len(), 6);
        assert!(of(Role::Audio, &sent).len() < 450);
    }
}
