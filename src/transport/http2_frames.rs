/// Frame types of RFC 9113 section 6 that are treated apart.
pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const CONTINUATION: u8 = 9;

/// Flags of RFC 9113 section 6.
pub(super) const END_STREAM: u8 = 0x1;
pub(super) const END_HEADERS: u8 = 0x4;

/// The length of a frame header.
pub(super) const HEAD_SIZE: usize = 9;

/// The header of an HTTP/2 frame (RFC 9113 section 4.1), as far as it is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FrameHead {
    /// The number of bytes that follow the header.
    pub length: usize,
    pub kind: u8,
    pub flags: u8,
}

/// What [`FrameReader`] finds in a stream of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FrameEvent {
    Head(FrameHead),
    /// The end of the frame's payload.
    End,
}

/// Finds the frames in a stream of bytes that comes in any chunks. Payloads are skipped.
#[derive(Debug, Default)]
pub(super) struct FrameReader {
    head: [u8; HEAD_SIZE],
    /// The number of bytes in `head`.
    filled: usize,
    /// The number of bytes that are left of a frame whose header is known.
    payload: Option<usize>,
}

impl FrameReader {
    /// The next event in these bytes, which are consumed up to it.
    pub fn next(&mut self, bytes: &mut &[u8]) -> Option<FrameEvent> {
        if let Some(left) = &mut self.payload {
            let skipped = bytes.split_off(..(*left).min(bytes.len()));
            *left -= skipped.map_or(0, <[u8]>::len);
            if *left > 0 {
                return None;
            }
            self.payload = None;
            return Some(FrameEvent::End);
        }
        let wanted = (HEAD_SIZE - self.filled).min(bytes.len());
        let part = bytes.split_off(..wanted).unwrap_or_default();
        self.head[self.filled..][..wanted].copy_from_slice(part);
        self.filled += wanted;
        if self.filled < HEAD_SIZE {
            return None;
        }
        self.filled = 0;
        let [a, b, c, kind, flags, ..] = self.head;
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        self.payload = Some(length);
        Some(FrameEvent::Head(FrameHead {
            length,
            kind,
            flags,
        }))
    }

    /// Whether the bytes so far end inside a frame.
    pub fn is_inside_frame(&self) -> bool {
        self.filled > 0 || self.payload.is_some()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{FrameEvent, FrameHead, FrameReader};

    fn events(chunks: &[&[u8]]) -> Vec<FrameEvent> {
        let mut reader = FrameReader::default();
        let mut events = Vec::new();
        for mut chunk in chunks.iter().copied() {
            while let Some(event) = reader.next(&mut chunk) {
                events.push(event);
            }
            assert!(chunk.is_empty());
        }
        events
    }

    fn head(length: usize, kind: u8, flags: u8) -> FrameEvent {
        FrameEvent::Head(FrameHead {
            length,
            kind,
            flags,
        })
    }

    #[test]
    fn the_header_and_the_end_of_each_frame_are_found() {
        let frames = [0, 0, 2, 0, 1, 0, 0, 0, 1, 7, 7, 0, 0, 0, 4, 0, 0, 0, 0, 0];

        let ends = [
            head(2, 0, 1),
            FrameEvent::End,
            head(0, 4, 0),
            FrameEvent::End,
        ];
        assert_eq!(events(&[&frames]), ends);
    }

    #[test]
    fn an_incomplete_header_or_payload_is_inside_a_frame() {
        let frame = [0, 0, 2, 0, 1, 0, 0, 0, 1, 7, 7];
        for length in 0..=frame.len() {
            let mut reader = FrameReader::default();
            let mut bytes = &frame[..length];
            while reader.next(&mut bytes).is_some() {}
            let is_inside = !matches!(length, 0 | 11);
            assert_eq!(reader.is_inside_frame(), is_inside, "{length}");
        }
    }

    proptest! {
        #[test]
        fn chunk_borders_do_not_matter(
            frames in prop::collection::vec((0..40_usize, any::<u8>(), any::<u8>()), 0..20),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
        ) {
            let mut bytes = Vec::new();
            for (length, kind, flags) in frames {
                bytes.extend([0, 0, u8::try_from(length).unwrap(), kind, flags, 0, 0, 0, 1]);
                bytes.extend(vec![9; length]);
            }
            let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            cuts.sort_unstable();
            let mut chunks = Vec::new();
            let mut start = 0;
            for cut in cuts {
                chunks.push(&bytes[start..cut]);
                start = cut;
            }
            chunks.push(&bytes[start..]);

            prop_assert_eq!(events(&chunks), events(&[&bytes]));
        }
    }
}
