use bytes::{BufMut, Bytes, BytesMut};

use super::packet::{Packet, Role};

/// The sound formats of RTMP with a silent frame: AAC, and Enhanced RTMP.
const AAC: u8 = 10;
const EX_AUDIO: u8 = 9;

/// Packet types: the configuration of a codec, coded frames, and a tag with several tracks.
const SEQUENCE_START: u8 = 0;
const CODED_FRAMES: u8 = 1;
const MULTITRACK: u8 = 5;

/// The sampling frequencies of AAC by their index (ISO/IEC 14496-3, table 1.18).
const FREQUENCIES: [u32; 13] = [
    96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000,
    7_350,
];
const EXPLICIT_FREQUENCY: u32 = 15;

/// The highest frequency of silence. A publisher that claims a higher one would make each output
/// send thousands of frames in a second.
const MAX_FREQUENCY: u32 = 192_000;

/// Audio object types of AAC whose frames have the same syntax while they are silent: Main, Low
/// Complexity and Long Term Prediction, alone or below Spectral Band Replication (SBR) and
/// Parametric Stereo (PS).
const CORE_TYPES: [u32; 3] = [1, 2, 4];
const SBR: u32 = 5;
const PS: u32 = 29;

/// The elements of a raw data block (ISO/IEC 14496-3, table 4.85).
const SINGLE_CHANNEL: u32 = 0;
const CHANNEL_PAIR: u32 = 1;
const LOW_FREQUENCY: u32 = 3;
const END: u32 = 7;

/// An Opus packet header: fullband CELT with one frame of 20 ms, mono (RFC 6716, section 3.1).
const OPUS_FULLBAND_20_MS: u8 = 31 << 3;
const OPUS_STEREO: u8 = 1 << 2;
const OPUS_FRAME_SAMPLES: u32 = 960;
const OPUS_FREQUENCY: u32 = 48_000;

/// What an Opus encoder makes of silence.
const OPUS_SILENCE: [u8; 2] = [0xff, 0xfe];

/// A silent frame of the audio codec of a stream, with the same channels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Silence {
    /// The body of an FLV tag.
    payload: Bytes,
    /// The samples in a frame, and their number in a second.
    samples: u32,
    frequency: u32,
}

impl Silence {
    /// The silence for a codec configuration; `None` if the codec or the channel layout has no
    /// constant frame: then no audio is sent instead of it.
    fn of(configuration: &[u8]) -> Option<Self> {
        let first = *configuration.first()?;
        if first >> 4 == AAC {
            let frame = Aac::parse(configuration.get(2..)?)?;
            return Some(frame.silence(&[first, CODED_FRAMES]));
        }
        let four_cc = configuration.get(1..5)?;
        let prefix = [&[EX_AUDIO << 4 | CODED_FRAMES], four_cc].concat();
        match four_cc {
            b"mp4a" => Some(Aac::parse(&configuration[5..])?.silence(&prefix)),
            b"Opus" => opus(&configuration[5..], &prefix),
            _ => None,
        }
    }

    /// Keeps the silence up to date with a packet that is sent.
    pub(super) fn observe(silence: &mut Option<Self>, packet: &Packet) {
        let Some(first) = packet.payload.first().copied() else {
            return;
        };
        match packet.role {
            Role::Header(slot) if !slot.is_video => {
                let is_first_track = first >> 4 == AAC || first & 0x0f == SEQUENCE_START;
                if is_first_track {
                    *silence = Self::of(&packet.payload);
                }
            }
            // Codecs without a configuration, such as MP3, are known by their packets.
            Role::Audio if first & 0x0f != MULTITRACK || first >> 4 != EX_AUDIO => {
                silence.take_if(|silence| silence.payload[0] >> 4 != first >> 4);
            }
            _ => {}
        }
    }

    /// The body of an FLV tag with a frame.
    pub(super) fn payload(&self) -> Bytes {
        self.payload.clone()
    }

    /// The duration of a frame, in microseconds.
    pub(super) fn frame_micros(&self) -> i64 {
        i64::from(self.samples) * 1_000_000 / i64::from(self.frequency)
    }
}

