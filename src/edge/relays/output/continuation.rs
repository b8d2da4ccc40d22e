use bytes::Bytes;

use super::{parameter_sets::ParameterSets, sequence::TimedPacket};
use crate::edge::relays::media::{Packet, Role};

/// The media from which ffmpeg learns what its input has, in milliseconds and bytes: a little less
/// than the limits with which it is started.
const MAX_ANALYSIS_MS: u32 = 900;
const MAX_ANALYSIS_BYTES: usize = 1_800_000;

/// What one ffmpeg process can continue with.
///
/// ffmpeg learns the tracks and their configurations from the first second of media. Media servers
/// send a configuration right before the first packet of its track, which may be after media of the
/// other track: within that second it changes nothing. Later, a first packet of audio or video is a
/// new entry in the tables of MPEG-TS, and so is another configuration. Only another resolution of
/// H.264 is put into the keyframes; everything else needs another process.
#[derive(Debug, Default)]
pub(super) struct Continuation {
    video: TrackState,
    audio: TrackState,
    analysis: Analysis,
    /// Whether the video is H.264 whose configuration can change.
    is_h264: bool,
    /// What keyframes need after a change.
    parameter_sets: Option<ParameterSets>,
}

/// What a process has got of a track.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum TrackState {
    #[default]
    Nothing,
    Configuration,
    Media,
}

/// The media from which a process learns its input.
#[derive(Debug, Default)]
struct Analysis {
    /// The timestamp of the first media.
    first: Option<u32>,
    bytes: usize,
    is_over: bool,
}

/// How a process continues with a packet.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Continued {
    /// With this payload.
    As(Bytes),
    /// Without it: the keyframes that follow have what it says.
    WithKeyframes,
    /// Not at all: another process has to.
    Never,
}

impl Continuation {
    /// How the process continues with the next packet.
    pub(super) fn with(&mut self, (timestamp, packet): &TimedPacket) -> Continued {
        match packet.role {
            Role::Header(slot) if slot.configures_decoder() => {
                if !self.continues_with_header(slot.is_video) {
                    return self.change(packet);
                }
                self.is_h264 |= ParameterSets::of(packet).is_some();
            }
            Role::Keyframe | Role::Frame | Role::Audio => {
                if !self.continues_with_media(packet) {
                    return Continued::Never;
                }
            }
            Role::Metadata | Role::Data | Role::Header(_) => {}
        }
        self.analysis.add(*timestamp, packet);
        match &self.parameter_sets {
            Some(sets) if packet.role == Role::Keyframe => Continued::As(sets.before(packet)),
            _ => Continued::As(packet.payload.clone()),
        }
    }

    /// How it continues with another configuration.
    fn change(&mut self, header: &Packet) -> Continued {
        match ParameterSets::of(header) {
            Some(sets) if self.is_h264 => {
                self.parameter_sets = Some(sets);
                Continued::WithKeyframes
            }
            _ => Continued::Never,
        }
    }

    /// Whether ffmpeg takes a configuration: it has no media of that track yet, and still learns
    /// what its input has.
    fn continues_with_header(&mut self, is_video: bool) -> bool {
        let is_over = self.analysis.is_over;
        let has_begun = self.analysis.first.is_some();
        let track = self.track(is_video);
        let continues = match track {
            TrackState::Nothing => !is_over,
            TrackState::Configuration => !has_begun,
            TrackState::Media => false,
        };
        if continues {
            *track = TrackState::Configuration;
        }
        continues
    }

    fn continues_with_media(&mut self, packet: &Packet) -> bool {
        let is_over = self.analysis.is_over;
        let track = self.track(packet.is_video());
        let continues = *track != TrackState::Nothing || !is_over;
        if continues {
            *track = TrackState::Media;
        }
        continues
    }

    fn track(&mut self, is_video: bool) -> &mut TrackState {
        match is_video {
            true => &mut self.video,
            false => &mut self.audio,
        }
    }
}

