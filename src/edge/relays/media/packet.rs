use bytes::Bytes;

use crate::edge::relays::rtmp::{
    Message, amf0,
    message::kind::{AUDIO, DATA, DATA_AMF3, VIDEO},
};

/// Frame type of a video tag that can be decoded alone.
const KEYFRAME: u8 = 1;
/// Frame type of a video tag with a command for players.
const COMMAND_FRAME: u8 = 5;

/// Legacy codec ids whose configuration is in a message of its own.
const AVC: u8 = 7;
const HEVC_LEGACY: u8 = 12;
const AAC: u8 = 10;

/// The sound format that announces Enhanced RTMP.
const EX_AUDIO: u8 = 9;

/// Packet types of Enhanced RTMP.
const SEQUENCE_START: u8 = 0;
const SEQUENCE_END: u8 = 2;
const VIDEO_METADATA: u8 = 4;
const MULTICHANNEL_CONFIG: u8 = 4;
const MPEG2TS_SEQUENCE_START: u8 = 5;
const VIDEO_MULTITRACK: u8 = 6;
const AUDIO_MULTITRACK: u8 = 5;
const MOD_EX: u8 = 7;

/// The multitrack type whose tracks have a codec each.
const MANY_TRACKS_MANY_CODECS: u8 = 2;

/// The most modifiers of one Enhanced RTMP tag.
const MAX_MODIFIERS: usize = 8;

/// The data messages that are not passed on: they concern the play session only.
const SESSION_DATA: [&[u8]; 2] = [b"|RtmpSampleAccess", b"onStatus"];

/// What a packet is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// `onMetaData`: the description of the stream.
    Metadata,
    /// The configuration of a codec. Decoders need the last one of each slot.
    Header(HeaderSlot),
    /// A video frame that can be decoded alone.
    Keyframe,
    /// A video frame that depends on others.
    Frame,
    Audio,
    /// Other data, such as captions and cue points.
    Data,
}

/// What a codec configuration belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HeaderSlot {
    pub(crate) is_video: bool,
    /// The packet type, which distinguishes sequence headers from color and channel
    /// descriptions.
    packet_type: u8,
    /// The track; 0 without multitrack.
    track: u8,
}

impl HeaderSlot {
    /// Whether it is the configuration with which the first track is decoded, and not a
    /// description of colors or channels.
    pub(crate) fn configures_decoder(self) -> bool {
        self.track == 0 && matches!(self.packet_type, SEQUENCE_START | MPEG2TS_SEQUENCE_START)
    }
}

/// A packet of media, as the body of an FLV tag.
#[derive(Debug, Clone)]
pub(crate) struct Packet {
    /// The number of the play session, or of the publisher in it. Timestamps of different
    /// epochs are unrelated.
    pub(crate) epoch: u64,
    /// In milliseconds. It wraps.
    pub(crate) timestamp: u32,
    pub(crate) role: Role,
    /// The codec, if it is one of Enhanced RTMP.
    pub(crate) four_cc: Option<[u8; 4]>,
    pub(crate) payload: Bytes,
}

impl Packet {
    /// The packet in a message; `None` if the message has no media to pass on.
    pub(crate) fn of(message: &Message, epoch: u64) -> Option<Self> {
        let payload = &message.payload;
        let (role, four_cc, payload) = match message.kind {
            VIDEO => {
                let (role, four_cc) = inspect_video(payload)?;
                (role, four_cc, payload.clone())
            }
            AUDIO => {
                let (role, four_cc) = inspect_audio(payload)?;
                (role, four_cc, payload.clone())
            }
            DATA => data(payload.clone())?,
            DATA_AMF3 if payload.first() == Some(&0) => data(payload.slice(1..))?,
            _ => return None,
        };
        Some(Self {
            epoch,
            timestamp: message.timestamp,
            role,
            four_cc,
            payload,
        })
    }

