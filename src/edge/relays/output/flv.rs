//! FLV, in which ffmpeg receives and returns media.

use std::{io, time::Instant};

use bytes::{Buf, BufMut, BytesMut};
use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::sequence::Sequence;
use crate::edge::relays::{
    media::{OutputQueue, Queued},
    rtmp::Message,
};

/// The head of an FLV file: version 1 with audio and video, its length, and the length of
/// the tag before the first one.
pub(super) const HEADER: &[u8] = b"FLV\x01\x05\x00\x00\x00\x09\x00\x00\x00\x00";

const TAG_HEADER_BYTES: usize = 11;
/// The length of a tag, behind it.
const TAG_TRAILER_BYTES: usize = 4;

/// The longest tag that is read.
const MAX_TAG_BYTES: usize = 8 * 1024 * 1024;

/// Writes the packets of a queue, until the process that reads them ends.
pub(super) async fn write_packets(
    target: &mut (impl AsyncWrite + Unpin),
    queue: &OutputQueue,
) -> io::Result<()> {
    let mut sequence = Sequence::default();
    let mut packets = Vec::new();
    target.write_all(HEADER).await?;
    loop {
        if let Queued::Packets(batch) = queue.next(false).await {
            for packet in batch {
                sequence.push(packet, Instant::now(), &mut packets);
            }
        }
        for (timestamp, packet) in packets.drain(..) {
            write_tag(target, packet.kind(), timestamp, &packet.payload).await?;
        }
    }
}

pub(super) async fn write_tag(
    target: &mut (impl AsyncWrite + Unpin),
    kind: u8,
    timestamp: u32,
    payload: &[u8],
) -> io::Result<()> {
    let [high, low @ ..] = timestamp.to_be_bytes();
    let mut header = BytesMut::with_capacity(TAG_HEADER_BYTES);
    header.put_u8(kind);
    header.put_uint(payload.len() as u64, 3);
    header.put_slice(&low);
    header.put_u8(high);
    header.put_uint(0, 3);
    let length = u32::try_from(header.len() + payload.len()).unwrap_or(u32::MAX);
    target.write_all(&header).await?;
    target.write_all(payload).await?;
    target.write_all(&length.to_be_bytes()).await
}

/// Reads the tags of an FLV file from its bytes, in any pieces.
#[derive(Debug, Default)]
pub(super) struct TagReader {
    input: BytesMut,
    has_begun: bool,
}

/// It is no FLV, or a tag is too long.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct InvalidFlv;

impl TagReader {
    /// Where the next bytes are appended.
    pub(super) fn input(&mut self) -> &mut BytesMut {
        &mut self.input
    }

    /// The next tag as a message; `None` if more bytes are needed.
    pub(super) fn next(&mut self) -> Result<Option<Message>, InvalidFlv> {
        if !self.has_begun {
            if self.input.len() < HEADER.len() {
                return Ok(None);
            }
            if !self.input.starts_with(b"FLV") {
                return Err(InvalidFlv);
            }
            self.input.advance(HEADER.len());
            self.has_begun = true;
        }
        let Some(header) = self.input.first_chunk::<TAG_HEADER_BYTES>() else {
            return Ok(None);
        };
        let (kind, timestamp) = (
            header[0],
            u32::from_be_bytes([header[7], header[4], header[5], header[6]]),
        );
        let length = u32::from_be_bytes([0, header[1], header[2], header[3]]) as usize;
        if length > MAX_TAG_BYTES {
            return Err(InvalidFlv);
        }
        if self.input.len() < TAG_HEADER_BYTES + length + TAG_TRAILER_BYTES {
            return Ok(None);
        }
        self.input.advance(TAG_HEADER_BYTES);
        let payload = self.input.split_to(length).freeze();
        self.input.advance(TAG_TRAILER_BYTES);
        Ok(Some(Message {
            kind,
            timestamp,
            stream_id: 0,
            payload,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::relays::fuzzing::fuzz;

    async fn file(tags: &[(u8, u32, &[u8])]) -> Vec<u8> {
        let mut file = HEADER.to_vec();
        for (kind, timestamp, payload) in tags {
            write_tag(&mut file, *kind, *timestamp, payload)
                .await
                .unwrap();
        }
        file
    }

    #[tokio::test]
    async fn tags_are_read_as_they_were_written_from_any_pieces() {
        let tags = [
            (9, 0, &b"\x17\0"[..]),
            (8, 0x0102_0304, b""),
            (18, u32::MAX, &[7; 70_000]),
        ];
        let file = file(&tags).await;
        for piece in [1, 7, 100_000] {
            let (mut reader, mut read) = (TagReader::default(), Vec::new());
            for bytes in file.chunks(piece) {
                reader.input().extend_from_slice(bytes);
                while let Some(message) = reader.next().unwrap() {
                    read.push((message.kind, message.timestamp, message.payload));
                }
            }
            let read: Vec<_> = read.iter().map(|(a, b, c)| (*a, *b, &c[..])).collect();
            assert_eq!(read, tags);
        }
    }

    #[test]
    fn other_files_and_long_tags_are_refused() {
        let long = [HEADER, &[9, 0x80, 0, 1, 0, 0, 0, 0, 0, 0, 0]].concat();
        for bytes in [&b"RIFF of another kind"[..], &long] {
            let mut reader = TagReader::default();
            reader.input().extend_from_slice(bytes);
            assert_eq!(reader.next(), Err(InvalidFlv));
        }
    }

    #[test]
    fn no_file_makes_the_reader_panic_or_find_more_than_its_bytes() {
        let corpus: [&[u8]; 3] = [
            b"FLV\x01\x05\0\0\0\x09\0\0\0\0\
              \x09\0\0\x02\0\0\0\0\0\0\0\x17\x01\0\0\0\x0d\
              \x08\0\0\x02\0\0\x17\0\0\0\0\xaf\x01\0\0\0\x0d",
            // The longest tag, and one that is too long.
            b"FLV\x01\x01\0\0\0\x09\0\0\0\0\x09\0\xff\xff\0\0\0\0\0\0\0",
            b"FLV\x01\x01\0\0\0\x09\0\0\0\0\x09\xff\xff\xff\0\0\0\0\0\0\0",
        ];
        fuzz(&corpus, |file, random| {
            let (mut reader, mut found) = (TagReader::default(), 0);
            'pieces: for bytes in file.chunks(1 + random.below(600)) {
                reader.input().extend_from_slice(bytes);
                loop {
                    match reader.next() {
                        Ok(Some(message)) => found += TAG_HEADER_BYTES + message.payload.len(),
                        Ok(None) => break,
                        Err(InvalidFlv) => break 'pieces,
                    }
                }
            }
            assert!(found + reader.input().len() <= file.len());
        });
    }
}