/// The parts of an AudioSpecificConfig (ISO/IEC 14496-3, section 1.6.2.1) that silence needs.
#[derive(Debug)]
struct Aac {
    frequency: u32,
    channel_configuration: u32,
    has_short_frames: bool,
}

impl Aac {
    fn parse(configuration: &[u8]) -> Option<Self> {
        let mut bits = BitReader {
            bytes: configuration,
            at: 0,
        };
        let mut object_type = bits.object_type()?;
        let frequency = bits.frequency()?;
        let channel_configuration = bits.take(4)?;
        if [SBR, PS].contains(&object_type) {
            bits.frequency()?;
            object_type = bits.object_type()?;
        }
        let has_short_frames = bits.take(1)? == 1;
        CORE_TYPES
            .contains(&object_type)
            .then_some(Self {
                frequency,
                channel_configuration,
                has_short_frames,
            })
            .filter(|aac| (1..=MAX_FREQUENCY).contains(&aac.frequency))
            .filter(|aac| (1..=7).contains(&aac.channel_configuration))
    }

    fn silence(&self, prefix: &[u8]) -> Silence {
        let mut payload = BytesMut::from(prefix);
        payload.put_slice(&self.frame());
        Silence {
            payload: payload.freeze(),
            samples: if self.has_short_frames { 960 } else { 1024 },
            frequency: self.frequency,
        }
    }

    /// A raw data block whose channels have no spectral data.
    fn frame(&self) -> Vec<u8> {
        let (mut bits, mut tags) = (BitWriter::default(), [0; 4]);
        for element in elements(self.channel_configuration) {
            bits.put(*element, 3);
            let tag = &mut tags[*element as usize];
            bits.put(*tag, 4);
            *tag += 1;
            if *element == CHANNEL_PAIR {
                bits.put(1, 1); // common_window
                bits.put_window();
                bits.put(0, 2); // ms_mask_present
                bits.put_channel_without_window();
                bits.put_channel_without_window();
            } else {
                bits.put(0, 8); // global_gain
                bits.put_window();
                bits.put(0, 3); // no pulse data, TNS data and gain control
            }
        }
        bits.put(END, 3);
        bits.bytes
    }
}

/// The elements of a channel configuration (ISO/IEC 14496-3, table 1.19).
fn elements(channel_configuration: u32) -> &'static [u32] {
    const ELEMENTS: [&[u32]; 7] = [
        &[SINGLE_CHANNEL],
        &[CHANNEL_PAIR],
        &[SINGLE_CHANNEL, CHANNEL_PAIR],
        &[SINGLE_CHANNEL, CHANNEL_PAIR, SINGLE_CHANNEL],
        &[SINGLE_CHANNEL, CHANNEL_PAIR, CHANNEL_PAIR],
        &[SINGLE_CHANNEL, CHANNEL_PAIR, CHANNEL_PAIR, LOW_FREQUENCY],
        &[
            SINGLE_CHANNEL,
            CHANNEL_PAIR,
            CHANNEL_PAIR,
            CHANNEL_PAIR,
            LOW_FREQUENCY,
        ],
    ];
    let index = (channel_configuration as usize).wrapping_sub(1);
    ELEMENTS.get(index).copied().unwrap_or_default()
}

/// The silence of Opus with one or two channels, from its identification header (RFC 7845,
/// section 5.1).
fn opus(header: &[u8], prefix: &[u8]) -> Option<Silence> {
    let stereo = match header.strip_prefix(b"OpusHead")?.get(1)? {
        1 => 0,
        2 => OPUS_STEREO,
        _ => return None,
    };
    let mut payload = BytesMut::from(prefix);
    payload.put_u8(OPUS_FULLBAND_20_MS | stereo);
    payload.put_slice(&OPUS_SILENCE);
    Some(Silence {
        payload: payload.freeze(),
        samples: OPUS_FRAME_SAMPLES,
        frequency: OPUS_FREQUENCY,
    })
}

struct BitReader<'a> {
    bytes: &'a [u8],
    /// In bits.
    at: usize,
}