    /// The message type that carries it.
    pub(crate) fn kind(&self) -> u8 {
        match self.role {
            Role::Metadata | Role::Data => DATA,
            Role::Audio => AUDIO,
            Role::Keyframe | Role::Frame => VIDEO,
            Role::Header(slot) if slot.is_video => VIDEO,
            Role::Header(_) => AUDIO,
        }
    }

    pub(crate) fn is_video(&self) -> bool {
        self.kind() == VIDEO
    }

    /// Whether it is a description that new outputs need.
    pub(crate) fn is_description(&self) -> bool {
        matches!(self.role, Role::Metadata | Role::Header(_))
    }

    /// The name of the codec, if it is one of Enhanced RTMP.
    pub(crate) fn codec_name(&self) -> Option<&str> {
        std::str::from_utf8(self.four_cc.as_ref()?).ok()
    }

    /// The video that metadata announces.
    pub(crate) fn announced_video(&self) -> Option<AnnouncedVideo> {
        if self.role != Role::Metadata {
            return None;
        }
        let (_, rest) = amf0::value(&self.payload)?;
        let properties = amf0::properties(amf0::value(rest)?.0)?;
        let mut codecs = properties
            .iter()
            .filter(|(name, _)| *name == b"videocodecid");
        let codec = codecs.next()?.1;
        if let Some(text) = amf0::string(codec) {
            return Some(AnnouncedVideo::named(text));
        }
        let number = amf0::number(codec).filter(|number| *number > 0.0)?;
        Some(AnnouncedVideo::numbered(number))
    }
}

/// The codec of the video that metadata announces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum AnnouncedVideo {
    Legacy,
    /// A codec of Enhanced RTMP.
    Enhanced(String),
}

impl AnnouncedVideo {
    fn named(codec: &[u8]) -> Self {
        match codec {
            [b'a', b'v', b'c', b'1'] => Self::Legacy,
            [_, _, _, _] if codec.is_ascii() => {
                Self::Enhanced(String::from_utf8_lossy(codec).into_owned())
            }
            _ => Self::Legacy,
        }
    }

    /// Enhanced RTMP announces the bytes of the name as a number. Smaller ones are legacy.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the range is checked"
    )]
    fn numbered(codec: f64) -> Self {
        match (256.0..=f64::from(u32::MAX)).contains(&codec) {
            true => Self::named(&(codec as u32).to_be_bytes()),
            false => Self::Legacy,
        }
    }
}

/// The role and the Enhanced RTMP codec of a video tag; `None` if it is empty.
fn inspect_video(tag: &[u8]) -> Option<(Role, Option<[u8; 4]>)> {
    let first = *tag.first()?;
    if first & 0x80 == 0 {
        return Some((legacy_video(first, tag.get(1).copied()), None));
    }
    let ex = ExTag::parse(tag, VIDEO_MULTITRACK)?;
    let frame_type = (first >> 4) & 7;
    let role = match ex.packet_type {
        SEQUENCE_START | MPEG2TS_SEQUENCE_START | VIDEO_METADATA => Role::Header(ex.slot(true)),
        SEQUENCE_END => Role::Data,
        _ if frame_type == COMMAND_FRAME => Role::Data,
        // The other tracks follow the first one.
        _ if frame_type == KEYFRAME && ex.track == 0 => Role::Keyframe,
        _ => Role::Frame,
    };
    Some((as_video(role), ex.four_cc))
}

/// Video without a picture is sent as it is, but never begins a group of pictures.
fn as_video(role: Role) -> Role {
    match role {
        Role::Data => Role::Frame,
        role => role,
    }
}

fn legacy_video(first: u8, packet_type: Option<u8>) -> Role {
    let has_header = matches!(first & 0x0f, AVC | HEVC_LEGACY);
    match (first >> 4, packet_type) {
        (_, Some(0)) if has_header => Role::Header(HeaderSlot {
            is_video: true,
            packet_type: SEQUENCE_START,
            track: 0,
        }),
        (KEYFRAME, Some(2)) if has_header => Role::Frame,
        (KEYFRAME, _) => Role::Keyframe,
        _ => Role::Frame,
    }
}

