use bytes::{BufMut, Bytes, BytesMut};

use crate::edge::relays::media::{Packet, Role};

/// The codec id of H.264 in legacy video tags, whose first bit is not set.
const AVC: u8 = 7;

/// The bytes of a video tag before its payload: frame type and codec, packet type, and
/// composition time.
const TAG_HEADER_BYTES: usize = 5;

/// The bytes of the length before each NAL unit.
const LENGTH_BYTES: u8 = 4;

/// The parameter sets of H.264, as they stand in a keyframe.
///
/// ffmpeg 5 puts those of the first configuration before each keyframe of an MPEG-TS stream,
/// unless the keyframe has its own. So the resolution can change on one connection.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ParameterSets(Bytes);

impl ParameterSets {
    /// The parameter sets in a configuration (ISO/IEC 14496-15, section 5.3.3.1); `None` for
    /// another codec, and if NAL units have other lengths than encoders use.
    pub(super) fn of(packet: &Packet) -> Option<Self> {
        let is_video = matches!(packet.role, Role::Header(slot) if slot.is_video);
        if !is_video || packet.payload.first()? & 0x8f != AVC {
            return None;
        }
        let configuration = packet.payload.get(TAG_HEADER_BYTES..)?;
        if configuration.get(4)? & 3 != LENGTH_BYTES - 1 {
            return None;
        }
        let mut units = BytesMut::new();
        let sequence_sets = configuration.get(5)? & 0x1f;
        let rest = take_units(sequence_sets, configuration.get(6..)?, &mut units)?;
        let (picture_sets, rest) = rest.split_first()?;
        take_units(*picture_sets, rest, &mut units)?;
        Some(Self(units.freeze()))
    }

    /// The payload of a keyframe that begins with the parameter sets.
    pub(super) fn before(&self, keyframe: &Packet) -> Bytes {
        let payload = &keyframe.payload;
        let (header, units) = payload.split_at(TAG_HEADER_BYTES.min(payload.len()));
        [header, &self.0, units].concat().into()
    }
}

/// Appends this number of NAL units with their lengths; returns what follows them.
fn take_units<'a>(count: u8, mut rest: &'a [u8], units: &mut BytesMut) -> Option<&'a [u8]> {
    for _ in 0..count {
        let (length, after) = rest.split_first_chunk()?;
        let length = u16::from_be_bytes(*length);
        let unit = after.get(..length.into())?;
        units.put_u32(length.into());
        units.put_slice(unit);
        rest = &after[length.into()..];
    }
    Some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::relays::{
        fuzzing::fuzz,
        rtmp::{Message, message::kind::VIDEO},
    };

    fn packet(payload: &[u8]) -> Packet {
        let message = Message {
            kind: VIDEO,
            timestamp: 0,
            stream_id: 1,
            payload: Bytes::copy_from_slice(payload),
        };
        Packet::of(&message, 1).unwrap()
    }

    const CONFIGURATION: &[u8] = &[
        0x17, 0, 0, 0, 0, 1, 0x64, 0, 0x1f, 0xff, 0xe1, 0, 3, 0x67, 1, 2, 1, 0, 2, 0x68, 3,
    ];

    #[test]
    fn parameter_sets_are_put_before_the_units_of_a_keyframe() {
        let sets = ParameterSets::of(&packet(CONFIGURATION)).unwrap();
        let keyframe = packet(&[0x17, 1, 0, 0, 80, 0, 0, 0, 1, 0x65]);
        let expected = [
            &[0x17, 1, 0, 0, 80][..],
            &[0, 0, 0, 3, 0x67, 1, 2, 0, 0, 0, 2, 0x68, 3],
            &[0, 0, 0, 1, 0x65],
        ];
        assert_eq!(sets.before(&keyframe), expected.concat());
    }

    #[test]
    fn other_configurations_have_none() {
        for end in 0..CONFIGURATION.len() {
            let part = &CONFIGURATION[..end];
            if part.len() > 1 {
                assert_eq!(ParameterSets::of(&packet(part)), None, "{part:x?}");
            }
        }
        let mut two_bytes = CONFIGURATION.to_vec();
        two_bytes[9] = 0xfd;
        assert_eq!(ParameterSets::of(&packet(&two_bytes)), None);
        assert_eq!(ParameterSets::of(&packet(b"\x90hvc1....")), None);
    }
    #[test]
    fn no_configuration_makes_the_parser_panic_or_keep_more_than_twice_its_bytes() {
        let keyframe = packet(&[0x17, 1, 0, 0, 80, 0, 0, 0, 1, 0x65]);
        // Several sets, none, and the longest.
        let several = [
            &[
                0x17, 0, 0, 0, 0, 1, 0x64, 0, 0x1f, 0xff, 0xe2, 0, 1, 0x67, 0, 0,
            ][..],
            &[2, 0, 0, 0, 2, 0x68, 3],
        ]
        .concat();
        let none = [0x17, 0, 0, 0, 0, 1, 0x64, 0, 0x1f, 0xff, 0xe0, 0];
        let long = [&CONFIGURATION[..11], &[0x0f, 0xff], &[9; 4095], &[0]].concat();
        let corpus = [
            CONFIGURATION,
            &several,
            &none,
            &long,
            b"\x90hvc1\x01\x01\x60\0\0",
        ];
        let mut found = 0;
        fuzz(&corpus, |input, _| {
            let message = Message {
                kind: VIDEO,
                timestamp: 0,
                stream_id: 1,
                payload: Bytes::copy_from_slice(input),
            };
            let Some(packet) = Packet::of(&message, 1) else {
                return;
            };
            if let Some(sets) = ParameterSets::of(&packet) {
                found += 1;
                assert!(sets.0.len() <= 2 * input.len(), "{input:x?}");
                // A configuration is no keyframe, but may be taken for one.
                for keyframe in [&keyframe, &packet] {
                    let length = sets.before(keyframe).len();
                    assert_eq!(length, keyframe.payload.len() + sets.0.len());
                }
            }
        });
        assert!(found > 1_000, "{found} inputs have parameter sets");
    }
}