impl BitReader<'_> {
    fn take(&mut self, count: usize) -> Option<u32> {
        let mut value = 0;
        for at in self.at..self.at + count {
            let bit = self.bytes.get(at / 8)? >> (7 - at % 8) & 1;
            value = value << 1 | u32::from(bit);
        }
        self.at += count;
        Some(value)
    }

    fn object_type(&mut self) -> Option<u32> {
        match self.take(5)? {
            31 => Some(32 + self.take(6)?),
            object_type => Some(object_type),
        }
    }

    fn frequency(&mut self) -> Option<u32> {
        match self.take(4)? {
            EXPLICIT_FREQUENCY => self.take(24),
            index => FREQUENCIES.get(index as usize).copied(),
        }
    }
}

#[derive(Default)]
struct BitWriter {
    bytes: Vec<u8>,
    /// In bits.
    length: usize,
}

impl BitWriter {
    fn put(&mut self, value: u32, count: usize) {
        for bit in (0..count).rev() {
            if self.length.is_multiple_of(8) {
                self.bytes.push(0);
            }
            if let (1, Some(last)) = (value >> bit & 1, self.bytes.last_mut()) {
                *last |= 0x80 >> (self.length % 8);
            }
            self.length += 1;
        }
    }

    /// The `ics_info` of one long window without scale factor bands.
    fn put_window(&mut self) {
        self.put(0, 11);
    }

    /// A channel of a pair with a common window.
    fn put_channel_without_window(&mut self) {
        self.put(0, 8); // global_gain
        self.put(0, 3); // no pulse data, TNS data and gain control
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write,
        process::{Command, Stdio},
    };

    use rstest::rstest;

    use super::*;
    use crate::edge::relays::{
        fuzzing::fuzz,
        rtmp::{Message, message::kind::AUDIO},
    };

    /// The AudioSpecificConfig of AAC-LC.
    fn configuration(frequency_index: u16, channels: u16) -> [u8; 2] {
        (2 << 11 | frequency_index << 7 | channels << 3).to_be_bytes()
    }

    fn aac(frequency_index: u16, channels: u16) -> Silence {
        let header = [&[0xaf, 0][..], &configuration(frequency_index, channels)].concat();
        Silence::of(&header).unwrap()
    }

    /// A frame of AAC with the header of an ADTS stream.
    fn adts(silence: &Silence, frequency_index: u16, channels: u16) -> Vec<u8> {
        let frame = &silence.payload[2..];
        let length = u32::try_from(frame.len() + 7).unwrap();
        let mut bits = BitWriter::default();
        bits.put(0xfff, 12);
        bits.put(0b0001, 4);
        bits.put(1, 2);
        bits.put(frequency_index.into(), 4);
        bits.put(0, 1);
        bits.put(channels.into(), 3);
        bits.put(0, 4);
        bits.put(length, 13);
        bits.put(0x7ff, 11);
        bits.put(0, 2);
        [bits.bytes, frame.to_vec()].concat()
    }