/// The role and the Enhanced RTMP codec of an audio tag; `None` if it is empty.
fn inspect_audio(tag: &[u8]) -> Option<(Role, Option<[u8; 4]>)> {
    let first = *tag.first()?;
    if first >> 4 != EX_AUDIO {
        let is_header = first >> 4 == AAC && tag.get(1) == Some(&0);
        let slot = HeaderSlot {
            is_video: false,
            packet_type: SEQUENCE_START,
            track: 0,
        };
        let role = if is_header {
            Role::Header(slot)
        } else {
            Role::Audio
        };
        return Some((role, None));
    }
    let ex = ExTag::parse(tag, AUDIO_MULTITRACK)?;
    let role = match ex.packet_type {
        SEQUENCE_START | MULTICHANNEL_CONFIG => Role::Header(ex.slot(false)),
        _ => Role::Audio,
    };
    Some((role, ex.four_cc))
}

/// The head of a tag of Enhanced RTMP.
#[derive(Debug, Clone, Copy)]
struct ExTag {
    packet_type: u8,
    four_cc: Option<[u8; 4]>,
    track: u8,
}

impl ExTag {
    fn parse(tag: &[u8], multitrack: u8) -> Option<Self> {
        let (mut packet_type, mut rest) = (tag.first()? & 0x0f, &tag[1..]);
        for _ in 0..MAX_MODIFIERS {
            if packet_type != MOD_EX {
                break;
            }
            (packet_type, rest) = after_modifier(rest)?;
        }
        if packet_type != multitrack {
            return Some(Self {
                packet_type,
                four_cc: rest.first_chunk().copied(),
                track: 0,
            });
        }
        let (kinds, rest) = rest.split_first()?;
        let (four_cc, rest) = match kinds >> 4 {
            MANY_TRACKS_MANY_CODECS => (None, rest.get(4..)?),
            _ => (rest.first_chunk().copied(), rest.get(4..)?),
        };
        Some(Self {
            packet_type: kinds & 0x0f,
            four_cc,
            track: *rest.first()?,
        })
    }

    fn slot(self, is_video: bool) -> HeaderSlot {
        HeaderSlot {
            is_video,
            packet_type: self.packet_type,
            track: self.track,
        }
    }
}

/// The packet type after a modifier, and the rest of the tag.
fn after_modifier(rest: &[u8]) -> Option<(u8, &[u8])> {
    let (size, rest) = rest.split_first()?;
    let (size, rest) = match size {
        255 => (
            usize::from(u16::from_be_bytes(*rest.first_chunk()?)),
            &rest[2..],
        ),
        size => (usize::from(*size), rest),
    };
    let (kinds, rest) = rest.get(size + 1..)?.split_first()?;
    Some((kinds & 0x0f, rest))
}

