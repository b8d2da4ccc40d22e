//! What packets say about the format of the media: codec names, metadata, and the
//! configuration of AAC (ISO/IEC 14496-3, section 1.6.2.1).

use super::{packet::Packet, sps};
use crate::edge::relays::rtmp::amf0;

/// The sampling rates that AAC has indices for.
const AAC_SAMPLE_RATES: [i32; 13] = [
    96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000,
    7_350,
];

/// The index that announces a sampling rate of 24 bits.
const AAC_EXPLICIT_RATE: u8 = 15;

/// The largest number of pixels, channels or samples that is taken for one.
const MAX_NUMBER: f64 = 1_000_000.0;

/// The channels and the sampling rate of audio; 0 means not known.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct AudioFormat {
    pub(super) channels: i32,
    pub(super) sample_rate: i32,
}

/// Numbers of `onMetaData`.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct MetadataNumbers {
    pub(super) width: Option<i32>,
    pub(super) height: Option<i32>,
    pub(super) audio: AudioFormat,
}

/// The name of a packet's codec, if it is known.
pub(super) fn codec_of(packet: &Packet) -> Option<&'static str> {
    let first = *packet.payload.first()?;
    match (packet.codec_name(), packet.is_video()) {
        (Some(four_cc), _) => enhanced_codec(four_cc),
        (None, true) => legacy_video_codec(first & 0x0f),
        (None, false) => legacy_audio_codec(first >> 4),
    }
}

fn enhanced_codec(four_cc: &str) -> Option<&'static str> {
    Some(match four_cc {
        "avc1" => "h264",
        "hvc1" => "hevc",
        "vvc1" => "vvc",
        "av01" => "av1",
        "vp08" => "vp8",
        "vp09" => "vp9",
        "mp4a" => "aac",
        ".mp3" => "mp3",
        "Opus" => "opus",
        "fLaC" => "flac",
        "ac-3" => "ac3",
        "ec-3" => "eac3",
        _ => return None,
    })
}

/// By the codec id of FLV. 12 is not in its specification, but in use.
fn legacy_video_codec(id: u8) -> Option<&'static str> {
    Some(match id {
        2 => "h263",
        3 | 6 => "screen",
        4 | 5 => "vp6",
        7 => "h264",
        12 => "hevc",
        _ => return None,
    })
}

/// By the sound format of FLV.
fn legacy_audio_codec(format: u8) -> Option<&'static str> {
    Some(match format {
        0 | 3 => "pcm",
        1 => "adpcm",
        2 | 14 => "mp3",
        4..=6 => "nellymoser",
        7 => "pcm_alaw",
        8 => "pcm_mulaw",
        10 => "aac",
        11 => "speex",
        _ => return None,
    })
}

/// The size of the picture in a codec configuration, if it is one of H.264.
pub(super) fn picture_size(header: &Packet) -> Option<(i32, i32)> {
    // Legacy and enhanced tags have a head of the same length.
    match codec_of(header) {
        Some("h264") => sps::picture_size(header.payload.get(5..)?),
        _ => None,
    }
}

impl AudioFormat {
    /// The known values, or else those of another.
    pub(super) fn or(self, other: Self) -> Self {
        let known = |own: i32, other: i32| if own > 0 { own } else { other };
        Self {
            channels: known(self.channels, other.channels),
            sample_rate: known(self.sample_rate, other.sample_rate),
        }
    }

    /// The format in a codec configuration, if it is one of AAC.
    pub(super) fn of_header(header: &Packet) -> Option<Self> {
        // Both kinds of tags have the configuration behind a head.
        let head = match header.four_cc {
            Some(_) => 5,
            None => 2,
        };
        match codec_of(header) {
            Some("aac") => Self::of_aac(header.payload.get(head..)?),
            _ => None,
        }
    }

