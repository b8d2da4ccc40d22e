//! SRT's packets, as much of them as a stream id needs.

/// The header of every packet.
const HEADER: usize = 16;
/// The fields of a handshake, before its extensions.
const FIELDS: usize = 48;
const EXTENSIONS: usize = HEADER + FIELDS;
const EXTENSION_FLAGS: usize = HEADER + 6;
const HANDSHAKE_TYPE: usize = HEADER + 20;
const SENDER: usize = HEADER + 24;

const HANDSHAKE: u32 = 0x8000_0000;
const SHUTDOWN: u32 = 0x8005_0000;
const RETRANSMITTED: u32 = 1 << 26;
const INDUCTION: u32 = 1;
const CONCLUSION: u32 = 0xffff_ffff;
/// Of the handshake's types, those that refuse begin here.
const FAILURES: u32 = 1000;

const STREAM_ID: u16 = 5;
/// Congestion control, packet filter and group, which share a flag with the stream id.
const OTHER_CONFIGURATION: std::ops::RangeInclusive<u16> = 6..=8;
const HAS_CONFIGURATION: u8 = 4;

/// What a packet is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The first question or answer of a handshake.
    Induction,
    /// The second: from the listener, its consent.
    Conclusion,
    /// The listener refuses for this reason, a number of SRT's.
    Rejection(u32),
    /// The other side is leaving.
    Shutdown,
    /// Media, of which this many bytes are sent for the first time.
    Data(usize),
    /// Anything else.
    Other,
}

/// What a packet is.
pub(super) fn kind_of(packet: &[u8]) -> Kind {
    let (Some(first), Some(second)) = (word(packet, 0), word(packet, 4)) else {
        return Kind::Other;
    };
    match first {
        0..0x8000_0000 if second & RETRANSMITTED == 0 => {
            Kind::Data(packet.len().saturating_sub(HEADER))
        }
        HANDSHAKE => match word(packet, HANDSHAKE_TYPE) {
            Some(INDUCTION) => Kind::Induction,
            Some(CONCLUSION) => Kind::Conclusion,
            Some(kind @ FAILURES..0x8000_0000) => Kind::Rejection(kind - FAILURES),
            _ => Kind::Other,
        },
        SHUTDOWN => Kind::Shutdown,
        _ => Kind::Other,
    }
}

/// The socket that sent a handshake, which is who packets to it are for.
pub(super) fn sender(packet: &[u8]) -> Option<[u8; 4]> {
    packet.get(SENDER..SENDER + 4)?.try_into().ok()
}

/// What tells a socket that the other side is leaving.
pub(super) fn shutdown(socket: [u8; 4]) -> Vec<u8> {
    let mut packet = SHUTDOWN.to_be_bytes().to_vec();
    packet.extend([0; 8]);
    packet.extend(socket);
    // Nothing follows, but libsrt sends an empty word, too.
    packet.extend([0; 4]);
    packet
}

/// The stream id of a handshake, without what fills its last word.
pub(super) fn stream_id(packet: &[u8]) -> Option<Vec<u8>> {
    let found = extensions(packet)?
        .into_iter()
        .find(|(kind, _)| *kind == STREAM_ID);
    let mut id: Vec<u8> = found?.1[4..]
        .chunks(4)
        .flat_map(|word| word.iter().rev())
        .copied()
        .collect();
    while id.last() == Some(&0) {
        id.pop();
    }
    Some(id)
}

/// A handshake with another stream id, or none if that is empty; `None` if it has none
/// to replace.
pub(super) fn with_stream_id(packet: &[u8], id: &str) -> Option<Vec<u8>> {
    let extensions = extensions(packet)?;
    if !extensions.iter().any(|(kind, _)| *kind == STREAM_ID) {
        return None;
    }
    let mut new = packet[..EXTENSIONS].to_vec();
    for (kind, block) in &extensions {
        match *kind {
            STREAM_ID => write_stream_id(id, &mut new)?,
            _ => new.extend_from_slice(block),
        }
    }
    let is_other = |(kind, _): &(u16, &[u8])| OTHER_CONFIGURATION.contains(kind);
    if id.is_empty() && !extensions.iter().any(is_other) {
        new[EXTENSION_FLAGS + 1] &= !HAS_CONFIGURATION;
    }
    Some(new)
}

fn write_stream_id(id: &str, out: &mut Vec<u8>) -> Option<()> {
    if id.is_empty() {
        return Some(());
    }
    let words = u16::try_from(id.len().div_ceil(4)).ok()?;
    out.extend(STREAM_ID.to_be_bytes());
    out.extend(words.to_be_bytes());
    for chunk in id.as_bytes().chunks(4) {
        let mut word = [0; 4];
        word[..chunk.len()].copy_from_slice(chunk);
        out.extend(word.iter().rev());
    }
    Some(())
}

/// The extensions of a handshake, each with its header; `None` if they are broken.
fn extensions(packet: &[u8]) -> Option<Vec<(u16, &[u8])>> {
    let mut rest = packet.get(EXTENSIONS..)?;
    let mut all = Vec::new();
    while !rest.is_empty() {
        let kind = u16::from_be_bytes(rest.get(..2)?.try_into().ok()?);
        let words = u16::from_be_bytes(rest.get(2..4)?.try_into().ok()?);
        let (block, after) = rest.split_at_checked(4 + 4 * usize::from(words))?;
        all.push((kind, block));
        rest = after;
    }
    Some(all)
}