/// The role and the payload of a data message, without the command with which publishers set
/// metadata.
fn data(payload: Bytes) -> Option<(Role, Option<[u8; 4]>, Bytes)> {
    let (first, rest) = amf0::value(&payload)?;
    let payload = match amf0::string(first)? {
        b"@setDataFrame" => payload.slice(payload.len() - rest.len()..),
        _ => payload,
    };
    let name = amf0::string(amf0::value(&payload)?.0)?;
    if SESSION_DATA.contains(&name) {
        return None;
    }
    let role = match name {
        b"onMetaData" => Role::Metadata,
        _ => Role::Data,
    };
    Some((role, None, payload))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(kind: u8, payload: &[u8]) -> Option<Packet> {
        let message = Message {
            kind,
            timestamp: 7,
            stream_id: 1,
            payload: Bytes::copy_from_slice(payload),
        };
        Packet::of(&message, 1)
    }

    #[test]
    fn legacy_tags_have_the_roles_of_their_frame_and_packet_types() {
        let header = |is_video| {
            Some(Role::Header(HeaderSlot {
                is_video,
                packet_type: 0,
                track: 0,
            }))
        };
        for (kind, tag, role) in [
            (VIDEO, &[0x17, 0, 0][..], header(true)),
            (VIDEO, &[0x17, 1, 0], Some(Role::Keyframe)),
            (VIDEO, &[0x27, 1, 0], Some(Role::Frame)),
            (VIDEO, &[0x17, 2, 0], Some(Role::Frame)),
            (VIDEO, &[0x1c, 0], header(true)),
            (VIDEO, &[0x12, 0], Some(Role::Keyframe)),
            (VIDEO, &[0x22, 0], Some(Role::Frame)),
            (VIDEO, &[], None),
            (AUDIO, &[0xaf, 0], header(false)),
            (AUDIO, &[0xaf, 1], Some(Role::Audio)),
            (AUDIO, &[0x2f, 0], Some(Role::Audio)),
            (AUDIO, &[], None),
        ] {
            assert_eq!(packet(kind, tag).map(|packet| packet.role), role, "{tag:?}");
        }
    }

    #[test]
    fn enhanced_tags_have_a_role_a_codec_and_a_track() {
        let header = |is_video, packet_type, track| {
            Role::Header(HeaderSlot {
                is_video,
                packet_type,
                track,
            })
        };
        for (kind, tag, role, codec) in [
            (VIDEO, &b"\x90hvc1..."[..], header(true, 0, 0), Some("hvc1")),
            (VIDEO, b"\x91av01...", Role::Keyframe, Some("av01")),
            (VIDEO, b"\xa3hvc1...", Role::Frame, Some("hvc1")),
            (VIDEO, b"\x94hvc1...", header(true, 4, 0), Some("hvc1")),
            (VIDEO, b"\x92hvc1", Role::Frame, Some("hvc1")),
            (
                VIDEO,
                b"\x96\x00av01\x02..",
                header(true, 0, 2),
                Some("av01"),
            ),
            (VIDEO, b"\x96\x01av01\x02..", Role::Frame, Some("av01")),
            (VIDEO, b"\x96\x01av01\x00..", Role::Keyframe, Some("av01")),
            (
                VIDEO,
                b"\x97\x02abc\x01hvc1..",
                Role::Keyframe,
                Some("hvc1"),
            ),
            (AUDIO, b"\x90Opus..", header(false, 0, 0), Some("Opus")),
            (AUDIO, b"\x91Opus..", Role::Audio, Some("Opus")),
            (
                AUDIO,
                b"\x95\x00mp4a\x01..",
                header(false, 0, 1),
                Some("mp4a"),
            ),
        ] {
            let packet = packet(kind, tag).unwrap();
            assert_eq!((packet.role, packet.codec_name()), (role, codec), "{tag:?}");
            assert_eq!(packet.kind(), kind);
        }
    }

    #[test]
    fn metadata_loses_the_command_of_publishers_and_session_data_is_not_passed_on() {
        let text = |text: &str| {
            let mut out = Vec::new();
            amf0::write_string(text, &mut out);
            out
        };
        let mut object = vec![3];
        amf0::write_name("videocodecid", &mut object);
        amf0::write_number(7.0, &mut object);
        amf0::end_object(&mut object);
        let plain = [text("onMetaData"), object].concat();
        let set = [text("@setDataFrame"), plain.clone()].concat();
        for payload in [plain.clone(), set] {
            let packet = packet(DATA, &payload).unwrap();
            assert_eq!(
                (packet.role, &packet.payload[..]),
                (Role::Metadata, &plain[..])
            );
            assert_eq!(packet.announced_video(), Some(AnnouncedVideo::Legacy));
        }
        let hevc = f64::from(u32::from_be_bytes(*b"hvc1"));
        for (number, announced) in [
            (hevc, AnnouncedVideo::Enhanced("hvc1".to_owned())),
            (12.0, AnnouncedVideo::Legacy),
            (f64::NAN, AnnouncedVideo::Legacy),
            (1e300, AnnouncedVideo::Legacy),
        ] {
            assert_eq!(AnnouncedVideo::numbered(number), announced, "{number}");
        }
        assert_eq!(packet(DATA, &text("onCuePoint")).unwrap().role, Role::Data);
        assert!(packet(DATA, &text("|RtmpSampleAccess")).is_none());
    }
}
