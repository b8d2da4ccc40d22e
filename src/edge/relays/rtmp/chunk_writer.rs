use std::{collections::VecDeque, io, io::IoSlice};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::message::{Message, kind};

/// The chunk size of everything after the first message, which announces it. Larger chunks
/// save headers; this is what ffmpeg announces, so that servers know it.
pub(super) const CHUNK_SIZE: u32 = 60_000;

const EXTENDED: u32 = 0xff_ffff;

/// The most parts of one system call.
const MAX_SLICES: usize = 64;

/// Writes messages as a chunk stream (RTMP 1.0, section 5.3). Payloads are not copied.
///
/// Each message has a full header: 12 bytes instead of the 8 of a compressed one, and
/// messages can be dropped without regard to those before.
#[derive(Debug, Default)]
pub(crate) struct ChunkWriter {
    pending: VecDeque<Bytes>,
    written: u64,
}

impl ChunkWriter {
    /// Appends a message to what is to be written.
    pub(crate) fn queue(&mut self, message: &Message) {
        let chunk_stream = chunk_stream_of(message.kind);
        let size = match message.kind {
            kind::SET_CHUNK_SIZE => 128,
            _ => CHUNK_SIZE as usize,
        };
        let is_extended = message.timestamp >= EXTENDED;
        let mut rest = message.payload.clone();
        self.pending.push_back(first_header(message, chunk_stream));
        loop {
            let chunk = rest.split_to(rest.len().min(size));
            if !chunk.is_empty() {
                self.pending.push_back(chunk);
            }
            if rest.is_empty() {
                return;
            }
            let mut header = BytesMut::with_capacity(5);
            header.put_u8(0xc0 | chunk_stream);
            if is_extended {
                header.put_u32(message.timestamp);
            }
            self.pending.push_back(header.freeze());
        }
    }

    /// The number of bytes that were given to the connection.
    pub(crate) fn written(&self) -> u64 {
        self.written
    }

    /// Writes all that is queued. When it is dropped, what was not written stays queued.
    pub(crate) async fn flush(&mut self, to: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
        while !self.pending.is_empty() {
            let slices: Vec<_> = self
                .pending
                .iter()
                .take(MAX_SLICES)
                .map(|part| IoSlice::new(part))
                .collect();
            let count = to.write_vectored(&slices).await?;
            if count == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            self.advance(count);
        }
        to.flush().await
    }

    fn advance(&mut self, mut count: usize) {
        self.written += count as u64;
        while let Some(part) = self.pending.front_mut() {
            if part.len() > count {
                part.advance(count);
                return;
            }
            count -= part.len();
            self.pending.pop_front();
        }
    }
}

/// The chunk streams that ffmpeg uses.
fn chunk_stream_of(kind: u8) -> u8 {
    match kind {
        kind::AUDIO => 4,
        kind::VIDEO => 6,
        kind::DATA => 5,
        kind::COMMAND => 3,
        _ => 2,
    }
}

fn first_header(message: &Message, chunk_stream: u8) -> Bytes {
    let mut header = BytesMut::with_capacity(16);
    header.put_u8(chunk_stream);
    header.put_uint(u64::from(message.timestamp.min(EXTENDED)), 3);
    // A length has three bytes: no message from a peer is longer.
    header.put_uint(message.payload.len() as u64, 3);
    header.put_u8(message.kind);
    header.put_u32_le(message.stream_id);
    if message.timestamp >= EXTENDED {
        header.put_u32(message.timestamp);
    }
    header.freeze()
}