fn word(packet: &[u8], at: usize) -> Option<u32> {
    let bytes = packet.get(at..at + 4)?.try_into().ok()?;
    Some(u32::from_be_bytes(bytes))
}

/// Whether a reason will pass without anything being changed; and the reason in words.
pub(super) fn in_words(reason: u32) -> (bool, &'static str) {
    match reason {
        1 | 3 | 1500 => (true, "the server failed or does not take the stream id"),
        5 | 1402 => (true, "the server has no room"),
        7 | 1502 | 1503 => (true, "the server is closing or down"),
        10 | 11 | 17 => (false, "the server wants another passphrase"),
        1400 | 1405 | 1406 => (false, "the server cannot use the stream id"),
        1401 | 1403 => (false, "the server forbids the stream id"),
        1404 | 1003 => (false, "the server does not know the stream id"),
        1409 | 1423 => (false, "the stream id is in use"),
        _ => (false, "the server refuses the connection"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A caller's conclusion with extensions of these types and contents.
    fn conclusion(flags: u8, extensions: &[(u16, &[u8])]) -> Vec<u8> {
        let mut packet = vec![0; EXTENSIONS];
        packet[..4].copy_from_slice(&HANDSHAKE.to_be_bytes());
        packet[EXTENSION_FLAGS + 1] = flags;
        packet[HANDSHAKE_TYPE..HANDSHAKE_TYPE + 4].copy_from_slice(&[0xff; 4]);
        for (kind, content) in extensions {
            packet.extend(kind.to_be_bytes());
            packet.extend(u16::try_from(content.len() / 4).unwrap().to_be_bytes());
            packet.extend_from_slice(content);
        }
        packet
    }

    #[test]
    fn a_stream_id_stands_in_words_that_are_turned_round() {
        let packet = conclusion(5, &[(1, &[9; 12]), (5, b"dcba\0\0fe")]);
        assert_eq!(kind_of(&packet), Kind::Conclusion);
        assert_eq!(stream_id(&packet).as_deref(), Some(&b"abcdef"[..]));
        assert_eq!(stream_id(&conclusion(1, &[(1, &[9; 12])])), None);
    }

    #[test]
    fn the_stream_id_is_replaced_and_all_else_stays() {
        let packet = conclusion(
            7,
            &[(1, &[9; 12]), (5, b"dcba"), (3, &[8; 8]), (6, b"evil")],
        );
        let new = with_stream_id(&packet, "#!::r=k,m=publish");
        let wanted = conclusion(
            7,
            &[
                (1, &[9; 12]),
                (5, b"::!#,k=rup=msilb\0\0\0h"),
                (3, &[8; 8]),
                (6, b"evil"),
            ],
        );
        let new = new.unwrap();
        assert_eq!(new, wanted);
        assert_eq!(stream_id(&new).as_deref(), Some(&b"#!::r=k,m=publish"[..]));
        assert_eq!(with_stream_id(&new, "abcd").as_deref(), Some(&packet[..]));
        assert_eq!(with_stream_id(&conclusion(1, &[(1, &[9; 12])]), "k"), None);
    }

    #[test]
    fn without_a_stream_id_none_is_told() {
        let alone = conclusion(5, &[(1, &[9; 12]), (5, b"dcba")]);
        let plain = conclusion(1, &[(1, &[9; 12])]);
        assert_eq!(with_stream_id(&alone, ""), Some(plain));

        let filtered = conclusion(5, &[(5, b"dcba"), (7, b"abcd")]);
        let still = conclusion(5, &[(7, b"abcd")]);
        assert_eq!(with_stream_id(&filtered, ""), Some(still));
    }

    #[test]
    fn packets_are_told_apart() {
        let mut refusal = conclusion(0, &[]);
        refusal[HANDSHAKE_TYPE..HANDSHAKE_TYPE + 4].copy_from_slice(&2403_u32.to_be_bytes());
        let mut question = conclusion(0, &[]);
        question[HANDSHAKE_TYPE..HANDSHAKE_TYPE + 4].copy_from_slice(&1_u32.to_be_bytes());
        let mut again = vec![0; 1332];
        again[4] = 0xc4;
        let mut leave = vec![0; 20];
        leave[..2].copy_from_slice(&[0x80, 5]);
        for (packet, kind) in [
            (&refusal, Kind::Rejection(1403)),
            (&question, Kind::Induction),
            (&vec![0; 1332], Kind::Data(1316)),
            (&again, Kind::Other),
            (&leave, Kind::Shutdown),
            (&vec![0x80, 2, 0, 0, 0, 0, 0, 0], Kind::Other),
            (&vec![0; 7], Kind::Other),
        ] {
            assert_eq!(kind_of(packet), kind);
        }
    }

    proptest! {
        #[test]
        fn any_stream_id_is_read_as_it_was_written(id in "[ -~]{1,512}") {
            let packet = conclusion(5, &[(1, &[9; 12]), (5, b"dcba"), (6, b"evil")]);
            let new = with_stream_id(&packet, &id).unwrap();
            prop_assert_eq!(stream_id(&new), Some(id.into_bytes()));
            prop_assert_eq!(with_stream_id(&new, "abcd"), Some(packet));
        }

        #[test]
        fn no_packet_is_a_reason_to_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let packet = conclusion(5, &[]);
            for packet in [bytes.clone(), [packet, bytes].concat()] {
                let _ = (kind_of(&packet), stream_id(&packet), with_stream_id(&packet, "k"));
            }
        }
    }
}