    /// What ffmpeg decodes, as 16-bit samples.
    fn decoded(format: &str, stream: &[u8]) -> Vec<i16> {
        let mut ffmpeg = Command::new("ffmpeg")
            .args(["-v", "error", "-xerror", "-f", format, "-i", "pipe:0"])
            .args(["-f", "s16le", "pipe:1"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        ffmpeg.stdin.take().unwrap().write_all(stream).unwrap();
        let output = ffmpeg.wait_with_output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && errors.is_empty(), "{errors}");
        let samples = output.stdout.chunks_exact(2);
        samples
            .map(|sample| i16::from_le_bytes([sample[0], sample[1]]))
            .collect()
    }

    #[rstest]
    fn a_silent_aac_frame_decodes_to_silence_of_the_same_channels(
        #[values(3, 4)] frequency_index: u16,
        #[values((1, 1), (2, 2), (3, 3), (4, 4), (5, 5), (6, 6), (7, 8))] layout: (u16, usize),
    ) {
        let (configuration, channels) = layout;
        let silence = aac(frequency_index, configuration);
        let samples = decoded(
            "aac",
            &adts(&silence, frequency_index, configuration).repeat(50),
        );
        assert_eq!(samples.len(), 50 * 1024 * channels);
        assert!(samples.iter().all(|sample| *sample == 0));
    }

    #[test]
    fn the_duration_of_a_frame_follows_from_the_configuration() {
        assert_eq!(aac(4, 2).frame_micros(), 23_219);
        assert_eq!(aac(3, 2).frame_micros(), 21_333);
        // 24 kHz with SBR (5), explicitly signalled: 48 kHz are decoded.
        let he_aac = [0xaf, 0, 0x2b, 0x11, 0x88, 0x00];
        assert_eq!(Silence::of(&he_aac).unwrap().frame_micros(), 42_666);
        // Frames of 960 samples.
        let [high, low] = configuration(3, 2);
        let short = Silence::of(&[0xaf, 0, high, low | 0b100]).unwrap();
        assert_eq!(short.frame_micros(), 20_000);
    }

    #[test]
    fn enhanced_rtmp_has_the_same_frames_and_opus() {
        let [high, low] = configuration(3, 2);
        let enhanced = Silence::of(&[b"\x90mp4a", &[high, low][..]].concat()).unwrap();
        assert_eq!(&enhanced.payload[..5], b"\x91mp4a");
        assert_eq!(enhanced.payload[5..], aac(3, 2).payload[2..]);

        let opus = Silence::of(b"\x90OpusOpusHead\x01\x02\0\0\x80\xbb\0\0\0\0\0").unwrap();
        assert_eq!(&opus.payload[..], b"\x91Opus\xfc\xff\xfe");
        assert_eq!(opus.frame_micros(), 20_000);
    }

    #[test]
    fn a_configuration_without_a_constant_frame_has_no_silence() {
        for configuration in [
            &[][..],
            &[0xaf],
            &[0xaf, 0],
            &[0xaf, 0, 0x11],
            // A channel layout in a program configuration element.
            &[0xaf, 0, 0x11, 0x80],
            // AAC-ELD (39).
            &[0xaf, 0, 0xf8, 0xe6, 0x20, 0x00],
            b"\x90ac-3\0\0",
            b"\x90OpusOpusHead\x01\x06\0\0\x80\xbb\0\0\0\0\x01",
        ] {
            assert_eq!(Silence::of(configuration), None, "{configuration:x?}");
        }
    }
    /// The most bytes of a silent frame, of eight channels of AAC with the head of a tag, and the
    /// shortest one: more frames would take time and bandwidth.
    const MAX_FRAME_BYTES: usize = 64;
    const MIN_FRAME_MICROS: i64 = 5_000;

    #[test]
    fn no_packet_makes_the_parser_panic_or_keep_more_than_a_frame() {
        let corpus: [&[u8]; 9] = [
            // AAC: LC, HE with an explicit frequency, HE v2, short frames, and eight channels.
            b"\xaf\0\x12\x10",
            b"\xaf\0\x2f\x80\x5d\xc0\x12\x08",
            b"\xaf\0\xeb\x8a\x08",
            b"\xaf\0\x12\x14",
            b"\xaf\0\x11\xb8",
            b"\x90mp4a\x11\x90",
            b"\x90OpusOpusHead\x01\x02\x38\x01\x80\xbb\0\0\0\0\0",
            b"\x95\0mp4a\0\x11\x90",
            b"\x2fmp3",
        ];
        let (mut silence, mut found) = (None, 0);
        fuzz(&corpus, |input, _| {
            let message = Message {
                kind: AUDIO,
                timestamp: 0,
                stream_id: 1,
                payload: Bytes::copy_from_slice(input),
            };
            if let Some(packet) = Packet::of(&message, 1) {
                Silence::observe(&mut silence, &packet);
            }
            for silence in silence.iter().chain(&Silence::of(input)) {
                found += 1;
                let length = silence.payload().len();
                assert!(length <= MAX_FRAME_BYTES, "{length} bytes: {input:x?}");
                assert!(silence.frame_micros() >= MIN_FRAME_MICROS, "{input:x?}");
            }
        });
        assert!(found > 1_000, "{found} inputs have silence");
    }
}