impl Analysis {
    /// Adds a packet that ffmpeg gets.
    fn add(&mut self, timestamp: u32, packet: &Packet) {
        if self.is_over || packet.is_description() {
            return;
        }
        let first = *self.first.get_or_insert(timestamp);
        self.bytes += packet.payload.len();
        let media = timestamp.wrapping_sub(first).cast_signed();
        self.is_over = media > MAX_ANALYSIS_MS.cast_signed() || self.bytes > MAX_ANALYSIS_BYTES;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::relays::rtmp::{
        Message,
        message::kind::{AUDIO, VIDEO},
    };

    const AVC: &[u8] = &[
        0x17, 0, 0, 0, 0, 1, 0x64, 0, 0x1f, 0xff, 0xe1, 0, 3, 0x67, 1, 2, 1, 0, 2, 0x68, 3,
    ];
    const WIDER_AVC: &[u8] = &[
        0x17, 0, 0, 0, 0, 1, 0x64, 0, 0x1f, 0xff, 0xe1, 0, 3, 0x67, 1, 9, 1, 0, 2, 0x68, 3,
    ];
    const HEVC: &[u8] = b"\x90hvc1....";
    const COLORS: &[u8] = b"\x94hvc1....";
    const KEYFRAME: &[u8] = &[0x17, 1, 0, 0, 0, 0, 0, 0, 1, 0x65];
    const FRAME: &[u8] = &[0x27, 1, 0, 0, 0, 0, 0, 0, 1, 0x41];
    const AAC: &[u8] = &[0xaf, 0, 0x12, 0x10];
    const OTHER_AAC: &[u8] = &[0xaf, 0, 0x11, 0x90];
    const SOUND: &[u8] = &[0xaf, 1, 0x21];
    const MP3: &[u8] = b"\x2fmp3";

    /// How a process continues with the last of these packets. It takes those before.
    fn last(packets: &[(u8, u32, &[u8])]) -> Continued {
        let mut continuation = Continuation::default();
        let all = packets.iter().map(|(kind, timestamp, payload)| {
            let message = Message {
                kind: *kind,
                timestamp: *timestamp,
                stream_id: 1,
                payload: Bytes::copy_from_slice(payload),
            };
            let packet = Packet::of(&message, 1).unwrap();
            continuation.with(&(*timestamp, packet))
        });
        let mut all: Vec<_> = all.collect();
        let last = all.pop().unwrap();
        assert!(!all.contains(&Continued::Never), "{all:?}");
        last
    }

    fn continues(packets: &[(u8, u32, &[u8])]) -> bool {
        last(packets) != Continued::Never
    }

    #[test]
    fn a_first_configuration_may_follow_media_of_the_other_track() {
        let started = [(VIDEO, 0, AVC), (VIDEO, 0, KEYFRAME), (VIDEO, 40, FRAME)];
        assert!(continues(&[&started[..], &[(AUDIO, 23, AAC)]].concat()));
        assert!(continues(&[&started[..], &[(AUDIO, 23, MP3)]].concat()));
        let listening = [(AUDIO, 0, AAC), (AUDIO, 0, SOUND), (AUDIO, 800, SOUND)];
        assert!(continues(&[&listening[..], &[(VIDEO, 800, AVC)]].concat()));
    }

    #[test]
    fn a_track_that_begins_after_the_analysis_needs_another_process() {
        let started = [(VIDEO, 0, AVC), (VIDEO, 0, KEYFRAME), (VIDEO, 1_000, FRAME)];
        assert!(!continues(&[&started[..], &[(AUDIO, 1_000, AAC)]].concat()));
        assert!(!continues(&[&started[..], &[(AUDIO, 1_000, MP3)]].concat()));
        let large = [KEYFRAME, &[0; 2_000_000][..]].concat();
        let started = [(VIDEO, 0, AVC), (VIDEO, 0, &large[..])];
        assert!(!continues(&[&started[..], &[(AUDIO, 0, AAC)]].concat()));
    }

    #[test]
    fn a_configuration_before_the_first_packet_of_a_late_track_is_known() {
        let started = [(VIDEO, 0, AVC), (AUDIO, 0, AAC), (VIDEO, 0, KEYFRAME)];
        let late = [(VIDEO, 9_000, FRAME), (AUDIO, 9_000, SOUND)];
        assert!(continues(&[&started[..], &late].concat()));
    }

    #[test]
    fn another_configuration_after_media_needs_another_process_except_for_h264() {
        let started = [(VIDEO, 0, AVC), (AUDIO, 0, AAC), (VIDEO, 0, KEYFRAME)];
        let after = |packet| [&started[..], &[packet]].concat();
        assert_eq!(last(&after((AUDIO, 40, OTHER_AAC))), Continued::Never);
        assert_eq!(last(&after((VIDEO, 40, HEVC))), Continued::Never);
        let wider = after((VIDEO, 40, WIDER_AVC));
        assert_eq!(last(&wider), Continued::WithKeyframes);
        let next = [&wider[..], &[(VIDEO, 40, KEYFRAME)]].concat();
        assert!(matches!(last(&next), Continued::As(payload) if payload.len() > KEYFRAME.len()));
    }

    #[test]
    fn descriptions_of_colors_change_no_configuration() {
        let started = [(VIDEO, 0, HEVC), (VIDEO, 0, &b"\x91hvc1...."[..])];
        let colors = [(VIDEO, 40, COLORS), (VIDEO, 80, COLORS)];
        assert!(continues(&[&started[..], &colors].concat()));
    }
}