    fn of_aac(config: &[u8]) -> Option<Self> {
        let first = u16::from_be_bytes(*config.first_chunk()?);
        // Five bits of the object type, four of the rate, four of the channels.
        let rate_index = ((first >> 7) & 0x0f) as u8;
        if rate_index == AAC_EXPLICIT_RATE {
            return None;
        }
        let channels = ((first >> 3) & 0x0f) as u8;
        Some(Self {
            channels: match channels {
                7 => 8,
                channels => channels.into(),
            },
            sample_rate: *AAC_SAMPLE_RATES.get(usize::from(rate_index))?,
        })
    }
}

/// The numbers in the payload of `onMetaData`; none where it is broken.
pub(super) fn metadata_numbers(payload: &[u8]) -> MetadataNumbers {
    let properties = || {
        let (_, rest) = amf0::value(payload)?;
        amf0::properties(amf0::value(rest)?.0)
    };
    let properties = properties().unwrap_or_default();
    let number = |name: &str| {
        let found = properties.iter().find(|(key, _)| *key == name.as_bytes());
        found
            .and_then(|(_, value)| amf0::number(value))
            .and_then(whole)
    };
    MetadataNumbers {
        width: number("width"),
        height: number("height"),
        audio: AudioFormat {
            channels: number("audiochannels").unwrap_or_default(),
            sample_rate: number("audiosamplerate").unwrap_or_default(),
        },
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the range is checked")]
fn whole(number: f64) -> Option<i32> {
    (1.0..=MAX_NUMBER)
        .contains(&number)
        .then_some(number as i32)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::{super::packet::Role, *};

    fn packet(role: Role, four_cc: Option<&[u8; 4]>, payload: &[u8]) -> Packet {
        Packet {
            epoch: 1,
            timestamp: 0,
            role,
            four_cc: four_cc.copied(),
            payload: Bytes::copy_from_slice(payload),
        }
    }

    #[test]
    fn codecs_have_the_names_of_ffmpeg() {
        for (role, four_cc, first, name) in [
            (Role::Keyframe, None, 0x17, Some("h264")),
            (Role::Frame, None, 0x2c, Some("hevc")),
            (Role::Keyframe, Some(b"av01"), 0x91, Some("av1")),
            (Role::Keyframe, Some(b"????"), 0x91, None),
            (Role::Audio, None, 0xaf, Some("aac")),
            (Role::Audio, None, 0x2f, Some("mp3")),
            (Role::Audio, Some(b"Opus"), 0x91, Some("opus")),
        ] {
            assert_eq!(
                codec_of(&packet(role, four_cc, &[first])),
                name,
                "{first:x}"
            );
        }
        assert_eq!(codec_of(&packet(Role::Audio, None, &[])), None);
    }

    #[test]
    fn the_configuration_of_aac_has_channels_and_a_rate() {
        for (config, channels, sample_rate) in [
            // AAC-LC.
            ([0x12, 0x10], 2, 44_100),
            ([0x11, 0x88], 1, 48_000),
            ([0x11, 0xb0], 6, 48_000),
            ([0x11, 0xb8], 8, 48_000),
        ] {
            let format = AudioFormat {
                channels,
                sample_rate,
            };
            assert_eq!(AudioFormat::of_aac(&config), Some(format), "{config:?}");
        }
        assert_eq!(AudioFormat::of_aac(&[0x17, 0x80]), None);
        assert_eq!(AudioFormat::of_aac(&[0x12]), None);
    }

    #[test]
    fn metadata_has_the_size_of_the_picture() {
        let mut payload = Vec::new();
        amf0::write_string("onMetaData", &mut payload);
        amf0::begin_object(&mut payload);
        for (name, number) in [
            ("width", 1920.0),
            ("height", f64::NAN),
            ("audiosamplerate", 48_000.0),
            ("audiochannels", -1.0),
        ] {
            amf0::write_name(name, &mut payload);
            amf0::write_number(number, &mut payload);
        }
        amf0::end_object(&mut payload);
        let numbers = metadata_numbers(&payload);
        assert_eq!((numbers.width, numbers.height), (Some(1920), None));
        assert_eq!(
            (numbers.audio.sample_rate, numbers.audio.channels),
            (48_000, 0)
        );
        assert_eq!(metadata_numbers(&payload[..20]), MetadataNumbers::default());
    }
}
